"""The one form in which addresses of a family are compared; pure."""

from __future__ import annotations

import base64
import binascii
import hashlib
import re

_EVM = re.compile(r"0x[0-9a-fA-F]{40}")
_TRON = re.compile(r"T[1-9A-HJ-NP-Za-km-z]{33}")
_TRON_HEX = re.compile(r"(?:0x)?41[0-9a-fA-F]{40}")
_TON_RAW = re.compile(r"(-1|0):([0-9a-fA-F]{64})")
_TON_FRIENDLY = re.compile(r"[A-Za-z0-9_/+-]{48}")
_BASE58 = "123456789ABCDEFGHJKLMNPQRSTUVWXYZabcdefghijkmnopqrstuvwxyz"


def canonical_address(address: str, chain_type: str) -> str | None:
    """
    Return the one form in which addresses of a family are compared; None for what is no address of it.

    EVM in lower case, Tron in base58 (also given as 41 + 40 hex), TON as `workchain:hash`.
    """
    canonical = FAMILIES.get(chain_type)
    return None if canonical is None else canonical(address)


def _evm(address: str) -> str | None:
    return address.lower() if _EVM.fullmatch(address) else None


def _tron(address: str) -> str | None:
    if _TRON_HEX.fullmatch(address):
        payload = bytes.fromhex(address.removeprefix("0x"))
        return _base58(payload + _check(payload))
    if _TRON.fullmatch(address) is None:
        return None
    number = 0
    for character in address:
        number = number * 58 + _BASE58.index(character)
    raw = number.to_bytes(25, "big")  # 34 characters that start with T always fit
    return address if raw[0] == 0x41 and _check(raw[:21]) == raw[21:] else None  # noqa: PLR2004 - Tron's prefix


def _check(payload: bytes) -> bytes:
    return hashlib.sha256(hashlib.sha256(payload).digest()).digest()[:4]


def _base58(raw: bytes) -> str:
    """Encode bytes that do not start with a zero."""
    number, text = int.from_bytes(raw, "big"), ""
    while number:
        number, digit = divmod(number, 58)
        text = _BASE58[digit] + text
    return text


def _ton(address: str) -> str | None:
    raw = _TON_RAW.fullmatch(address)
    if raw is not None:
        return f"{raw[1]}:{raw[2].lower()}"
    if _TON_FRIENDLY.fullmatch(address) is None:
        return None
    data = base64.b64decode(address.replace("-", "+").replace("_", "/"))
    # One byte of flags (bounceable or not, test network or not), one of workchain, the hash, a CRC.
    if data[0] & 0x7F not in {0x11, 0x51} or binascii.crc_hqx(data[:34], 0) != int.from_bytes(data[34:], "big"):
        return None
    return f"{int.from_bytes(data[1:2], 'big', signed=True)}:{data[2:34].hex()}"


FAMILIES = {"evm": _evm, "tron": _tron, "ton": _ton}


def listed_form(address: str) -> str | None:
    """Return the canonical form of a listed address; None for Bitcoin's and the like."""
    forms = (canonical(address) for canonical in FAMILIES.values())
    return next((form for form in forms if form is not None), None)
