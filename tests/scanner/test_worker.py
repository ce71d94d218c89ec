"""The worker on a scripted chain: pages, forks, failures, expiry, and what operators are shown."""

from __future__ import annotations

import asyncio
import itertools
import logging
from collections import Counter
from collections.abc import Sequence
from typing import Any

import pytest
from sqlalchemy import select

from chains.errors import ChainUnavailable
from chains.types import Cursor, Fork, Head, Rail, Targets, TokenMeta, Transfer, UnreadableLog, VerificationOutcome
from config.catalog import Token
from kernel.store.database import Database
from scanner.confirmer import BATCH, CONFIRM_BATCH
from scanner.model import EventType, IntentStatus, Reason
from scanner.reading import rail_reader as rail_module
from scanner.reading.target_index import REBUILT_S
from scanner.store import checkpoints, intents, tables, unread
from scanner.upkeep.health import ChainState
from tests.harness import FakeClock
from tests.scanner.bench import Bench
from tests.scanner.facts import (
    CHAIN,
    HOUR_MS,
    LATE_MS,
    MERCHANT,
    NOW,
    OTHER_TOKEN,
    TOKEN,
    a_hash,
    a_transfer,
    an_intent,
)
from tests.scanner.fake_chain import FIRST, SENDER


@pytest.fixture
async def bench(db: Database, clock: FakeClock) -> Bench:
    found = Bench(db, clock)
    await found.worker.poll()
    found.wakeups = 0
    return found


async def test_a_payment_is_confirmed_at_the_required_depth_and_not_before(bench: Bench) -> None:
    intent = an_intent()
    await bench.wait_for(intent)
    bench.chain.extend()
    paid = bench.chain.put(a_transfer(intent))

    await bench.worker.poll()
    assert (await bench.intent()).status is IntentStatus.CONFIRMING
    for depth in range(2, 5):
        bench.chain.extend()
        await bench.worker.poll()
        assert ((await bench.intent()).status, await bench.depth()) == (IntentStatus.CONFIRMING, depth)
    assert bench.chain.calls["verify"] == 0
    bench.chain.extend()
    await bench.worker.poll()

    done = await bench.intent()
    assert (done.status, done.confirmations, done.confirmed_at) == (IntentStatus.CONFIRMED, 5, NOW)
    assert (done.tx_hash, done.block_number, done.sender) == (paid.tx_hash, paid.block_number, SENDER)
    assert await bench.event_types() == [EventType.CONFIRMED]
    assert bench.wakeups > 0
    assert bench.value("matches_total") == 1


async def test_how_long_a_payment_took_to_be_seen_is_measured_from_its_block(bench: Bench) -> None:
    intent = an_intent()
    await bench.wait_for(intent)
    bench.chain.extend()
    bench.chain.put(a_transfer(intent))
    await bench.worker.poll()
    bench.chain.extend(5)
    bench.clock.advance(200)

    await bench.worker.poll()

    assert bench.value("detection_seconds_sum") == 200 - (FIRST + 1)
    assert bench.value("detection_seconds_count") == 1


@pytest.mark.parametrize(
    ("outcome", "reason"),
    [
        (VerificationOutcome.SHORT, Reason.FEE_ON_TRANSFER),
        (VerificationOutcome.NO_TRANSFER_LOG, Reason.NO_TRANSFER_LOG),
        (VerificationOutcome.REVERTED, Reason.REVERTED),
    ],
)
async def test_what_the_second_look_refuses_never_settles(
    bench: Bench, outcome: VerificationOutcome, reason: Reason
) -> None:
    intent = an_intent(events=(EventType.ANOMALY,))
    await bench.wait_for(intent)
    bench.chain.extend()
    bench.chain.outcomes[bench.chain.put(a_transfer(intent)).tx_hash] = outcome
    await bench.worker.poll()
    bench.chain.extend(5)

    await bench.worker.poll()
    await bench.worker.poll()

    after = await bench.intent()
    assert (after.status, after.amount_received, after.tx_hash) == (IntentStatus.PENDING, 0, None)
    assert await bench.reasons() == [reason]
    assert await bench.event_types() == [EventType.ANOMALY]
    assert len(bench.chain.verified) == 1  # a verdict is not asked for again
    assert bench.value("rejects_total", reason=reason) == 1


async def test_a_part_is_looked_at_when_it_is_deep_although_the_sum_is_not_complete(bench: Bench) -> None:
    intent = an_intent()
    await bench.wait_for(intent)
    bench.chain.extend()
    part = bench.chain.put(a_transfer(intent, amount=300))
    bench.chain.outcomes[part.tx_hash] = VerificationOutcome.SHORT
    bench.chain.extend(3)
    await bench.worker.poll()
    assert (await bench.intent()).amount_received == 300

    bench.chain.extend()
    await bench.worker.poll()

    assert (await bench.intent()).amount_received == 0
    assert await bench.reasons() == [Reason.FEE_ON_TRANSFER]


async def test_a_chain_that_cannot_tell_yet_is_asked_again(bench: Bench) -> None:
    intent = an_intent()
    await bench.wait_for(intent)
    bench.chain.extend()
    paid = bench.chain.put(a_transfer(intent))
    bench.chain.outcomes[paid.tx_hash] = VerificationOutcome.NOT_YET
    bench.chain.extend(9)
    await bench.worker.poll()
    assert ((await bench.intent()).status, await bench.depth()) == (IntentStatus.CONFIRMING, 5)

    del bench.chain.outcomes[paid.tx_hash]
    await bench.worker.poll()

    assert (await bench.intent()).status is IntentStatus.CONFIRMED


async def test_many_sums_are_looked_at_in_batches_and_each_as_a_whole(bench: Bench) -> None:
    orders = [an_intent(f"order-{i}") for i in range(BATCH + 50)]
    await bench.wait_for(*orders)
    bench.chain.extend()
    for part in range(2):
        for order in orders:
            bench.chain.put(a_transfer(order, amount=500, tx_hash=a_hash("tx", order.intent_id, part)))
    bench.chain.extend(4)

    await bench.worker.poll()

    assert [len(looked) for looked in bench.chain.verified] == [2 * BATCH, 2 * 50]
    for looked in bench.chain.verified:
        assert set(Counter(transfer.reference for transfer in looked).values()) == {2}
    assert {(await bench.intent(order.intent_id)).status for order in orders} == {IntentStatus.CONFIRMED}


async def test_whoever_writes_meanwhile_waits_for_a_few_confirmations_and_not_for_all(bench: Bench) -> None:
    orders = [an_intent(f"order-{i}") for i in range(3 * CONFIRM_BATCH)]
    await bench.wait_for(*orders)
    bench.chain.extend()
    for order in orders:
        for part in range(2):
            bench.chain.put(a_transfer(order, amount=500, tx_hash=a_hash("tx", order.intent_id, part)))
    bench.chain.extend(4)
    polling = asyncio.create_task(bench.worker.poll())
    confirmed = [0]

    while not polling.done():
        async with bench.db.write() as tx:  # those who wait for the store take turns
            counts = await intents.count_by_status(tx)
        confirmed.append(counts.get((CHAIN, IntentStatus.CONFIRMED), 0))
    await polling

    assert confirmed[-1] >= len(orders) - CONFIRM_BATCH
    assert max(after - before for before, after in itertools.pairwise(confirmed)) == CONFIRM_BATCH


async def test_one_part_that_cannot_be_reported_yet_holds_back_the_sum(bench: Bench) -> None:
    intent = an_intent()
    await bench.wait_for(intent)
    bench.chain.extend()
    bench.chain.put(a_transfer(intent, amount=600))
    late = bench.chain.put(a_transfer(intent, amount=400, tx_hash=a_hash("tx", 2)))
    bench.chain.outcomes[late.tx_hash] = VerificationOutcome.NOT_YET
    bench.chain.extend(4)

    await bench.worker.poll()

    assert (await bench.intent()).status is IntentStatus.CONFIRMING
    del bench.chain.outcomes[late.tx_hash]
    await bench.worker.poll()
    assert (await bench.intent()).status is IntentStatus.CONFIRMED


async def test_a_payment_that_happened_long_before_the_intent_does_not_settle_it(bench: Bench) -> None:
    intent = an_intent(created_at=NOW + HOUR_MS)
    await bench.wait_for(intent)
    bench.chain.extend()
    bench.chain.put(a_transfer(intent))
    bench.chain.extend(4)

    await bench.worker.poll()

    assert await bench.reasons() == [Reason.BEFORE_INTENT]
    assert (await bench.intent()).status is IntentStatus.PENDING


async def test_a_payment_that_left_the_chain_is_taken_back_and_settles_when_it_returns(bench: Bench) -> None:
    intent = an_intent(events=(EventType.REORGED,))
    await bench.wait_for(intent)
    bench.chain.extend(2)
    paid = bench.chain.put(a_transfer(intent))
    await bench.worker.poll()

    bench.chain.cut(bench.chain.top - 1)
    bench.chain.extend(branch="b")
    await bench.worker.poll()
    gone = await bench.intent()
    assert (gone.status, gone.tx_hash, gone.confirmations, gone.amount_received) == (IntentStatus.PENDING, None, 0, 0)
    assert await bench.reasons() == [Reason.REORGED]
    assert await bench.event_types() == [EventType.REORGED]
    assert (bench.value("reorgs_total"), bench.value("reorg_depth_blocks_sum")) == (1, 2)

    bench.chain.extend(branch="b")
    bench.chain.put(paid)
    bench.chain.extend(4, branch="b")
    await bench.worker.poll()
    assert (await bench.intent()).status is IntentStatus.CONFIRMED
    assert await bench.reasons() == [None]


async def test_a_payment_found_gone_at_the_second_look_is_looked_for_again(bench: Bench) -> None:
    """The fork hides from the scan: the block at the checkpoint was never replaced while it read."""
    intent = an_intent()
    await bench.wait_for(intent)
    bench.chain.extend()
    paid = bench.chain.put(a_transfer(intent))
    await bench.worker.poll()
    before = await bench.checkpoint()
    assert before is not None
    bench.chain.extend(5)
    _, held = bench.chain.blocks[paid.block_number]
    bench.chain.blocks[paid.block_number] = (a_hash("elsewhere"), [])

    async with bench.db.write() as tx:  # what was read below is what is canonical
        for rail in Rail:
            top = Cursor(bench.chain.top, bench.chain.blocks[bench.chain.top][0])
            await checkpoints.put(tx, CHAIN, rail, top, time=None, now=NOW, keep_from=-1)
    await bench.worker.poll()

    assert (await bench.intent()).status is IntentStatus.PENDING
    assert await bench.reasons() == [Reason.REORGED]
    below = await bench.checkpoint()
    assert below is not None
    assert below.position < paid.block_number
    bench.chain.blocks[paid.block_number] = (a_hash("elsewhere"), [held[0]._replace(block_hash=a_hash("elsewhere"))])
    await bench.worker.poll()
    assert (await bench.intent()).status is IntentStatus.CONFIRMED


async def paid_and_read_in_part(bench: Bench, *, elsewhere: bool = False) -> Transfer:
    """Pay an intent deep enough, by a transaction of which there may be more; or another one may have more."""
    intent = an_intent()
    await bench.wait_for(intent)
    bench.chain.extend()
    paid = bench.chain.put(a_transfer(intent))
    bench.chain.extend(20)
    log = UnreadableLog(paid.block_number, a_hash("another") if elsewhere else paid.tx_hash, "it is one of many")
    async with bench.db.write() as tx:
        await unread.put(tx, CHAIN, Rail.PROXY, [log], NOW)
    await bench.worker.poll()
    return paid


@pytest.mark.parametrize("elsewhere", [False, True])
async def test_nothing_is_confirmed_by_a_transaction_that_was_read_in_part(
    bench: Bench, monkeypatch: pytest.MonkeyPatch, elsewhere: bool
) -> None:
    """What else it paid was listed as paid twice, and the confirmation told a smaller sum."""
    monkeypatch.setattr("scanner.reading.unread.READ_AGAIN_A_POLL", 0)
    await paid_and_read_in_part(bench, elsewhere=elsewhere)
    assert (await bench.intent()).status is (IntentStatus.CONFIRMED if elsewhere else IntentStatus.CONFIRMING)

    monkeypatch.undo()
    await bench.worker.poll()
    assert (await bench.intent()).status is IntentStatus.CONFIRMED


async def test_nor_once_its_block_shows_nothing_of_it_while_no_endpoint_has_its_receipt(
    bench: Bench, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A list of receipts without it was taken for all of it, and what else it paid was listed as paid twice."""
    monkeypatch.setattr("scanner.reading.unread.READ_AGAIN_A_POLL", 0)
    paid = await paid_and_read_in_part(bench)
    monkeypatch.undo()

    async def nothing(*_: Any) -> list[Transfer]:
        return []

    bench.chain.unlisted = {paid.tx_hash}
    monkeypatch.setattr(bench.chain, "inspect", nothing)
    for _ in range(2):
        await bench.worker.poll()
        assert (await bench.intent()).status is IntentStatus.CONFIRMING

    bench.chain.unlisted.clear()
    await bench.worker.poll()
    assert (await bench.intent()).status is IntentStatus.CONFIRMED


async def test_what_is_worthless_beside_a_payment_found_gone_is_taken_off_with_it(bench: Bench) -> None:
    """Nobody looks at it twice: the checkpoint went back below its block, and no fork above that was ever noticed."""
    intent = an_intent()
    await bench.wait_for(intent)
    bench.chain.extend()
    paid = bench.chain.put(a_transfer(intent))
    bench.chain.put(a_transfer(intent, amount=0))
    await bench.worker.poll()
    assert await bench.reasons() == [None, Reason.ZERO_AMOUNT]
    bench.chain.extend(5)
    bench.chain.blocks[paid.block_number] = (a_hash("elsewhere"), [])
    async with bench.db.write() as tx:  # what was read below is what is canonical
        for rail in Rail:
            top = Cursor(bench.chain.top, bench.chain.blocks[bench.chain.top][0])
            await checkpoints.put(tx, CHAIN, rail, top, time=None, now=NOW, keep_from=-1)

    await bench.worker.poll()
    await bench.worker.poll()

    assert await bench.reasons() == [Reason.REORGED, Reason.REORGED]


@pytest.mark.parametrize("whose", ["of an intent", "of nobody"])
async def test_what_is_worthless_above_a_payment_found_gone_is_taken_off_where_its_block_was_replaced(
    bench: Bench, whose: str
) -> None:
    """It is in blocks of its own, between which and the checkpoint no fork is noticed; what stands is left alone."""
    intent = an_intent()
    await bench.wait_for(intent)

    def worthless(tx_hash: str) -> Transfer:
        if whose == "of an intent":
            return bench.chain.put(a_transfer(intent, amount=0, tx_hash=tx_hash))
        return bench.chain.put(a_transfer(reference="0x" + "5a" * 32, tx_hash=tx_hash))

    bench.chain.extend()
    paid = bench.chain.put(a_transfer(intent))
    bench.chain.extend()
    beside = worthless(a_hash("beside"))
    bench.chain.extend()
    standing = worthless(a_hash("standing"))
    await bench.worker.poll()
    bench.chain.extend(5)
    for replaced in (paid, beside):
        bench.chain.blocks[replaced.block_number] = (a_hash(f"other {replaced.block_number}"), [])
    async with bench.db.write() as tx:
        for rail in Rail:
            top = Cursor(bench.chain.top, bench.chain.blocks[bench.chain.top][0])
            await checkpoints.put(tx, CHAIN, rail, top, time=None, now=NOW, keep_from=-1)

    await bench.worker.poll()
    await bench.worker.poll()

    async with bench.db.read() as tx:
        stored = (await tx.execute(select(tables.transfers))).all()
    listed = {(row.tx_hash, row.times) for row in stored if row.reason not in {None, Reason.REORGED}}
    assert listed == {(standing.tx_hash, 1)}


async def _stored(bench: Bench) -> Sequence[Any]:
    async with bench.db.read() as tx:
        return (await tx.execute(select(tables.transfers))).all()


@pytest.mark.parametrize("again", [True, False], ids=["came back", "vanished"])
@pytest.mark.parametrize("way", ["swept", "taken back", "an order's"])
async def test_what_was_stored_above_the_checkpoint_is_taken_off_where_its_block_was_replaced(
    bench: Bench, way: str, again: bool
) -> None:
    """A sweep reads on to the head, and a checkpoint is taken back: no fork is noticed between it and the head."""
    intent = an_intent()
    await bench.wait_for(intent)
    bench.chain.extend(2)
    await bench.worker.poll()
    stood_at = await bench.checkpoint()
    assert stood_at is not None
    fields: dict[str, Any] = {"reference": "0x" + "5a" * 32} if way != "an order's" else {"amount": 0}
    bench.chain.extend(2)
    replaced = bench.chain.put(a_transfer(intent, tx_hash=a_hash("once"), **fields))
    bench.chain.extend()
    stands = a_transfer(intent, tx_hash=a_hash("stands"), **fields)
    if way == "swept":
        bench.chain.page = 100
        await bench.worker.second.sweep()
        assert len(await _stored(bench)) == 1
    else:
        await bench.worker.poll()
        async with bench.db.write() as tx:
            await checkpoints.rewind(tx, CHAIN, Rail.PROXY, stood_at, now=NOW)
    assert await bench.checkpoint() == stood_at
    bench.chain.cut(replaced.block_number - 1)
    bench.chain.extend(2, branch="b")
    bench.chain.put(stands)
    if again:
        bench.chain.put(replaced)

    await bench.worker.poll()

    listed = sum(row.times for row in await _stored(bench) if row.reason not in {None, Reason.REORGED})
    assert listed == 1 + again


async def test_what_stands_above_the_checkpoint_stays_and_is_not_asked_for_where_the_page_shows_it(
    bench: Bench,
) -> None:
    intent = an_intent()
    await bench.wait_for(intent)
    bench.chain.extend()
    stood_at = await bench.checkpoint() or Cursor(bench.chain.top, bench.chain.blocks[bench.chain.top][0])
    bench.chain.extend()
    shown = bench.chain.put(a_transfer(intent, amount=0))
    bench.chain.extend()
    hidden = bench.chain.put(a_transfer(intent, amount=0, tx_hash=a_hash("hidden")))
    await bench.worker.poll()
    bench.chain.unlisted.add(hidden.tx_hash)
    asked: list[Cursor] = []
    replaced = bench.chain.replaced

    async def ask(known_blocks: Any, *, tip: Cursor) -> set[Cursor]:
        asked.extend(known_blocks)
        return await replaced(known_blocks, tip=tip)

    bench.chain.replaced = ask  # type: ignore[method-assign]
    async with bench.db.write() as tx:
        await checkpoints.rewind(tx, CHAIN, Rail.PROXY, stood_at, now=NOW)
    await bench.worker.poll()

    assert asked == [Cursor(hidden.block_number, hidden.block_hash)]
    assert shown.block_number > stood_at.position
    assert await bench.reasons() == [Reason.ZERO_AMOUNT, Reason.ZERO_AMOUNT]


async def stored_above_the_checkpoint(bench: Bench) -> tuple[Cursor, Transfer]:
    """Store what is worthless above the checkpoint, and return where that stands and what it is."""
    intent = an_intent()
    await bench.wait_for(intent)
    bench.chain.extend()
    await bench.worker.poll()
    stood_at = await bench.checkpoint()
    assert stood_at is not None
    bench.chain.extend()
    stored = bench.chain.put(a_transfer(intent, amount=0))
    bench.chain.extend()
    await bench.worker.poll()
    async with bench.db.write() as tx:
        await checkpoints.rewind(tx, CHAIN, Rail.PROXY, stood_at, now=NOW)
    return stood_at, stored


async def test_a_page_waits_while_nobody_can_tell_whether_a_block_was_replaced(bench: Bench) -> None:
    """What is stored above the checkpoint is not kept for good by an endpoint that fails at the right moment."""
    stood_at, replaced = await stored_above_the_checkpoint(bench)
    bench.chain.cut(replaced.block_number - 1)
    bench.chain.extend(2, branch="b")
    bench.chain.on_call = lambda name: setattr(bench.chain, "down", name == "replaced")
    with pytest.raises(ChainUnavailable):
        await bench.worker.poll()
    assert await bench.checkpoint() == stood_at

    bench.chain.on_call = lambda name: None
    bench.chain.down = False
    await bench.worker.poll()

    assert await bench.reasons() == [Reason.REORGED]
    assert await bench.checkpoint() != stood_at


async def test_nor_by_one_of_two_nodes_behind_an_address_that_never_heard_of_the_fork(bench: Bench) -> None:
    """The page is another node's: what stands in the replaced block would stay listed for ever."""
    stood_at, replaced = await stored_above_the_checkpoint(bench)
    once, ask = dict(bench.chain.blocks), bench.chain.replaced
    bench.chain.cut(replaced.block_number - 1)
    bench.chain.extend(2, branch="b")

    async def ask_the_other_node(known_blocks: Any, *, tip: Cursor) -> set[Cursor]:
        now, bench.chain.blocks = bench.chain.blocks, once
        try:
            return await ask(known_blocks, tip=tip)
        finally:
            bench.chain.blocks = now

    bench.chain.replaced = ask_the_other_node  # type: ignore[method-assign]
    with pytest.raises(ChainUnavailable, match="another block"):
        await bench.worker.poll()
    bench.chain.replaced = ask  # type: ignore[method-assign]
    assert await bench.checkpoint() == stood_at

    await bench.worker.poll()

    assert await bench.reasons() == [Reason.REORGED]


async def test_the_checkpoint_of_a_first_start_is_kept_before_anything_is_read(db: Database, clock: FakeClock) -> None:
    bench = Bench(db, clock)
    bench.chain.on_call = lambda name: setattr(bench.chain, "down", name == "scan")

    with pytest.raises(ChainUnavailable):
        await bench.worker.poll()

    assert await bench.checkpoint() == Cursor(FIRST)


async def test_a_first_start_reads_from_the_creation_of_the_oldest_intent(db: Database, clock: FakeClock) -> None:
    """Registrations are taken while no node answers; who pays then is below where a start usually begins."""
    bench = Bench(db, clock)
    intent = an_intent()
    await bench.wait_for(intent)
    bench.chain.put(a_transfer(intent), at=FIRST - 20)

    await bench.worker.poll()

    assert (await bench.intent()).status is not IntentStatus.PENDING
    assert await bench.reasons() == [None]


async def test_a_first_start_without_anybody_to_wait_for_asks_nothing_about_the_past(
    db: Database, clock: FakeClock
) -> None:
    bench = Bench(db, clock)
    await bench.wait_for(an_intent(expired_at=NOW - LATE_MS - 1, status=IntentStatus.EXPIRED))

    await bench.worker.poll()

    assert bench.chain.calls["cursor_before"] == 0


async def test_what_was_read_before_a_failure_is_kept_and_the_checkpoint_passes_no_unread_block(bench: Bench) -> None:
    intent = an_intent()
    await bench.wait_for(intent)
    bench.chain.extend(12)
    bench.chain.put(a_transfer(intent), at=FIRST + 2)
    before = bench.chain.calls["scan"]
    bench.chain.on_call = lambda name: setattr(bench.chain, "down", bench.chain.calls["scan"] == before + 3)

    with pytest.raises(ChainUnavailable):
        await bench.worker.poll()

    stood = await bench.checkpoint()
    assert stood is not None
    assert stood.position == FIRST + 6
    assert (await bench.intent()).status is IntentStatus.CONFIRMING
    bench.chain.on_call = lambda name: setattr(bench.chain, "down", False)
    await bench.worker.poll()
    assert (await bench.intent()).status is IntentStatus.CONFIRMED


async def test_a_page_that_cannot_be_written_is_not_passed(bench: Bench, monkeypatch: pytest.MonkeyPatch) -> None:
    """Although the next page is in hand by then."""
    intent = an_intent()
    await bench.wait_for(intent)
    before = await bench.checkpoint()
    bench.chain.extend()
    bench.chain.put(a_transfer(intent))
    bench.chain.extend(12)
    put = rail_module.checkpoints.put
    failures = iter([OSError("disk full")])

    async def fails_once(*arguments: Any, **more: Any) -> None:
        for failure in failures:
            raise failure
        await put(*arguments, **more)

    monkeypatch.setattr(rail_module.checkpoints, "put", fails_once)
    with pytest.raises(OSError, match="disk full"):
        await bench.worker.poll()

    assert await bench.checkpoint() == before
    assert await bench.reasons() == []
    await bench.worker.poll()
    assert (await bench.intent()).status is IntentStatus.CONFIRMED


async def test_nothing_expires_while_the_chain_is_not_read_to_its_end(bench: Bench) -> None:
    """A node that is behind cannot say that nobody paid in time."""
    intent = an_intent()
    await bench.wait_for(intent)
    bench.chain.extend(5)
    await bench.worker.poll()
    bench.chain.extend(wait=25 * 3600)

    bench.chain.seen_up_to = bench.chain.top - 2
    with pytest.raises(ChainUnavailable):
        await bench.worker.poll()
    assert (await bench.intent()).status is IntentStatus.PENDING

    bench.chain.seen_up_to = None
    await bench.worker.poll()
    assert (await bench.intent()).status is IntentStatus.EXPIRED


async def test_a_node_that_is_behind_another_is_not_taken_for_up_to_date(bench: Bench) -> None:
    await bench.wait_for(an_intent())
    bench.chain.extend(5)
    bench.chain.on_call = lambda name: setattr(bench.chain, "down", name == "scan")
    with pytest.raises(ChainUnavailable):
        await bench.worker.poll()  # a higher head was seen by then
    bench.chain.on_call = lambda name: setattr(bench.chain, "down", False)
    bench.chain.cut(bench.chain.top - 2)

    for _ in range(2):
        bench.worker._rails.pop(Rail.DIRECT, None)
        await bench.worker.poll()
        assert bench.worker.health.state is ChainState.SYNCING
    bench.chain.extend(2)
    await bench.worker.poll()

    assert bench.worker.health.state is ChainState.READY


@pytest.mark.parametrize("hours", [-1000, 25, 100_000])
async def test_the_hosts_clock_expires_nothing(bench: Bench, hours: int) -> None:
    await bench.wait_for(an_intent())
    bench.clock.advance(hours * 3600)
    bench.chain.extend()

    await bench.worker.poll()

    assert (await bench.intent()).status is IntentStatus.PENDING


async def test_a_log_an_endpoint_reported_too_late_is_found_by_reading_again(bench: Bench) -> None:
    intent = an_intent()
    await bench.wait_for(intent)
    bench.chain.extend()
    await bench.worker.poll()
    bench.chain.put(a_transfer(intent))  # in a block that was read already

    await bench.worker.poll()

    assert (await bench.intent()).status is IntentStatus.CONFIRMING


async def test_what_counts_and_what_could_be_sent_back_is_looked_at_once(bench: Bench) -> None:
    intent = an_intent(fee_amount=7, fee_address=TOKEN)
    await bench.wait_for(intent)
    bench.chain.extend()
    bench.chain.put(a_transfer(intent, token=OTHER_TOKEN, tx_hash=a_hash("tx", 3)))
    less = bench.chain.put(a_transfer(intent, fee_amount=6))
    good = bench.chain.put(a_transfer(intent, tx_hash=a_hash("tx", 2)))
    bench.chain.extend(4)

    await bench.worker.poll()
    await bench.worker.poll()

    assert [sorted(t.tx_hash for t in looked) for looked in bench.chain.verified] == [[less.tx_hash, good.tx_hash]]
    assert (await bench.intent()).status is IntentStatus.CONFIRMED


async def test_an_intent_expires_when_its_chain_was_read_past_its_time_and_tells_who_asked(bench: Bench) -> None:
    ends = bench.chain.times[bench.chain.top] + 1000
    first = an_intent(events=(EventType.EXPIRED,), expires_at=ends * 1000)
    await bench.wait_for(first, an_intent("order-2", expires_at=None), an_intent("order-3", expires_at=ends * 1000))
    bench.chain.extend(wait=1000 + 60 - 1)
    await bench.worker.poll()
    assert (await bench.intent()).status is IntentStatus.PENDING

    bench.chain.extend()
    await bench.worker.poll()

    assert (await bench.intent()).status is IntentStatus.EXPIRED
    assert (await bench.intent()).expired_at == (ends + 61) * 1000
    assert (await bench.intent("order-2")).status is IntentStatus.PENDING
    assert (await bench.intent("order-3")).status is IntentStatus.EXPIRED
    assert await bench.event_types() == [EventType.EXPIRED]
    assert bench.wakeups > 0


@pytest.mark.parametrize("cancelled", [False, True])
async def test_a_part_that_came_in_time_stays_visible_after_the_end(bench: Bench, cancelled: bool) -> None:
    """It is looked at again only when it is deep, which may be after the intent has expired or was cancelled."""
    intent = an_intent()
    await bench.wait_for(intent)
    bench.chain.extend()
    bench.chain.put(a_transfer(intent, amount=300))
    await bench.worker.poll()
    if cancelled:
        async with bench.db.write() as tx:
            ended = {"status": IntentStatus.EXPIRED, "cancelled_at": NOW, "expired_at": NOW}
            await intents.change(tx, "order-1", [IntentStatus.PENDING], NOW, **ended)
    bench.chain.extend(wait=25 * 3600)
    await bench.worker.poll()
    assert (await bench.intent()).status is IntentStatus.EXPIRED
    bench.chain.extend(5)

    await bench.worker.poll()

    after = await bench.intent()
    assert (after.status, after.amount_received) == (IntentStatus.EXPIRED, 300)
    assert await bench.reasons() == [Reason.UNDERPAID]


async def test_a_part_that_came_too_late_by_its_block_does_not_count(bench: Bench) -> None:
    """Seen before the intent expired: a chain's clock may be ahead of ours."""
    intent = an_intent(expires_at=NOW - HOUR_MS)
    await bench.wait_for(intent)
    bench.chain.extend()
    bench.chain.put(a_transfer(intent))
    bench.chain.extend(4)

    await bench.worker.poll()

    assert await bench.reasons() == [Reason.LATE]
    assert (await bench.intent()).amount_received == 0


async def test_an_intent_whose_payment_is_on_chain_does_not_expire(bench: Bench) -> None:
    intent = an_intent()
    await bench.wait_for(intent)
    bench.chain.extend()
    bench.chain.put(a_transfer(intent))
    await bench.worker.poll()
    bench.chain.extend(wait=100 * 3600)
    bench.wakeups = 0

    await bench.worker.poll()

    assert (await bench.intent()).status is IntentStatus.CONFIRMING
    assert bench.wakeups == 0


THEN = NOW + (FIRST + 1) * 1000  # chain time at the first poll


@pytest.mark.parametrize(
    ("fields", "watched"),
    [
        ({}, True),
        ({"status": IntentStatus.EXPIRED, "expired_at": THEN - LATE_MS + 1}, True),
        ({"status": IntentStatus.EXPIRED, "expired_at": THEN - LATE_MS}, False),
        ({"status": IntentStatus.CONFIRMED, "confirmed_at": THEN - LATE_MS + 1, "tx_hash": a_hash("tx")}, True),
        ({"status": IntentStatus.CONFIRMED, "confirmed_at": THEN - LATE_MS, "tx_hash": a_hash("tx")}, False),
    ],
)
async def test_a_direct_address_is_watched_until_the_late_hours_are_over(
    bench: Bench, fields: dict[str, Any], watched: bool
) -> None:
    intent = an_intent(rail=Rail.DIRECT, **fields)
    await bench.wait_for(intent)
    bench.chain.extend()
    bench.chain.put(a_transfer(intent))
    bench.seconds += REBUILT_S  # so often, the addresses of what has ended are given up

    await bench.worker.poll()

    assert len(await bench.reasons()) == watched


async def test_a_quiet_chain_is_asked_little_and_nothing_is_written(
    bench: Bench, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refused(_: Database) -> Any:
        raise AssertionError("a write")

    monkeypatch.setattr(type(bench.db), "write", refused)
    bench.chain.calls.clear()

    await bench.worker.poll()

    assert bench.chain.calls == {"head": 1, "scan": 1}
    assert bench.wakeups == 0


async def test_endpoints_that_never_agree_are_an_outage_and_not_a_loop(
    bench: Bench, monkeypatch: pytest.MonkeyPatch
) -> None:
    bench.chain.extend(2)
    await bench.worker.poll()
    before = await bench.checkpoint()

    async def forked(rail: Rail, targets: Targets, after: Cursor, head: Head, *, reread_s: int = 0) -> Fork:
        return Fork(after)  # while its block is canonical where that is asked

    monkeypatch.setattr(bench.chain, "scan", forked)
    async with asyncio.timeout(5):
        with pytest.raises(ChainUnavailable, match="disagree"):
            await bench.worker.poll()

    assert await bench.checkpoint() == before
    assert bench.value("reorgs_total") == 0


async def test_a_fork_below_everything_remembered_is_read_again_from_far_below(
    bench: Bench, caplog: pytest.LogCaptureFixture
) -> None:
    intent = an_intent()
    await bench.wait_for(intent)
    bench.chain.extend(3)
    await bench.worker.poll()
    for number in range(bench.chain.top + 1):
        bench.chain.blocks[number] = (a_hash("block", number, "z"), [])
    bench.chain.put(a_transfer(intent), at=50)

    await bench.worker.poll()

    assert "below every block hash we remember" in caplog.text
    assert (await bench.intent()).status is IntentStatus.CONFIRMED


async def fails_then(bench: Bench, *, times: int) -> None:
    """Run the worker's own loop until the chain was asked so often in vain, then once more with success."""
    asked = asyncio.Event()

    def count(name: str) -> None:
        if name == "head":
            bench.chain.down = bench.chain.calls["head"] <= times
            asked.set()

    bench.chain.calls.clear()
    bench.chain.on_call = count
    task = asyncio.create_task(bench.worker.run())
    try:
        for number in range(times):
            await asked.wait()
            asked.clear()
            while bench.value("poll_failures_total") <= number:  # noqa: ASYNC110 - a counter has no event
                await asyncio.sleep(0)
            assert bench.worker.health.state is ChainState.FAILING
            assert bench.worker.health.last_error == "no endpoint answered"
            bench.worker.wakeup.wake()
        while bench.worker.health.state is not ChainState.READY:  # noqa: ASYNC110
            await asyncio.sleep(0)
    finally:
        task.cancel()
        await asyncio.wait([task])


async def test_a_chain_that_fails_is_shown_and_recovers(bench: Bench, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.INFO)
    await fails_then(bench, times=3)

    assert bench.worker.health.last_error is None
    assert bench.value("poll_failures_total") == 3
    lines = [r.getMessage() for r in caplog.records if "chain 97" in r.getMessage()]
    assert lines == ["[evm] chain 97: no endpoint answered", "[evm] chain 97: recovered"]


async def test_a_bug_in_one_chain_does_not_end_its_worker(bench: Bench, caplog: pytest.LogCaptureFixture) -> None:
    def breaks(name: str) -> None:
        if bench.chain.calls["head"] == 1:
            raise ZeroDivisionError("a bug")

    bench.chain.calls.clear()
    bench.chain.on_call = breaks
    task = asyncio.create_task(bench.worker.run())
    while not bench.value("poll_failures_total"):  # noqa: ASYNC110
        await asyncio.sleep(0)
    assert bench.worker.health.last_error == "ZeroDivisionError: a bug"
    bench.worker.wakeup.wake()
    while bench.worker.health.state is not ChainState.READY:  # noqa: ASYNC110
        await asyncio.sleep(0)

    task.cancel()
    await asyncio.wait([task])
    assert task.cancelled()


async def test_lag_is_warned_of_once_until_it_is_caught_up(bench: Bench, caplog: pytest.LogCaptureFixture) -> None:
    bench.chain.extend(102)
    bench.chain.on_call = lambda name: setattr(bench.chain, "down", name == "scan")
    bench.worker._failed("x")
    for _ in range(2):
        with pytest.raises(ChainUnavailable):
            await bench.worker.poll()
        bench.worker._failed("x")

    assert [r.getMessage() for r in caplog.records].count("[evm] scanner lag") == 1
    bench.chain.on_call = lambda name: setattr(bench.chain, "down", False)
    await bench.worker.poll()
    assert bench.worker.health.lag == 0


TOKENS = [
    Token(chain_id=CHAIN, address=TOKEN, symbol="USDT", decimals=18, name="Tether"),
    Token(chain_id=CHAIN, address=MERCHANT, symbol="USDC", decimals=6, name="Coin", on_chain_symbol="USD Coin"),
]


@pytest.mark.parametrize(
    ("first", "second", "refused", "problems"),
    [
        (TokenMeta("USDT", 18), TokenMeta("USD Coin", 6), set(), 0),
        (TokenMeta("USDT", 6), TokenMeta("USD Coin", 6), {TOKEN}, 1),
        (TokenMeta("TETHER", 18), TokenMeta("USDC", 6), set(), 2),
        (TokenMeta(None, 18), TokenMeta(None, 7), {MERCHANT}, 2),
        (TokenMeta("USDT", None), TokenMeta("USD Coin", 6), set(), 1),
        (None, TokenMeta("USD Coin", 6), set(), 1),
    ],
)
async def test_a_token_with_other_decimals_than_the_registry_is_refused_and_any_other_label_is_only_shown(
    db: Database, clock: FakeClock, first: TokenMeta | None, second: TokenMeta, refused: set[str], problems: int
) -> None:
    bench = Bench(db, clock, tokens=TOKENS)
    bench.chain.tokens = {MERCHANT: second} | ({TOKEN: first} if first else {})

    await bench.worker.poll()

    assert bench.worker.refused_tokens == refused
    assert len(bench.worker.health.problems) == problems


async def test_the_registry_is_compared_once_and_again_after_a_failure(db: Database, clock: FakeClock) -> None:
    bench = Bench(db, clock, tokens=TOKENS)
    bench.chain.on_call = lambda name: setattr(bench.chain, "down", name == "token")
    await bench.worker.poll()
    assert bench.worker.health.state is ChainState.READY

    bench.chain.on_call = lambda name: setattr(bench.chain, "down", False)
    await bench.worker.poll()
    await bench.worker.poll()

    assert bench.chain.calls["self_test"] == 2
