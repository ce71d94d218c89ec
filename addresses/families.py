"""The same questions to every family, by its name in the registry: `evm`, `tron`, `ton`."""

from __future__ import annotations

from collections.abc import Callable, Mapping

from addresses import evm, ton, tron

_CANONICAL: Mapping[str, Callable[[str], str | None]] = {
    "evm": evm.canonical,
    "tron": tron.canonical,
    "ton": ton.canonical,
}
_TX_HASH: Mapping[str, Callable[[str], str | None]] = {
    "evm": evm.canonical_tx_hash,
    "tron": tron.canonical_tx_hash,
    "ton": ton.canonical_tx_hash,
}


def parse(family: str, text: str, *, testnet: bool) -> str:
    """
    Return the one form of an address that money may be sent to.

    Raises:
        InvalidAddress: with a sentence for whoever typed it.
        KeyError: there is no such family.
    """
    if family == "ton":
        return ton.parse(text, testnet=testnet)
    return {"evm": evm.parse, "tron": tron.parse}[family](text)


def canonical(family: str, text: str) -> str | None:
    """
    Return the form in which addresses of a family are compared; None for what is no address of it.

    Accepts what was seen on a chain or on a list and nobody will send money to: the zero address, any letter case.
    """
    read = _CANONICAL.get(family)
    return None if read is None else read(text)


def same(family: str, one: str, other: str) -> bool:
    """Say whether two texts spell the same account; what is no address is the same as nothing."""
    form = canonical(family, one)
    return form is not None and form == canonical(family, other)


def listed_form(text: str) -> str | None:
    """Return the canonical form of an address whose family nobody names; None for those of other chains."""
    forms = (read(text) for read in _CANONICAL.values())
    return next((form for form in forms if form is not None), None)


def canonical_tx_hash(family: str, text: str) -> str | None:
    """Return the one spelling of a transaction hash; None for what is none of the family."""
    return _TX_HASH[family](text)
