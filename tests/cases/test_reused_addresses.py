"""A plain transfer belongs to the intent that held the address when its block was made."""

from __future__ import annotations

from typing import Any

import pytest

from chains.types import Rail
from scanner.model import IntentStatus, Reason
from scanner.store import intents
from tests.cases.scripted import bench, in_s
from tests.scanner.bench import Bench
from tests.scanner.facts import LATE_MS, a_hash, a_transfer, an_intent

__all__ = ["bench"]

SHOP = "0x" + "d1" * 20


def direct(bench: Bench, intent_id: str, **fields: Any) -> Any:
    now = in_s(bench, 0)
    values = {
        "rail": Rail.DIRECT,
        "destination": SHOP,
        "destination_key": SHOP,
        "created_at": now,
        "expires_at": in_s(bench, 86_400),
        "chain_position": bench.chain.top,
        **fields,
    }
    return an_intent(intent_id, **values)


async def paid(bench: Bench, intent: Any) -> None:
    await bench.wait_for(intent)
    bench.chain.extend(wait=5)
    bench.chain.put(a_transfer(intent, tx_hash=a_hash("tx", intent.intent_id)))
    bench.chain.extend(5)
    await bench.worker.poll()
    assert (await bench.intent(intent.intent_id)).status is IntentStatus.CONFIRMED


def again(bench: Bench, intent: Any, number: int, amount: int = 1000, at: int | None = None) -> Any:
    return bench.chain.put(a_transfer(intent, tx_hash=a_hash("again", number), amount=amount), at=at)


@pytest.mark.parametrize("seen", ["before the next is registered", "after"])
async def test_a_second_payment_of_an_earlier_intent_never_settles_the_next(bench: Bench, seen: str) -> None:
    old = direct(bench, "old")
    await paid(bench, old)
    bench.chain.extend(wait=5)
    again(bench, old, 1)
    bench.chain.extend()
    if seen.startswith("before"):
        await bench.worker.poll()
    await bench.wait_for(direct(bench, "new"))
    bench.chain.extend(6)

    await bench.worker.poll()

    assert (await bench.intent("new")).status is IntentStatus.PENDING
    assert await bench.reasons("new") == []
    assert await bench.reasons("old") == [None, Reason.DUPLICATE]


@pytest.mark.parametrize("how", ["late", "cancelled"])
async def test_money_that_came_after_an_intents_end_never_settles_the_next(bench: Bench, how: str) -> None:
    old = direct(bench, "old", expires_at=in_s(bench, 10))
    await bench.wait_for(old)
    if how == "cancelled":
        async with bench.db.write() as tx:
            ended = {"status": IntentStatus.EXPIRED, "cancelled_at": old.created_at, "expired_at": old.created_at}
            await intents.change(tx, "old", [IntentStatus.PENDING], old.created_at, **ended)
    bench.chain.extend(wait=200)
    await bench.read_twice()
    bench.chain.extend(wait=5)
    again(bench, old, 1)
    bench.chain.extend()
    await bench.wait_for(direct(bench, "new"))
    bench.chain.extend(6)

    await bench.worker.poll()

    assert (await bench.intent("new")).status is IntentStatus.PENDING
    assert await bench.reasons("old") == [Reason.LATE if how == "late" else Reason.CANCELLED]


async def test_what_the_next_intent_is_paid_is_its_own_from_the_first_block_on(bench: Bench) -> None:
    old = direct(bench, "old")
    await paid(bench, old)
    new = direct(bench, "new")
    await bench.wait_for(new)
    bench.chain.extend()  # a second later
    again(bench, new, 1)
    bench.chain.extend(5)

    await bench.worker.poll()

    assert (await bench.intent("new")).status is IntentStatus.CONFIRMED
    assert await bench.reasons("old") == [None]


async def test_an_intent_paid_in_time_and_found_late_is_confirmed_beside_the_next_at_its_address(bench: Bench) -> None:
    old = direct(bench, "old", expires_at=in_s(bench, 10))
    await bench.wait_for(old)
    bench.chain.extend(wait=5)
    in_time = bench.chain.top
    bench.chain.extend(wait=200)
    await bench.read_twice()
    assert (await bench.intent("old")).status is IntentStatus.EXPIRED
    new = direct(bench, "new")
    await bench.wait_for(new)
    again(bench, old, 1, at=in_time)
    bench.chain.extend()
    again(bench, new, 2)
    bench.chain.extend(5)

    await bench.worker.poll()

    assert {(await bench.intent(name)).status for name in ("old", "new")} == {IntentStatus.CONFIRMED}
    assert [t.tx_hash for t in await bench.stored("old")] == [a_hash("again", 1)]
    assert [t.tx_hash for t in await bench.stored("new")] == [a_hash("again", 2)]


async def test_long_after_the_earlier_intent_a_payment_shortly_before_the_next_is_its_own(bench: Bench) -> None:
    old = direct(bench, "old")
    await paid(bench, old)
    bench.chain.extend(wait=LATE_MS // 1000 + 3600)
    bench.chain.extend(wait=60)
    ahead = bench.chain.top
    bench.chain.extend(wait=120)
    await bench.worker.poll()
    again(bench, old, 1, at=ahead)
    await bench.wait_for(direct(bench, "new"))
    bench.chain.extend(5)

    await bench.worker.poll()

    assert (await bench.intent("new")).status is IntentStatus.CONFIRMED
    assert await bench.reasons("old") == [None]


async def test_an_intent_registered_by_a_clock_that_is_behind_is_paid_at_the_address_of_an_earlier_one(
    bench: Bench,
) -> None:
    old = direct(bench, "old")
    await paid(bench, old)
    bench.chain.extend(wait=60)
    behind = in_s(bench, -1200)
    new = direct(bench, "new", created_at=behind, chain_created_at=behind, chain_position=None)
    await bench.wait_for(new)
    bench.chain.extend(wait=60)
    again(bench, new, 1)
    bench.chain.extend(6)

    await bench.worker.poll()

    assert (await bench.intent("new")).status is IntentStatus.CONFIRMED
    assert await bench.reasons("old") == [None]
