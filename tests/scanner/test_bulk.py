"""Rows written many at a time are the rows that were given, however many they are."""

from __future__ import annotations

import pytest

from kernel.store.bulk import SLICE, Bulk
from kernel.store.database import Database
from scanner.model import Reason
from scanner.reading.folding import Judged
from scanner.store import intents, outbox, transfers, watches
from tests.scanner.facts import CHAIN, NOW, SQLITE_ALONE, a_hash, a_transfer, an_intent

SIZES = [1, 2, SLICE - 1, SLICE, SLICE + 1, 2 * SLICE + 3]


def some(count: int, *, branch: str = "a", reference: str | None = None) -> list:
    return [
        a_transfer(
            tx_hash=a_hash("tx", number),
            event_key=str(number),
            log_index=number,
            block_number=100 + number,
            block_hash=a_hash("block", number, branch),
            amount=2**200 + number,
            sender=None,
            reference=reference,
            token="0x\"'\\\n\u2028",
        )
        for number in range(count)
    ]


async def store(db: Database, found: list, reason: Reason) -> None:
    async with db.write() as tx:
        if await intents.get(tx, "order-1") is None:
            await intents.add_many(tx, [an_intent()])
        await transfers.add_many(tx, [Judged(transfer, "order-1", reason) for transfer in found], now=NOW)


async def stored(db: Database) -> list:
    async with db.read() as tx:
        return (await transfers.of_intents(tx, ["order-1"]))["order-1"]


@pytest.mark.parametrize("count", SIZES)
async def test_every_value_of_every_row_arrives_as_it_was(db: Database, count: int) -> None:
    found = some(count)
    await store(db, found, Reason.WRONG_TOKEN)

    kept = await stored(db)
    assert [tuple(getattr(row, name) for name in found[0]._fields) for row in kept] == [tuple(t) for t in found]
    assert {(row.reason, row.counted, row.settled, row.verified, row.surplus, row.seen_at) for row in kept} == {
        (Reason.WRONG_TOKEN, False, False, False, None, NOW)
    }
    assert {type(row.amount) for row in kept} == {int}
    assert {row.chain_id for row in kept} == {CHAIN}


@pytest.mark.parametrize("count", SIZES)
async def test_rows_that_are_known_change_only_where_they_stand_elsewhere(db: Database, count: int) -> None:
    await store(db, some(count), Reason.WRONG_TOKEN)
    half = count // 2
    await store(db, some(count)[:half] + some(count, branch="b")[half:], Reason.ZERO_AMOUNT)

    kept = await stored(db)
    assert [row.reason for row in kept] == [Reason.WRONG_TOKEN] * half + [Reason.ZERO_AMOUNT] * (count - half)
    assert len(kept) == count


@SQLITE_ALONE
@pytest.mark.parametrize(
    ("statement", "table"),
    [
        (intents._FOLLOW, "intents"),
        (intents._CONFIRM, "intents"),
        (outbox._MOVE, "events"),
        (outbox._DELIVERED, "intents"),
        (outbox._GIVEN_UP, "intents"),
        (transfers._ALLOT, "transfers"),
        (transfers._VERIFY, "transfers"),
        (watches._CHECKED, "balance_watches"),
    ],
)
async def test_rows_are_found_by_their_key_whatever_else_is_asked_of_them(
    db: Database, statement: Bulk, table: str
) -> None:
    values = ["[]" if value is None else value for value in statement.sqlite.values({})]
    async with db.read() as tx:
        plan = [
            row.detail for row in await tx.exec_driver_sql(f"EXPLAIN QUERY PLAN {statement.sqlite.sql}", tuple(values))
        ]
    assert plan[0].startswith("SCAN anon_1 VIRTUAL TABLE")
    assert plan[1].startswith(
        (f"SEARCH {table} USING INDEX sqlite_autoindex_{table}_1", f"SEARCH {table} USING INTEGER")
    )
    # An answer to a round that is over is looked up by its event.
    also = ["CORRELATED SCALAR SUBQUERY 1", "SEARCH attempts USING INDEX attempts_event (event_id=?)"]
    assert plan[2:] == (also if statement is outbox._MOVE else [])
