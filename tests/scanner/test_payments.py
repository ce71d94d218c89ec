"""What the holder of a pay token is shown follows from the store, on either engine."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from typing import Any

import pytest

from chains.types import Cursor
from kernel.store.database import Database, Tx
from protocol.words import PaymentState
from scanner import ingest
from scanner.checkout import live
from scanner.checkout.payments import READ, SHOWN, Payments
from scanner.model import Intent, IntentStatus, Reason
from scanner.page_result import PageResult
from scanner.settlement import settle
from scanner.store import intents, transfers
from scanner.store.errors import NotFound, StoreError
from tests.harness import FakeClock
from tests.scanner.facts import CHAIN, HOUR_MS, LATE_MS, NOW, a_hash, a_transfer, an_intent


def payments_of(db: Database, clock: FakeClock) -> Payments:
    async def as_they_are(_: Tx, found: Sequence[Intent]) -> list[Intent]:
        return list(found)

    async def never(*_: Any) -> Any:
        raise AssertionError("the chain is not asked here")

    return Payments(db, clock, with_depths=as_they_are, recheck=never)


async def stored(db: Database, *new: Intent) -> None:
    async with db.write() as tx:
        await intents.add_many(tx, new)


async def seen(db: Database, *found: Any) -> None:
    async with db.write() as tx:
        await ingest.record_page(tx, CHAIN, list(found), now=NOW, late_ms=LATE_MS, moment=NOW)


async def test_a_token_finds_its_own_payment_alone(db: Database, clock: FakeClock) -> None:
    await stored(
        db, an_intent(intent_id="one", pay_token="token-one"), an_intent(intent_id="two", pay_token="token-two")
    )
    payments = payments_of(db, clock)

    assert (await payments.find("token-one")).intent.intent_id == "one"
    assert (await payments.find("token-two")).intent.intent_id == "two"
    for unknown in ("", "one", "token-on", "token-one ", "TOKEN-ONE", "%"):
        with pytest.raises(NotFound):
            await payments.find(unknown)


async def test_two_payments_never_share_a_token(db: Database) -> None:
    await stored(db, an_intent(intent_id="one", pay_token="same"))

    with pytest.raises(StoreError):
        await stored(db, an_intent(intent_id="two", pay_token="same"))


async def test_money_that_came_after_the_time_is_late_and_its_transaction_is_shown(
    db: Database, clock: FakeClock
) -> None:
    ended = {"status": IntentStatus.EXPIRED, "expires_at": NOW - HOUR_MS, "expired_at": NOW - HOUR_MS}
    late, quiet = (an_intent(intent_id=name, pay_token=name, created_at=NOW - 2 * HOUR_MS, **ended) for name in "lq")
    await stored(db, late, quiet)
    await seen(db, a_transfer(late, tx_hash=a_hash("late"), block_time=NOW // 1000))
    payments = payments_of(db, clock)

    found, other = await payments.find("l"), await payments.find("q")

    assert (found.state, other.state) == (PaymentState.LATE, PaymentState.EXPIRED)
    assert [(each.tx_hash, each.reason) for each in found.transfers] == [(a_hash("late"), Reason.LATE)]
    assert other.transfers == ()
    assert await payments.read(["l", "q", "nobody"]) == {"l": found, "q": other}


async def test_a_payment_that_left_the_chain_is_not_called_paid_until_it_is_back(
    db: Database, clock: FakeClock
) -> None:
    intent = an_intent(pay_token="token")
    await stored(db, intent)
    payment = a_transfer(intent, tx_hash=a_hash("tx"), block_number=100, block_time=NOW // 1000)
    await seen(db, payment)
    async with db.write() as tx:
        (held,) = (await transfers.of_intents(tx, [intent.intent_id]))[intent.intent_id]
        await transfers.verify_many(tx, [(held.id, None, NOW // 1000)])
        await settle(tx, [intent.intent_id], {held.key}, PageResult(), now=NOW)
    payments = payments_of(db, clock)
    states = [(await payments.find("token")).state]

    async with db.write() as tx:
        gone = [Cursor(100, payment.block_hash)]
        await ingest.rewind(tx, CHAIN, intent.rail, Cursor(99, a_hash("block")), gone=gone, now=NOW)
    reorged = await payments.find("token")
    await seen(db, payment._replace(block_number=102, block_hash=a_hash("another block")))
    states += [reorged.state, (await payments.find("token")).state]

    assert states == [PaymentState.PAID, PaymentState.REORGED, PaymentState.PAID]
    assert (reorged.intent.status, reorged.intent.tx_hash) == (IntentStatus.CONFIRMED, a_hash("tx"))


async def test_what_a_stranger_sends_beside_it_is_not_shown_and_what_is_shown_is_bounded(
    db: Database, clock: FakeClock
) -> None:
    intent = an_intent(pay_token="token")
    await stored(db, intent)
    crumbs = [
        a_transfer(intent, tx_hash=a_hash("tx", i), block_number=100 + i, block_time=NOW // 1000, amount=1)
        for i in range(READ + 10)
    ]
    worthless = [
        a_transfer(
            intent, tx_hash=a_hash("worthless", i), block_number=500 + i, block_time=NOW // 1000, token="0x" + "9" * 40
        )
        for i in range(SHOWN)
    ]
    await seen(db, *crumbs, *worthless)

    found = await payments_of(db, clock).find("token")

    assert (found.state, found.missing) == (PaymentState.PARTIAL, intent.amount - len(crumbs))
    assert [each.tx_hash for each in found.transfers] == [each.tx_hash for each in crumbs[-SHOWN:]]


async def test_open_pages_are_told_by_one_question_and_only_of_what_has_changed(
    db: Database, clock: FakeClock, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(live, "LOOK_S", 0.01)
    asked: list[set[str]] = []
    await stored(db, *(an_intent(intent_id=name, pay_token=name) for name in "ab"))
    payments = payments_of(db, clock)

    async def read(ids: Any) -> Any:
        asked.append(set(ids))
        if len(asked) == 1:
            raise StoreError("a moment of trouble")
        return await payments.read(ids)

    pages = live.LivePayments(read)
    task = asyncio.create_task(pages.run())
    first, second = await payments.find("a"), await payments.find("b")
    with pages.watching(first) as one, pages.watching(first) as again, pages.watching(second) as other:
        assert await one.news(0.1) is None
        async with db.write() as tx:
            await intents.change(tx, "a", [IntentStatus.PENDING], NOW + 1, amount_received=5)
        told = [await watcher.news(5) for watcher in (one, again)]
        assert await other.news(0.05) is None
    before = len(asked)
    await asyncio.sleep(0.1)
    task.cancel()
    await asyncio.wait([task])

    assert [payment and payment.intent.amount_received for payment in told] == [5, 5]
    assert {frozenset(each) for each in asked} == {frozenset("ab")}
    assert len(asked) <= before + 1  # nobody watches any more, so nobody is asked


async def test_transfers_of_what_is_as_it_was_are_not_read_again_and_again(
    db: Database, clock: FakeClock, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Hundreds of open pages of payments in part would be hundreds of questions a second."""
    new = [an_intent(intent_id=name, pay_token=name) for name in "abc"]
    await stored(db, *new)
    for name, intent in zip("abc", new, strict=True):
        await seen(db, a_transfer(intent, tx_hash=a_hash(name), block_time=NOW // 1000, amount=1))
    payments = payments_of(db, clock)
    asked: list[str] = []
    newest = transfers.newest

    async def counting(tx: Any, intent_id: str, **more: Any) -> Any:
        asked.append(intent_id)
        return await newest(tx, intent_id, **more)

    monkeypatch.setattr(transfers, "newest", counting)

    first = await payments.read(["a", "b", "c"])
    assert await payments.read(["a", "b", "c"]) == first
    assert sorted(asked) == ["a", "b", "c"]
    await seen(db, a_transfer(new[1], tx_hash=a_hash("more"), block_number=101, block_time=NOW // 1000, amount=1))
    changed = await payments.read(["a", "b", "c"])
    assert [each.tx_hash for each in changed["b"].transfers] == [a_hash("b"), a_hash("more")]
    assert asked[3:] == ["b"]
    clock.advance(31)
    assert await payments.read(["a"]) == {"a": first["a"]}
    assert asked[4:] == ["a"]


async def test_the_end_lets_every_page_go(db: Database, clock: FakeClock) -> None:
    await stored(db, an_intent(pay_token="token"))
    payments = payments_of(db, clock)
    with payments.live.watching(await payments.find("token")) as watcher:
        payments.live.close()

        assert await watcher.news(5) is None
        assert payments.live.closing
