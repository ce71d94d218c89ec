"""Keccak-256, and the checksum it gives EVM addresses (EIP-55)."""

from __future__ import annotations

import functools

from eth_hash.backends import pysha3  # eight times faster than the default backend
from eth_hash.main import Keccak256

keccak = Keccak256(pysha3)  # type: ignore[arg-type]  # the module is the backend


@functools.lru_cache(maxsize=4096)
def to_checksum(address: str) -> str:
    """Return 0x + 40 hex with the letter case of EIP-55."""
    plain = address[2:].lower()
    digest = keccak(plain.encode()).hex()
    return "0x" + "".join(
        [upper if digit > "7" else lower for lower, upper, digit in zip(plain, plain.upper(), digest, strict=False)]
    )
