"""Addresses of the registries: of the right family and not mistyped, by the checksum each family has."""

from __future__ import annotations

import base64
import binascii
import hashlib
import re

from config.checksum import to_checksum

EVM_ADDRESS = re.compile(r"0x[0-9a-fA-F]{40}")

_BASE58 = "123456789ABCDEFGHJKLMNPQRSTUVWXYZabcdefghijkmnopqrstuvwxyz"
_TRON = re.compile(f"T[{_BASE58}]{{33}}")
_TRON_BYTES = 25  # a prefix, 20 bytes of hash, 4 of checksum
_TRON_PREFIX = b"\x41"

_TON_RAW = re.compile(r"(?:0|-1):[0-9a-fA-F]{64}")
_TON_FRIENDLY = re.compile(r"[A-Za-z0-9_-]{48}|[A-Za-z0-9+/]{48}")
_TON_TAGS = {0x11, 0x51}
_TON_TEST_ONLY = 0x80
_TON_WORKCHAINS = {0, -1}

ZERO = "is the zero address"
_NOT_TRON = "is not a Tron address (T + 33 base58 characters)"
_NOT_TON = "is not a TON address (48 characters such as EQ…, or 0: and 64 hex digits)"


def check_evm_address(address: str) -> str:
    """
    Return what an address is compared by.

    Raises:
        ValueError: it is malformed, or its EIP-55 checksum is wrong.
    """
    if EVM_ADDRESS.fullmatch(address) is None:
        raise ValueError("is not an address (0x + 40 hex digits)")
    if address[2:] not in (address[2:].lower(), address[2:].upper()) and address != to_checksum(address):
        raise ValueError("has a wrong EIP-55 checksum")
    if int(address, 16) == 0:
        raise ValueError(ZERO)
    return address.lower()


def check_tron_address(address: str) -> str:
    """
    Return what an address is compared by.

    Raises:
        ValueError: it is malformed, of another network, or its checksum is wrong.
    """
    if _TRON.fullmatch(address) is None:
        raise ValueError(_NOT_TRON)
    number = 0
    for character in address:
        number = number * 58 + _BASE58.index(character)
    data = number.to_bytes(_TRON_BYTES, "big")
    if hashlib.sha256(hashlib.sha256(data[:-4]).digest()).digest()[:4] != data[-4:]:
        raise ValueError("has a wrong checksum: a character is mistyped")
    if data[:1] != _TRON_PREFIX:
        raise ValueError("is of another network than Tron")
    if not any(data[1:-4]):
        raise ValueError(ZERO)
    return address


def check_ton_address(address: str, *, testnet: bool = False) -> str:
    """
    Return what an address is compared by.

    Raises:
        ValueError: it is malformed, of the test network, or its checksum is wrong.
    """
    raw = address.upper() if _TON_RAW.fullmatch(address) else _ton_raw(address, testnet=testnet)
    if int(raw.partition(":")[2], 16) == 0:
        raise ValueError(ZERO)
    return raw


def _ton_raw(address: str, *, testnet: bool) -> str:
    """Return the raw form of a friendly address."""
    if _TON_FRIENDLY.fullmatch(address) is None:
        raise ValueError(_NOT_TON)
    data = base64.b64decode(address.translate({ord("-"): "+", ord("_"): "/"}))
    if binascii.crc_hqx(data[:34], 0).to_bytes(2, "big") != data[34:]:
        raise ValueError("has a wrong checksum: a character is mistyped")
    workchain = int.from_bytes(data[1:2], "big", signed=True)
    if data[0] & ~_TON_TEST_ONLY not in _TON_TAGS or workchain not in _TON_WORKCHAINS:
        raise ValueError(_NOT_TON)
    if data[0] & _TON_TEST_ONLY and not testnet:
        raise ValueError("is marked as one of the test network")
    return f"{workchain}:{data[2:34].hex().upper()}"
