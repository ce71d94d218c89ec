"""What a text that somebody looks for may stand for."""

from __future__ import annotations

import re
from collections.abc import Iterable

from chains.base import ChainAdapter
from chains.errors import InvalidAddress
from scanner.registration.reference import topic_ref
from scanner.store.intent_search import Spellings

_REFERENCE = re.compile(r"0x[0-9a-f]{16}")
_HASH = re.compile(r"(?:0x)?([0-9a-f]{64})")


def spellings(text: str, adapters: Iterable[ChainAdapter]) -> Spellings:
    """Return the forms in which the store would hold what a text names: an id, a reference, a hash, an address."""
    low = text.lower()
    digits = _HASH.fullmatch(low)
    references = [topic_ref(low)] if _REFERENCE.fullmatch(low) else []
    if digits is not None:
        references.append(f"0x{digits[1]}")
    return Spellings(
        intent_id=text,
        references=references,
        tx_hashes=[] if digits is None else [f"0x{digits[1]}", digits[1]],
        addresses=list(dict.fromkeys(key for adapter in adapters if (key := _key(adapter, text)) is not None)),
    )


def _key(adapter: ChainAdapter, text: str) -> str | None:
    try:
        return adapter.parse_address(text)
    except InvalidAddress:
        return None
