"""Where the addresses of the direct rails come from: a watch-only key, or a list somebody wrote down."""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from functools import lru_cache
from typing import Protocol

from bip32 import BIP32, HARDENED_INDEX, BIP32DerivationError
from cryptography.hazmat.primitives.asymmetric.ec import SECP256K1, EllipticCurvePublicKey
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat

from addresses import InvalidAddress
from addresses.evm import to_checksum
from addresses.keccak import keccak

EXTERNAL = 0  # BIP-44: the chain of addresses that are shown to payers
_PRIVATE = re.compile(r"[a-zA-Z]prv", re.ASCII)


class NotAnExtendedKey(ValueError):
    """The text is no extended public key; the message never repeats it."""


class AddressSource(Protocol):
    """Addresses by index. Whoever takes them counts the indexes, so that none is used twice."""

    def at(self, index: int) -> str | None:
        """Return the address of an index, always the same one; None when there are no more."""


class ExtendedKey:
    """EVM addresses under an account's extended public key (such as m/44'/60'/0'), at `0/index`."""

    def __init__(self, xpub: str) -> None:
        _parent(xpub)
        self._xpub = xpub

    def at(self, index: int) -> str | None:
        return evm_address(self._xpub, index) if index < HARDENED_INDEX else None


class FixedAddresses:
    """
    A list of addresses, taken one after the other and not again; `parse` returns the form they are compared in.

    Raises:
        ValueError: one is no address of the family that can receive, or stands there twice, however it is spelt.
    """

    def __init__(self, addresses: Sequence[str], parse: Callable[[str], str]) -> None:
        known: dict[str, str] = {}
        for address in addresses:
            try:
                canonical = parse(address)
            except InvalidAddress as exc:
                raise ValueError(f"{address} cannot receive: {exc}") from None
            if canonical in known:
                raise ValueError(f"{address} is the same account as {known[canonical]}")
            known[canonical] = address
        self._addresses = tuple(addresses)

    def at(self, index: int) -> str | None:
        if index < 0:
            raise ValueError("an index is zero or more")
        return self._addresses[index] if index < len(self._addresses) else None


def evm_address(xpub: str, index: int) -> str:
    """
    Return the EIP-55 address at `0/index` under an account's extended public key.

    Raises:
        NotAnExtendedKey: mistyped, of another kind, or private.
        ValueError: the index is negative or hardened.
    """
    if not 0 <= index < HARDENED_INDEX:
        raise ValueError(f"an index lies from 0 to {HARDENED_INDEX - 1}")
    compressed = _parent(xpub).get_pubkey_from_path([index])
    point = EllipticCurvePublicKey.from_encoded_point(SECP256K1(), compressed)
    plain = point.public_bytes(Encoding.X962, PublicFormat.UncompressedPoint)[1:]
    return to_checksum(f"0x{keccak(plain)[-20:].hex()}")


@lru_cache(maxsize=8)
def _parent(xpub: str) -> BIP32:
    """Return the key of the external chain."""
    if _PRIVATE.match(xpub):
        raise NotAnExtendedKey(
            "this is a private key, which has no place on a server: export the public one (xpub...), "
            "and move what the private one holds if this was ever written to a disk"
        )
    try:
        account = BIP32.from_xpub(xpub)
        chaincode, key = account.get_extended_pubkey_from_path([EXTERNAL])
    except (ValueError, AssertionError, BIP32DerivationError):
        # Not chained: some of these repeat what they could not read.
        raise NotAnExtendedKey("this is no extended public key (xpub...): a character is missing or wrong") from None
    return BIP32(chaincode, pubkey=key)
