"""Keccak-256, by the backend that is eight times faster than the default one."""

from __future__ import annotations

from eth_hash.backends import pysha3
from eth_hash.main import Keccak256

keccak = Keccak256(pysha3)  # type: ignore[arg-type]  # the module is the backend
