"""The values and lists raw answers are made of, each read strictly or not at all (pure)."""

from __future__ import annotations

import base64
import binascii
import re
from collections.abc import Callable, Mapping, Sequence
from typing import Any, Generic, NamedTuple, TypeVar

from chains.errors import ChainProtocolError
from chains.ton.address import canonical_of

NUMBER = re.compile(r"[0-9]{1,78}")
_HEX_NUMBER = re.compile(r"-?0x[0-9a-fA-F]{1,8}")
_HEX_HASH = re.compile(r"(?:0x)?[0-9a-fA-F]{64}")
T = TypeVar("T")
Json = Mapping[str, Any]


def number(value: Any, what: str) -> int:
    """Read a natural number that may be written as a string."""
    if isinstance(value, int) and not isinstance(value, bool) and value >= 0:
        return value
    if isinstance(value, str) and NUMBER.fullmatch(value) is not None:
        return int(value)
    raise ChainProtocolError(f"{what} is not a number")


def rows_of(answer: Json, key: str) -> list[Json]:
    """Return the list an answer carries; null is an answer that cannot be read, and no empty list."""
    rows = answer.get(key)
    if not isinstance(rows, list):
        raise ChainProtocolError(f"the answer has no list of {key}")
    return [row if isinstance(row, dict) else {} for row in rows]


class Readable(NamedTuple, Generic[T]):
    """What could be read of a list, and why the rest could not: one strange row must not hide its neighbours."""

    rows: list[T]
    unreadable: dict[str, str]  # by what can be told of the row; one entry a row

    @classmethod
    def of(cls, raw: Sequence[Json], parse: Callable[[Json], T]) -> Readable[T]:
        """Read every row by itself."""
        found: list[T] = []
        unreadable: dict[str, str] = {}
        for row in raw:
            try:
                found.append(parse(row))
            except ChainProtocolError as exc:
                name = _name(row)
                unreadable[f"{name} ({len(unreadable) + 1})" if name in unreadable else name] = str(exc)
        return cls(found, unreadable)


def _name(row: Json) -> str:
    """Return what tells an unreadable row from others: its transaction, if that much can be read."""
    try:
        return hash_of(row.get("transaction_hash", row.get("hash")))
    except ChainProtocolError:
        return "a row without a hash"


def address(row: Json, key: str) -> str:
    """Read the address a row has under a key."""
    found = canonical_of(row.get(key))
    if found is None:
        raise ChainProtocolError(f"{key} is not an address")
    return found


def flag(told: Json, name: str, *, needed: bool = False) -> bool:
    """Read a yes or no; what is not needed and not there is a no."""
    value = told.get(name)
    if isinstance(value, bool):
        return value
    if needed or value is not None:
        raise ChainProtocolError(f"a transaction does not say whether it was {name}")
    return False


def opcode_of(value: Any) -> int | None:
    """Read an opcode: hex text with its prefix, or a number that may be negative; None when it is neither."""
    if isinstance(value, str):
        return int(value, 16) if _HEX_NUMBER.fullmatch(value) is not None else None
    return value & 0xFFFFFFFF if isinstance(value, int) and not isinstance(value, bool) else None


def hash_of(value: Any) -> str:
    """
    Return a hash as lower-case hex, however it is spelt.

    The indexer writes base64, explorers and other versions of it url-safe base64 or hex: two spellings of one
    transaction must not become two payments.
    """
    if isinstance(value, str) and _HEX_HASH.fullmatch(value) is not None:
        return value.lower().removeprefix("0x")
    try:
        digest = base64.b64decode(_padded(value), altchars=b"-_" if _is_url_safe(value) else b"+/", validate=True)
    except (TypeError, ValueError, AttributeError, binascii.Error):
        digest = b""
    if len(digest) != 32:  # noqa: PLR2004 - bytes of a SHA-256
        raise ChainProtocolError("transaction_hash is not a hash")
    return digest.hex()


def hash_or_none(value: Any) -> str | None:
    try:
        return hash_of(value)
    except ChainProtocolError:
        return None


def number_or_zero(value: Any) -> int:
    try:
        return number(value, "lt")
    except ChainProtocolError:
        return 0


def _is_url_safe(text: str) -> bool:
    return "-" in text or "_" in text


def _padded(text: str) -> str:
    return text + "=" * (-len(text) % 4)
