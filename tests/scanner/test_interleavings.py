"""However a chain was read, in whatever pages and through whatever reorganisations, the end is the same."""

from __future__ import annotations

import random
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

import hypothesis
import orjson
from hypothesis import given
from hypothesis import strategies as st
from sqlalchemy import delete, select

from chains.types import Cursor, Rail, Transfer
from kernel.store.database import Database
from scanner import ingest
from scanner.confirmer import Confirmer
from scanner.model import EventType, Reason
from scanner.store import intents
from scanner.store.tables import blocks as blocks_table
from scanner.store.tables import checkpoints as checkpoints_table
from scanner.store.tables import events, fold_blocks, summaries
from scanner.store.tables import intents as intents_table
from scanner.store.tables import transfers as transfers_table
from tests.harness import FakeClock
from tests.scanner.facts import (
    CHAIN,
    LATE_MS,
    NOW,
    OTHER_TOKEN,
    SQLITE_ALONE,
    STRANGER,
    a_hash,
    a_transfer,
    an_intent,
    steady,
)
from tests.scanner.fake_chain import FIRST, FakeChain, a_chain

LAST = FIRST + 8
TOLD = (EventType.DETECTED, EventType.ANOMALY)
DEPOSIT = "0x" + "dd" * 20
INTENTS = (
    an_intent("order-0", events=TOLD),
    an_intent("order-1", amount=700, events=TOLD),
    an_intent("order-2", rail=Rail.DIRECT, destination=DEPOSIT, destination_key=DEPOSIT, events=TOLD),
)


class Sent(NamedTuple):
    """One log of a transaction: for which intent (none: a stranger's), and what is odd about it."""

    intent: int | None
    amount: int
    odd: str = ""


@dataclass(frozen=True)
class Tx:
    """A transaction, the block it was in at first (None: in none), and the one it is in at the end."""

    number: int
    logs: tuple[Sent, ...]
    before: int | None
    finally_in: int | None


logs = st.builds(
    Sent,
    st.sampled_from([0, 0, 0, 1, 1, 2, 2, None]),
    st.sampled_from([0, 1, 300, 500, 700, 1000, 1300]),
    st.sampled_from(["", "", "", "", "token", "destination", "fee"]),
)


@st.composite
def histories(draw: st.DrawFn) -> tuple[int, list[Tx]]:
    """A fork, and transactions each of which may be elsewhere, or nowhere, after it."""
    fork = draw(st.integers(FIRST, LAST))
    found = []
    for number in range(draw(st.integers(1, 7))):
        before = draw(st.integers(FIRST + 1, LAST))
        after = (
            before
            if before <= fork
            else draw(st.one_of(st.none(), st.integers(fork + 1, LAST)))
            if fork < LAST
            else None
        )
        found.append(Tx(number, tuple(draw(st.lists(logs, min_size=1, max_size=3))), before, after))
    return fork, found


def as_fact(tx: Tx, log: Sent) -> Transfer:
    odd = {"token": {"token": OTHER_TOKEN}, "destination": {"destination": STRANGER}, "fee": {"fee_amount": 9}}
    intent = INTENTS[0 if log.intent is None else log.intent]
    fields: dict[str, Any] = {"tx_hash": a_hash("tx", tx.number), "amount": log.amount, **odd.get(log.odd, {})}
    if log.intent is None:
        fields["reference"] = a_hash("stranger")
    if intent.rail is Rail.DIRECT:  # whatever goes elsewhere is never asked for
        fields["destination"] = DEPOSIT
    return a_transfer(intent, **fields)


def chain_of(history: Sequence[Tx], place: Callable[[Tx], int | None], branch: Callable[[int], str]) -> FakeChain:
    """Lay transactions out in blocks; blocks of another branch have other hashes."""
    chain = FakeChain()
    for number in range(FIRST + 1, LAST + 1):
        chain.extend(branch=branch(number))
    for tx in history:
        number = place(tx)
        if number is not None:
            for key, log in enumerate(tx.logs):
                chain.put(as_fact(tx, log), at=number, key=str(key))
    return chain


def rows_of(chain: FakeChain, first: int, last: int) -> list[Transfer]:
    return [transfer for number in range(first, last + 1) for transfer in chain.blocks[number][1]]


async def read(db: Database, page: list[Transfer]) -> None:
    async with db.write() as tx:
        await ingest.record_page(tx, CHAIN, page, now=NOW, late_ms=LATE_MS)


async def settle(db: Database, chain: FakeChain) -> None:
    """Let everything become deep, look again and confirm."""
    chain.extend(20)
    confirmer, head = Confirmer(a_chain(), chain, db, FakeClock(NOW)), await chain.head()
    async with db.read() as tx:
        deep = await confirmer.deep(tx, head)
    async for _ in confirmer.run(head, deep):
        pass


_STATE = ("status", "amount_received", "tx_hash", "log_index", "block_number", "block_hash", "sender", "confirmed_at")
_MADE = (
    "times",
    "block_number",
    "block_hash",
    "amount",
    "intent_id",
    "reason",
    "counted",
    "settled",
    "verified",
    "surplus",
)


async def outcome(db: Database) -> dict[str, Any]:
    """Return what a backend and an operator can tell of the end, whichever way led there."""
    async with db.read() as tx:
        states = {
            row.intent_id: [row._mapping[name] for name in _STATE] for row in await tx.execute(select(intents_table))
        }
        kept = {
            (row.tx_hash, row.event_key): [row._mapping[name] for name in _MADE]
            for row in await tx.execute(select(transfers_table))
            if row.reason != Reason.REORGED
        }
        confirmed = {
            row.event_id: row.body
            for row in await tx.execute(select(events).where(events.c.event_type == EventType.CONFIRMED))
        }
    return {"intents": states, "transfers": kept, "confirmations": confirmed}


async def reported(db: Database) -> Counter[str]:
    """Return how many transfers of each intent its backend was notified of, or will be together."""
    async with db.read() as tx:
        bodies = (await tx.execute(select(events.c.body).where(events.c.event_type.in_(TOLD)))).scalars().all()
        waiting = (await tx.execute(select(summaries).where(summaries.c.event_type.in_(TOLD)))).all()
    found = Counter[str]()
    for body in map(orjson.loads, bodies):
        found[body["intentId"]] += body["count"]
    for row in waiting:
        found[row.intent_id] += row.waiting
    return found


async def fresh(db: Database) -> None:
    """Empty the store and let the intents wait: one store for all examples, its statements compiled once."""
    async with db.write() as tx:
        for table in (events, summaries, fold_blocks, intents_table, transfers_table, checkpoints_table, blocks_table):
            await tx.execute(delete(table))
        await intents.add_many(tx, INTENTS)


async def straight(db: Database, chain: FakeChain) -> dict[str, Any]:
    """Read block by block, once, then settle."""
    await fresh(db)
    for number in range(FIRST + 1, LAST + 1):
        await read(db, rows_of(chain, number, number))
    await settle(db, chain)
    return await outcome(db)


def pages(chain: FakeChain, first: int, chance: random.Random) -> list[list[Transfer]]:
    """Cut everything from a block on at random places, some of it twice, in any order."""
    every = rows_of(chain, first, LAST)
    found: list[list[Transfer]] = []
    at = 0
    while at < len(every):
        size = chance.randint(1, 4)
        found.append(every[max(0, at - chance.randint(0, 2)) : at + size])
        at += size
    found += [chance.sample(every, chance.randint(0, len(every))) for _ in range(2)]
    chance.shuffle(found)
    for page in found:
        chance.shuffle(page)
    return found


async def winding(db: Database, old: FakeChain, new: FakeChain, fork: int, chance: random.Random) -> dict[str, Any]:
    """Read another history first, go back, more than once and further than needed, and read on."""
    await fresh(db)
    for page in pages(old, FIRST + 1, chance)[: chance.randint(0, 9)]:
        await read(db, page)
    for _ in range(chance.randint(1, 3)):
        to = chance.randint(FIRST, fork)
        async with db.write() as tx:
            gone = [
                Cursor(number, chain.blocks[number][0]) for chain in (old, new) for number in range(to + 1, LAST + 1)
            ]
            for rail in Rail:
                await ingest.rewind(tx, CHAIN, rail, Cursor(to, new.blocks[to][0]), gone=gone, now=NOW)
        for page in pages(new, to + 1, chance)[: chance.randint(0, 3)]:
            await read(db, page)
    for page in pages(new, FIRST + 1, chance):
        await read(db, page)
    await settle(db, new)
    return await outcome(db)


shared = hypothesis.settings(
    steady,
    max_examples=20,
    suppress_health_check=[*steady.suppress_health_check, hypothesis.HealthCheck.function_scoped_fixture],
)


@shared
@given(history=histories(), seed=st.integers(0, 2**32))
@SQLITE_ALONE
async def test_any_reading_through_reorganisations_ends_as_one_straight_reading(
    db: Database, history: tuple[int, list[Tx]], seed: int
) -> None:
    fork, made = history
    old = chain_of(made, lambda tx: tx.before, lambda number: "a")
    new = chain_of(made, lambda tx: tx.finally_in, lambda number: "a" if number <= fork else "b")

    wound = await winding(db, old, new, fork, random.Random(seed))

    new.cut(LAST)
    assert wound == await straight(db, new)


@shared
@given(history=histories(), seed=st.integers(0, 2**32))
@SQLITE_ALONE
async def test_in_whatever_pages_a_chain_is_read_each_transfer_is_reported_once(
    db: Database, history: tuple[int, list[Tx]], seed: int
) -> None:
    chain = chain_of(history[1], lambda tx: tx.finally_in, lambda number: "a")
    await fresh(db)

    for page in pages(chain, FIRST + 1, random.Random(seed)):
        await read(db, page)

    rows = rows_of(chain, FIRST + 1, LAST)
    by_reference = {intent.topic_ref: intent for intent in INTENTS if intent.rail is Rail.PROXY}
    by_reference[None] = next(intent for intent in INTENTS if intent.rail is Rail.DIRECT)
    concerned = Counter(by_reference[t.reference].intent_id for t in rows if t.reference in by_reference)
    assert await reported(db) == concerned
    async with db.read() as tx:
        kept = (await tx.execute(select(transfers_table.c.times, transfers_table.c.amount))).all()
    assert sum(row.times for row in kept) == len(rows)
    assert sum(row.amount for row in kept) == sum(transfer.amount for transfer in rows)
