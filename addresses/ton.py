"""TON addresses: raw `workchain:HEX` inside, as TonCenter writes them; the friendly base64 form for people."""

from __future__ import annotations

import base64
import binascii
import re

from addresses.errors import InvalidAddress

BOUNCEABLE = 0x11
NON_BOUNCEABLE = 0x51
TEST_ONLY = 0x80

_WORKCHAINS = {"0", "-1"}
_RAW = re.compile(r"(-?[0-9]{1,10}):([0-9a-fA-F]{64})")
_FRIENDLY = re.compile(r"[A-Za-z0-9_-]{48}|[A-Za-z0-9+/]{48}")
_HEX_HASH = re.compile(r"[0-9a-fA-F]{64}")
_BASE64_HASH = re.compile(r"(?:[A-Za-z0-9_-]{43}|[A-Za-z0-9+/]{43})=?")
_URL_SAFE = str.maketrans("+/", "-_")
_FORMS = "a TON address is 48 characters such as EQ… or UQ…, or 0: and 64 hex digits"


def parse(text: str, *, testnet: bool) -> str:
    """
    Return the raw form of an address, hex in capitals.

    Raises:
        InvalidAddress: malformed, mistyped by its checksum, of the test network, of a workchain that does not exist,
            or a zero address.
    """
    spelt = _read(text, testnet=testnet)
    if not int(spelt.partition(":")[2], 16):
        raise InvalidAddress("the zero address cannot receive payments")
    return spelt


def canonical(text: str) -> str | None:
    """Return the form in which addresses are compared, whatever network it is marked for; None for what is none."""
    try:
        return _read(text, testnet=True)
    except InvalidAddress:
        return None


def canonical_of(raw: object) -> str | None:
    """Return the canonical form of an address as TonCenter sends it; None when it is none."""
    found = _RAW.fullmatch(raw) if isinstance(raw, str) else None
    if found is None or found[1] not in _WORKCHAINS:
        return None
    return f"{found[1]}:{found[2].upper()}"


def show(canonical: str, *, testnet: bool, bounceable: bool = True) -> str:
    """Return the friendly form, url-safe: `EQ…`, or `UQ…` for a wallet that may not be deployed yet."""
    workchain, digits = canonical.split(":")
    tag = (BOUNCEABLE if bounceable else NON_BOUNCEABLE) | (TEST_ONLY if testnet else 0)
    body = bytes([tag, int(workchain) & 0xFF]) + bytes.fromhex(digits)
    return base64.urlsafe_b64encode(body + _checksum(body)).decode()


def canonical_tx_hash(text: str) -> str | None:
    """Return the one spelling of a transaction hash, hex in small letters; explorers show hex or base64."""
    if _HEX_HASH.fullmatch(text):
        return text.lower()
    if _BASE64_HASH.fullmatch(text) is None:
        return None
    return base64.urlsafe_b64decode(text.rstrip("=").translate(_URL_SAFE) + "=").hex()


def _read(text: str, *, testnet: bool) -> str:
    found = _RAW.fullmatch(text)
    if found is not None:
        return _in_workchain(found[1], found[2])
    if _FRIENDLY.fullmatch(text) is None:
        raise InvalidAddress(_FORMS)
    data = base64.urlsafe_b64decode(text.translate(_URL_SAFE))
    body, checksum = data[:34], data[34:]
    if checksum != _checksum(body):
        raise InvalidAddress("the address does not match its checksum: a character is mistyped")
    if body[0] & ~TEST_ONLY not in {BOUNCEABLE, NON_BOUNCEABLE}:
        raise InvalidAddress(_FORMS)
    if body[0] & TEST_ONLY and not testnet:
        raise InvalidAddress("the address is marked as one of the test network")
    return _in_workchain(str(int.from_bytes(body[1:2], "big", signed=True)), body[2:].hex())


def _in_workchain(workchain: str, digits: str) -> str:
    if workchain not in _WORKCHAINS:
        raise InvalidAddress("the address is in a workchain that does not exist: only 0 and -1 do")
    return f"{workchain}:{digits.upper()}"


def _checksum(body: bytes) -> bytes:
    return binascii.crc_hqx(body, 0).to_bytes(2, "big")
