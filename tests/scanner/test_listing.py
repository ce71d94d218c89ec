"""A page of intents costs what it shows, however many there are beside it; and what a text names is found."""

from __future__ import annotations

import pytest
from sqlalchemy import event
from sqlalchemy.engine import Connection

from chains.types import Rail
from kernel.store.database import Database
from scanner.model import IntentStatus
from scanner.search import spellings
from scanner.store import intent_search, intents
from scanner.store.intent_search import IntentFilter, IntentPage, Spellings
from tests.scanner.facts import CHAIN, MERCHANT, NOW, SQLITE_ALONE, STRANGER, a_hash, an_intent
from tests.scanner.fake_chain import FakeChain


async def plans(db: Database, wanted: IntentFilter, *, named: Spellings | None = None, **how: object) -> list[str]:
    """Return how SQLite answers what a page asks."""
    asked: list[tuple[str, tuple[object, ...]]] = []

    def note(_connection: Connection, _cursor: object, sql: str, values: tuple[object, ...], *_: object) -> None:
        asked.append((sql, values))

    async with db.read() as tx:
        connection = tx.sync_connection
        event.listen(connection, "before_cursor_execute", note)
        if named is None:
            await intent_search.page(tx, wanted, limit=3, **how)  # type: ignore[arg-type]
        else:
            await intent_search.find(tx, named, wanted, chains=[CHAIN], limit=3, **how)  # type: ignore[arg-type]
        event.remove(connection, "before_cursor_execute", note)
        found = [
            row[3] for sql, values in asked for row in await tx.exec_driver_sql(f"EXPLAIN QUERY PLAN {sql}", values)
        ]
    assert found
    return found


@SQLITE_ALONE
@pytest.mark.parametrize("status", [None, IntentStatus.PENDING])
@pytest.mark.parametrize("chain_id", [None, CHAIN])
@pytest.mark.parametrize("rail", [None, Rail.DIRECT])
@pytest.mark.parametrize("after", [None, "order-1"])
@pytest.mark.parametrize("newest_first", [False, True])
async def test_no_page_is_sorted(
    db: Database,
    status: IntentStatus | None,
    chain_id: int | None,
    rail: Rail | None,
    after: str | None,
    newest_first: bool,
) -> None:
    wanted = IntentFilter(status=status, chain_id=chain_id, rail=rail)

    steps = await plans(db, wanted, after=after, newest_first=newest_first)

    assert not [step for step in steps if "TEMP B-TREE" in step]


@SQLITE_ALONE
async def test_what_is_looked_up_has_an_index_and_walks_through_nothing(db: Database) -> None:
    named = Spellings("order-1", references=[a_hash("r")], tx_hashes=[a_hash("t")], addresses=[MERCHANT])

    steps = await plans(db, IntentFilter(status=IntentStatus.PENDING, chain_id=CHAIN), named=named, after="order-0")

    assert not [step for step in steps if step.startswith(("SCAN intents", "SCAN transfers"))]
    for index in ("intents_proxy", "intents_direct", "intents_sender", "intents_topic_ref", "transfers"):
        assert any(index in step for step in steps), index


async def shown(db: Database, wanted: IntentFilter | None = None, **how: object) -> list[str]:
    async with db.read() as tx:
        page = await intent_search.page(tx, wanted or IntentFilter(), **{"after": None, "limit": 9} | how)  # type: ignore[arg-type]
    return [intent.intent_id for intent in page.intents]


async def test_a_chains_page_goes_on_behind_those_of_another_chain(db: Database) -> None:
    async with db.write() as tx:
        await intents.add_many(tx, [an_intent(f"order-{i}", chain_id=CHAIN + i % 2) for i in range(6)])

    assert await shown(db, IntentFilter(chain_id=CHAIN), after="order-0") == ["order-2", "order-4"]
    assert await shown(db, IntentFilter(chain_id=CHAIN), after="order-4", newest_first=True) == ["order-2", "order-0"]


async def test_a_cursor_behind_an_intent_that_is_gone_begins_again_and_hides_nothing(db: Database) -> None:
    async with db.write() as tx:
        await intents.add_many(tx, [an_intent("order-1"), an_intent("order-2")])

    assert await shown(db, after="order-0") == ["order-1", "order-2"]
    assert await shown(db, after="order-0", newest_first=True) == ["order-2", "order-1"]


async def test_intents_are_filtered_by_rail_and_by_when_they_were_registered(db: Database) -> None:
    async with db.write() as tx:
        await intents.add_many(
            tx,
            [
                an_intent("first", created_at=NOW),
                an_intent("second", created_at=NOW + 1, rail=Rail.DIRECT),
                an_intent("third", created_at=NOW + 2),
            ],
        )

    assert await shown(db, IntentFilter(rail=Rail.DIRECT)) == ["second"]
    assert await shown(db, IntentFilter(created_from=NOW + 1)) == ["second", "third"]
    assert await shown(db, IntentFilter(created_from=NOW, created_to=NOW + 2)) == ["first", "second"]


@pytest.mark.parametrize("newest_first", [False, True])
async def test_a_page_looks_at_no_more_intents_than_a_bound(
    db: Database,
    monkeypatch: pytest.MonkeyPatch,
    newest_first: bool,
) -> None:
    monkeypatch.setattr(intent_search, "WALKED", 2)
    intent_search._walk.cache_clear()
    async with db.write() as tx:
        await intents.add_many(tx, [an_intent(f"order-{n}") for n in range(5)])

    after, pages = None, 0
    try:
        while True:
            async with db.read() as tx:
                wanted = IntentFilter(rail=Rail.DIRECT)
                page = await intent_search.page(tx, wanted, after=after, limit=9, newest_first=newest_first)
            assert page.intents == []
            pages, after = pages + 1, page.after
            if after is None:
                break
    finally:
        intent_search._walk.cache_clear()

    assert pages == 3


async def test_a_text_finds_what_it_names_and_nothing_else(db: Database) -> None:
    paid = an_intent("paid", rail=Rail.DIRECT, destination_key="0x" + "cd" * 20, sender=STRANGER)
    through = an_intent("through")
    async with db.write() as tx:
        await intents.add_many(tx, [paid, through, an_intent("other", destination_key="0x" + "ee" * 20)])

    async def found(text: str) -> list[str]:
        async with db.read() as tx:
            page: IntentPage = await intent_search.find(
                tx, spellings(text, [FakeChain()]), IntentFilter(), chains=[CHAIN], after=None, limit=9
            )
        return [intent.intent_id for intent in page.intents]

    assert await found("paid") == ["paid"]
    assert await found("pai") == []
    assert await found("0x" + "CD" * 20) == ["paid"]
    assert await found(STRANGER) == ["paid"]
    assert await found(MERCHANT) == ["through"]
    assert await found(through.payment_reference) == ["through"]
    assert await found(through.payment_reference.upper().replace("X", "x")) == ["through"]
    assert await found(through.topic_ref) == ["through"]
    assert await found("%") == []
