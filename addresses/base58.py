"""Base58 with a checksum, as addresses are spelt: strict, so that one address has one spelling."""

from __future__ import annotations

import hashlib

_ALPHABET = "123456789ABCDEFGHJKLMNPQRSTUVWXYZabcdefghijkmnopqrstuvwxyz"
_VALUE = {char: value for value, char in enumerate(_ALPHABET)}
_CHECKSUM = 4  # bytes
_LONGEST = 64  # characters: decoding takes quadratic time


def encode_check(payload: bytes) -> str:
    """Return the spelling of some bytes."""
    raw = payload + _checksum(payload)
    number, digits = int.from_bytes(raw, "big"), ""
    while number:
        number, digit = divmod(number, 58)
        digits = _ALPHABET[digit] + digits
    return "1" * (len(raw) - len(raw.lstrip(b"\0"))) + digits


def decode_check(text: str) -> bytes:
    """
    Return the bytes a text spells.

    Raises:
        ValueError: not base58, or the checksum does not fit.
    """
    if len(text) > _LONGEST:
        raise ValueError("too long")
    number = 0
    for char in text:
        if char not in _VALUE:
            raise ValueError("not base58")
        number = number * 58 + _VALUE[char]
    zeros = len(text) - len(text.lstrip("1"))
    raw = b"\0" * zeros + number.to_bytes((number.bit_length() + 7) // 8, "big")
    payload, checksum = raw[:-_CHECKSUM], raw[-_CHECKSUM:]
    if _checksum(payload) != checksum:
        raise ValueError("wrong checksum")
    return payload


def _checksum(payload: bytes) -> bytes:
    return hashlib.sha256(hashlib.sha256(payload).digest()).digest()[:_CHECKSUM]
