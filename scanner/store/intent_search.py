"""Pages of intents: in the order of registration, by what they are looked up by, and by filters."""

from __future__ import annotations

import functools
from collections.abc import Collection, Mapping
from dataclasses import dataclass
from typing import Any, NamedTuple

from sqlalchemy import ColumnElement, bindparam, select, text

from chains.types import Rail
from kernel.store.database import Tx
from kernel.store.ddl import Whole
from kernel.store.dialects import JsonRows, among, as_json_rows, fetch_json_rows, without_index
from kernel.store.horizon import EVERYTHING
from scanner.model import Intent, IntentStatus
from scanner.store.intents import COLUMNS, as_intent
from scanner.store.tables import intents, transfers

WALKED = 20_000  # intents looked through for a page by what has no index, so that a page among millions costs little


@dataclass(frozen=True, slots=True)
class IntentFilter:
    """Which intents are wanted; None: whichever. Times are unix milliseconds of registration."""

    status: IntentStatus | None = None
    chain_id: int | None = None
    rail: Rail | None = None
    created_from: int | None = None
    created_to: int | None = None  # before which

    def given(self) -> dict[str, Any]:
        wanted = {
            "status": self.status,
            "chain": self.chain_id,
            "rail": self.rail,
            "since": self.created_from,
            "until": self.created_to,
        }
        return {name: value for name, value in wanted.items() if value is not None}

    @property
    def walks(self) -> bool:
        """Whether it asks for what no index leads to."""
        return self.rail is not None or self.created_from is not None or self.created_to is not None


class IntentPage(NamedTuple):
    """A page of intents; `after` is where the next one begins, None at the end."""

    intents: list[Intent]
    after: str | None


@dataclass(frozen=True, slots=True)
class Spellings:
    """What a text may stand for, in the forms in which the store holds it."""

    intent_id: str
    references: Collection[str] = ()  # what the log carries
    tx_hashes: Collection[str] = ()
    addresses: Collection[str] = ()


# Rows are numbered as they are written, and every index ends in that number: no page is ever sorted.
_FOUND_BY: Mapping[str, ColumnElement[bool]] = {
    "id": intents.c.intent_id == bindparam("id"),
    "reference": intents.c.topic_ref == bindparam("reference"),
    "transaction": intents.c.intent_id.in_(
        select(transfers.c.intent_id).where(
            among(transfers.c.chain_id, "chains"),
            transfers.c.tx_hash == bindparam("transaction"),
            transfers.c.intent_id.is_not(None),
        )
    ),
    # In the words of the indexes.
    "proxy": (intents.c.rail == text("'proxy'")) & (intents.c.destination_key == bindparam("proxy")),
    "direct": (intents.c.rail == text("'direct'"))
    & among(intents.c.chain_id, "chains")
    & (intents.c.destination_key == bindparam("direct")),
    "sender": intents.c.sender == bindparam("sender"),
}


@functools.cache
def _page(given: frozenset[str], *, by: str | None, newest_first: bool) -> JsonRows:
    """Return the statement for what is given; making one costs more than asking it."""
    number = intents.c.number
    order = number.desc() if newest_first else number
    statement = select(*COLUMNS, number).order_by(order).limit(bindparam("limit"))
    if by is not None:
        statement = statement.where(_FOUND_BY[by])
    if "status" in given:
        status = intents.c.status if by is None else without_index(intents.c.status)
        statement = statement.where(status == bindparam("status"))
    if "chain" in given:
        # By itself a chain has no index in that order, and one that has another would have it sorted.
        indexed = by is None and "status" in given
        chain = intents.c.chain_id if indexed else without_index(intents.c.chain_id)
        statement = statement.where(chain == bindparam("chain"))
    if "rail" in given:
        statement = statement.where(without_index(intents.c.rail) == bindparam("rail"))
    if "since" in given:
        statement = statement.where(intents.c.created_at >= bindparam("since", type_=Whole))
    if "until" in given:
        statement = statement.where(intents.c.created_at < bindparam("until", type_=Whole))
    if "last" in given:
        statement = statement.where(bindparam("last") >= number)
    if "after" in given:
        after = bindparam("after", type_=Whole)
        statement = statement.where(number < after if newest_first else number > after)
    if "end" in given:
        end = bindparam("end", type_=Whole)
        statement = statement.where(number >= end if newest_first else number <= end)
    return as_json_rows(statement)


_NUMBER = as_json_rows(select(intents.c.number).where(intents.c.intent_id == bindparam("id")))


@functools.cache
def _walk(*, newest_first: bool) -> JsonRows:
    """Return the statement for the last intent that is looked at for a page."""
    number, after = intents.c.number, bindparam("after", type_=Whole)
    ahead = number < after if newest_first else number > after
    order = number.desc() if newest_first else number
    chosen = select(number, intents.c.intent_id).where(ahead).order_by(order).offset(WALKED - 1).limit(1)
    return as_json_rows(chosen)


async def page(
    tx: Tx,
    wanted: IntentFilter,
    *,
    after: str | None,
    limit: int,
    last: int = EVERYTHING,
    newest_first: bool = False,
) -> IntentPage:
    """
    Return a page in order of registration, after an intent; all over again when there is no such intent.

    It may hold fewer than `limit`, even none, before the end: no more than `WALKED` intents are looked at.
    `last` is the number up to which all rows are there.
    """
    asked = wanted.given() | await _bounds(tx, after, last, newest_first=newest_first)
    walked: list[list[Any]] = []
    if wanted.walks:
        walked = await fetch_json_rows(
            tx, _walk(newest_first=newest_first), after=asked.get("after", EVERYTHING if newest_first else 0)
        )
        asked |= {"end": walked[0][0]} if walked else {}
    statement = _page(frozenset(asked), by=None, newest_first=newest_first)
    found = [as_intent(row[:-1]) for row in await fetch_json_rows(tx, statement, **asked, limit=limit + 1)]
    if len(found) > limit:
        return IntentPage(found[:limit], found[limit - 1].intent_id)
    return IntentPage(found, walked[0][1] if walked else None)


async def find(
    tx: Tx,
    text: Spellings,
    wanted: IntentFilter,
    *,
    chains: Collection[int],
    after: str | None,
    limit: int,
    last: int = EVERYTHING,
    newest_first: bool = False,
) -> IntentPage:
    """Return a page of the intents that a text names: by id, reference, transaction, destination or payer."""
    asked = wanted.given() | await _bounds(tx, after, last, newest_first=newest_first)
    found: dict[int, Intent] = {}
    for by, value in _looked_up(text):
        statement = _page(frozenset(asked), by=by, newest_first=newest_first)
        named = {by: value} | ({"chains": chains} if by in {"transaction", "direct"} else {})
        for *row, number in await fetch_json_rows(tx, statement, **asked, **named, limit=limit + 1):
            found[number] = as_intent(row)
    held = [found[number] for number in sorted(found, reverse=newest_first)]
    return IntentPage(held[:limit], held[limit - 1].intent_id if len(held) > limit else None)


def _looked_up(text: Spellings) -> list[tuple[str, str]]:
    return [
        ("id", text.intent_id),
        *(("reference", each) for each in text.references),
        *(("transaction", each) for each in text.tx_hashes),
        *((by, each) for each in text.addresses for by in ("proxy", "direct", "sender")),
    ]


async def _bounds(tx: Tx, after: str | None, last: int, *, newest_first: bool) -> dict[str, int]:
    """Return between which numbers a page lies."""
    bounds = {} if last == EVERYTHING else {"last": last}
    if after is not None:
        rows = await fetch_json_rows(tx, _NUMBER, id=after)
        bounds["after"] = rows[0][0] if rows else (EVERYTHING if newest_first else 0)
    return bounds
