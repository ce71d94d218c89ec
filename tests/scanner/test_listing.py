"""A page of intents costs what it shows, however many there are beside it."""

from __future__ import annotations

import pytest
from sqlalchemy import event
from sqlalchemy.engine import Connection

from kernel.store.database import Database
from scanner.model import IntentStatus
from scanner.store import intents
from tests.scanner.facts import CHAIN, SQLITE_ALONE, an_intent


@SQLITE_ALONE
@pytest.mark.parametrize("status", [None, IntentStatus.PENDING])
@pytest.mark.parametrize("chain_id", [None, CHAIN])
@pytest.mark.parametrize("after", [None, "order-1"])
async def test_no_page_is_sorted(
    db: Database, status: IntentStatus | None, chain_id: int | None, after: str | None
) -> None:
    asked: list[tuple[str, tuple[object, ...]]] = []

    def note(_connection: Connection, _cursor: object, sql: str, values: tuple[object, ...], *_: object) -> None:
        asked.append((sql, values))

    async with db.read() as tx:
        connection = tx.sync_connection
        event.listen(connection, "before_cursor_execute", note)
        await intents.page(tx, status=status, chain_id=chain_id, after=after, limit=3)
        sql, values = asked[-1]
        plan = [row[3] for row in await tx.exec_driver_sql(f"EXPLAIN QUERY PLAN {sql}", values)]
        event.remove(connection, "before_cursor_execute", note)

    assert plan
    assert not [step for step in plan if "TEMP B-TREE" in step]


async def test_a_chains_page_goes_on_behind_those_of_another_chain(db: Database) -> None:
    async with db.write() as tx:
        await intents.add_many(tx, [an_intent(f"order-{i}", chain_id=CHAIN + i % 2) for i in range(6)])

    async with db.read() as tx:
        page = await intents.page(tx, status=None, chain_id=CHAIN, after="order-0", limit=9)

    assert [intent.intent_id for intent in page] == ["order-2", "order-4"]


async def test_a_cursor_behind_an_intent_that_is_gone_begins_again_and_hides_nothing(db: Database) -> None:
    async with db.write() as tx:
        await intents.add_many(tx, [an_intent("order-1"), an_intent("order-2")])

    async with db.read() as tx:
        page = await intents.page(tx, status=None, chain_id=None, after="order-0", limit=9)

    assert [intent.intent_id for intent in page] == ["order-1", "order-2"]
