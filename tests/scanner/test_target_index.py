"""Whom a chain is watched for is known without asking for everybody, and nobody who registers is missed."""

from __future__ import annotations

from collections.abc import AsyncIterator
from typing import Any

import pytest
from sqlalchemy import delete, update

from chains.types import Rail, Targets
from kernel.errors import StoreError
from kernel.store import dialects
from kernel.store.database import Database
from scanner import ingest
from scanner.model import IntentStatus
from scanner.reading.target_index import REBUILT_S, TargetIndex
from scanner.store import intents, tables
from tests.scanner.facts import CHAIN, HOUR_MS, LATE_MS, MERCHANT, NOW, OTHER_TOKEN, TOKEN, a_transfer, an_intent
from tests.scanner.test_worker import Bench

LISTED = "0x" + "dd" * 20


def address(number: int) -> str:
    return f"0x5{number:039x}"


def direct(number: int, **fields: Any) -> Any:
    return an_intent(f"order-{number}", rail=Rail.DIRECT, destination_key=address(number), **fields)


class Known:
    """An index over a store."""

    def __init__(self, db: Database) -> None:
        self.db = db
        self.index = TargetIndex(CHAIN, [LISTED], late_ms=LATE_MS)
        self.now = 0.0

    async def add(self, *new: Any) -> None:
        async with self.db.write() as tx:
            await intents.add_many(tx, new)

    async def targets(self, moment: int = NOW) -> Targets:
        async with self.db.read() as tx:
            return await self.index.refresh(tx, moment=moment, now=self.now)


@pytest.fixture
def known(db: Database) -> Known:
    return Known(db)


async def test_nobody_waits_and_the_listed_tokens_are_watched(known: Known) -> None:
    assert await known.targets() == Targets(tokens=frozenset({LISTED}))


async def test_each_rail_has_its_addresses_and_one_of_both_is_direct(known: Known) -> None:
    proxied = an_intent("p", destination_key=address(2))
    await known.add(direct(1), direct(2), proxied, an_intent("q"), direct(9, chain_id=98))
    targets = await known.targets()
    assert targets.destinations == {address(1), address(2)}
    assert targets.beneficiaries == {MERCHANT}
    assert targets.tokens == {LISTED, TOKEN}


async def test_who_registers_is_watched_from_the_next_poll_on(known: Known, monkeypatch: pytest.MonkeyPatch) -> None:
    await known.add(direct(1))
    first = await known.targets()
    monkeypatch.setattr(intents, "awaited", None)  # nobody who was known is asked for again
    assert await known.targets() is first
    await known.add(direct(9, chain_id=98))
    assert await known.targets() is first
    await known.add(direct(2, token_key=OTHER_TOKEN), an_intent("p"))
    second = await known.targets()
    assert second.destinations == {address(1), address(2)}
    assert second.beneficiaries == {MERCHANT}
    assert second.tokens == {LISTED, TOKEN, OTHER_TOKEN}
    assert first.destinations == {address(1)}  # whoever reads by it is not disturbed


async def test_a_number_is_never_given_twice_so_that_who_registers_after_a_deletion_is_seen(known: Known) -> None:
    await known.add(direct(1), direct(2))
    await known.targets()
    async with known.db.write() as tx:
        await tx.execute(delete(tables.intents))
    await known.add(direct(3), direct(4), direct(5))
    assert (await known.targets()).destinations >= {address(3), address(4), address(5)}


async def test_what_ended_long_ago_is_given_up_once_an_hour(known: Known) -> None:
    await known.add(direct(1), direct(2, status=IntentStatus.EXPIRED, expired_at=NOW))
    assert (await known.targets()).destinations == {address(1), address(2)}
    later = NOW + LATE_MS + HOUR_MS
    known.now += REBUILT_S - 1
    assert (await known.targets(later)).destinations == {address(1), address(2)}
    known.now += 1
    assert (await known.targets(later)).destinations == {address(1)}


async def test_where_a_payment_through_the_proxy_was_to_go_is_watched_as_long(known: Known) -> None:
    """What was listed there was taken off for good by a reorganisation, once the order had ended."""
    await known.add(an_intent("p", status=IntentStatus.EXPIRED, expired_at=NOW))
    assert (await known.targets()).beneficiaries == {MERCHANT}
    known.now += REBUILT_S
    assert (await known.targets(NOW + LATE_MS + HOUR_MS)).beneficiaries == frozenset()


@pytest.mark.parametrize("rail", list(Rail))
async def test_a_token_is_asked_about_as_long_as_an_address_it_may_reach(known: Known, rail: Rail) -> None:
    """Where logs are refused without an address, late money in a token outside the registry was not seen."""
    await known.targets()
    await known.add(an_intent("p", rail=rail, token_key=OTHER_TOKEN))
    assert (await known.targets()).tokens == {LISTED, OTHER_TOKEN}
    async with known.db.write() as tx:
        await tx.execute(update(tables.intents).values(status=IntentStatus.EXPIRED, expired_at=NOW))
    known.index.forget()
    assert (await known.targets()).tokens == {LISTED, OTHER_TOKEN}
    known.index.forget()
    assert (await known.targets(NOW + LATE_MS + HOUR_MS)).tokens == {LISTED}


async def test_any_number_is_read_in_parts_between_which_others_run(
    db: Database, known: Known, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A server ends a transaction in which nothing is said, and whoever renews no lease while a million are read loses it."""
    monkeypatch.setattr(dialects, "PART", 2)
    await known.add(*(direct(number) for number in range(5)))
    async with db.read() as tx:
        parts = [len(part) async for part in intents.awaited(tx, CHAIN, NOW - LATE_MS)]
        assert parts == ([2, 2, 1] if db.shared else [5])
        assert len(await intents.waiting_direct(tx, CHAIN)) == 5
        assert len(await intents.direct_destinations(tx, CHAIN, NOW - LATE_MS)) == 5
    assert len((await known.targets()).destinations) == 5


async def test_what_is_forgotten_while_it_is_read_is_read_again(known: Known, monkeypatch: pytest.MonkeyPatch) -> None:
    await known.add(direct(1), direct(2, status=IntentStatus.EXPIRED, expired_at=NOW - LATE_MS - 1))
    whole = intents.awaited

    async def forgotten_meanwhile(*asked: Any) -> AsyncIterator[Any]:
        async for part in whole(*asked):
            known.index.forget()
            yield part

    monkeypatch.setattr(intents, "awaited", forgotten_meanwhile)
    assert (await known.targets()).destinations == {address(1)}
    monkeypatch.setattr(intents, "awaited", whole)
    async with known.db.write() as tx:
        await tx.execute(update(tables.intents).values(status=IntentStatus.PENDING, expired_at=None))
    assert (await known.targets()).destinations == {address(1), address(2)}


async def test_what_could_not_be_read_to_its_end_is_read_again(known: Known, monkeypatch: pytest.MonkeyPatch) -> None:
    await known.add(direct(1), direct(2))
    whole = intents.awaited

    async def breaks(*asked: Any) -> AsyncIterator[Any]:
        async for part in whole(*asked):
            yield part[:1]
        raise StoreError("the connection is gone")

    monkeypatch.setattr(intents, "awaited", breaks)
    with pytest.raises(StoreError):
        await known.targets()
    monkeypatch.setattr(intents, "awaited", whole)
    assert (await known.targets()).destinations == {address(1), address(2)}


async def test_one_that_goes_on_after_its_address_was_given_up_is_watched_again(db: Database, clock: Any) -> None:
    bench = Bench(db, clock)
    moment = bench.chain.times[bench.chain.top] * 1000
    ended = direct(1, status=IntentStatus.EXPIRED, expires_at=moment, expired_at=moment - LATE_MS, created_at=0)
    await bench.wait_for(ended._replace(chain_created_at=0))
    await bench.worker.poll()
    # Somebody names the transaction of a part that came in time; what follows it comes to the same address.
    async with db.write() as tx:
        part = a_transfer(ended, amount=1000, block_time=moment // 1000 - 60, block_number=1)
        recorded = await ingest.record_page(tx, CHAIN, [part], now=NOW, late_ms=LATE_MS, moment=moment)
    bench.worker.count(recorded)
    assert (await bench.intent("order-1")).status is IntentStatus.CONFIRMING
    bench.chain.extend()
    bench.chain.put(a_transfer(ended, amount=5))
    await bench.worker.poll()
    assert 5 in [stored.amount for stored in await bench.stored("order-1")]
