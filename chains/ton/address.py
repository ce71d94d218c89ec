"""TON addresses: raw `workchain:HEX` inside, as TonCenter writes them; the friendly base64 form for people."""

from __future__ import annotations

import base64
import binascii
import re

from chains.errors import InvalidAddress

BOUNCEABLE = 0x11
NON_BOUNCEABLE = 0x51
TEST_ONLY = 0x80

_WORKCHAINS = {"0", "-1"}
_RAW = re.compile(r"(-?\d+):([0-9a-fA-F]{64})")
_FRIENDLY = re.compile(r"[A-Za-z0-9_-]{48}|[A-Za-z0-9+/]{48}")
_FORMS = "a TON address is 48 characters such as EQ… or UQ…, or 0: and 64 hex digits"


def parse_address(text: str, *, testnet: bool) -> str:
    """
    Return the raw form of an address, hex in capitals.

    Raises:
        InvalidAddress: malformed, mistyped by its checksum, of the test network, or the zero address.
    """
    found = _RAW.fullmatch(text)
    if found is not None:
        canonical = _checked(found[1], found[2])
    elif _FRIENDLY.fullmatch(text) is not None:
        canonical = _from_friendly(text, testnet=testnet)
    else:
        raise InvalidAddress(_FORMS)
    if canonical == "0:" + "0" * 64:
        raise InvalidAddress("the zero address cannot receive payments")
    return canonical


def show_address(canonical: str, *, testnet: bool, bounceable: bool = True) -> str:
    """Return the friendly form, url-safe: `EQ…`, or `UQ…` for a wallet that may not be deployed yet."""
    workchain, digits = canonical.split(":")
    tag = (BOUNCEABLE if bounceable else NON_BOUNCEABLE) | (TEST_ONLY if testnet else 0)
    body = bytes([tag, int(workchain) & 0xFF]) + bytes.fromhex(digits)
    return base64.urlsafe_b64encode(body + _checksum(body)).decode()


def canonical_of(raw: object) -> str | None:
    """Return the canonical form of an address as TonCenter sends it; None when it is none."""
    found = _RAW.fullmatch(raw) if isinstance(raw, str) else None
    if found is None or found[1] not in _WORKCHAINS:
        return None
    return f"{found[1]}:{found[2].upper()}"


def _from_friendly(text: str, *, testnet: bool) -> str:
    data = base64.b64decode(text, altchars=b"-_" if "-" in text or "_" in text else b"+/", validate=True)
    body, checksum = data[:34], data[34:]
    if checksum != _checksum(body):
        raise InvalidAddress("the address does not match its checksum: a character is mistyped")
    tag = body[0]
    if tag & ~TEST_ONLY not in {BOUNCEABLE, NON_BOUNCEABLE}:
        raise InvalidAddress(_FORMS)
    if tag & TEST_ONLY and not testnet:
        raise InvalidAddress("the address is marked as one of the test network")
    workchain = int.from_bytes(body[1:2], "big", signed=True)
    return _checked(str(workchain), body[2:].hex())


def _checked(workchain: str, digits: str) -> str:
    if workchain not in _WORKCHAINS:
        raise InvalidAddress("the address is in a workchain that does not exist: only 0 and -1 do")
    return f"{workchain}:{digits.upper()}"


def _checksum(body: bytes) -> bytes:
    return binascii.crc_hqx(body, 0).to_bytes(2, "big")
