"""
Payment references: what ties a proxy payment to its intent.

Source: Request Network's specification
payment-network-erc20-fee-proxy-contract-0.1.0 (last 8 bytes of Keccak-256 over lower-cased text).
"""

from __future__ import annotations

import secrets

from addresses.keccak import keccak


def new_salt() -> str:
    """Return 32 random bytes in hex."""
    return secrets.token_hex(32)


def new_pay_token() -> str:
    """Return 128 random bits as 22 characters of a URL: nobody finds a payment page by trying."""
    return secrets.token_urlsafe(16)


def payment_reference(intent_id: str, salt: str, destination: str) -> str:
    """Return the reference as 0x + 16 hex: the last 8 bytes of the hash of the lower-cased text."""
    digest = keccak((intent_id + salt + destination).lower().encode())
    return f"0x{digest[-8:].hex()}"


def topic_ref(reference: str) -> str:
    """Return what the log carries for a reference: 0x + 64 hex, the hash of its 8 raw bytes."""
    return f"0x{keccak(bytes.fromhex(reference[2:])).hex()}"
