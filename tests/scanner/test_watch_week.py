"""A simulated week of one balance watch: 648 reads, each at its time, then it ends."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import pairwise
from typing import Any

import pytest
from sqlalchemy import select

from chains.types import BalanceKey, Balances, TokenReceipt
from kernel.store.database import Database
from scanner.balance_watcher import BalanceWatcher
from scanner.model import EventType, OutboxEvent, Watch, WatchStatus
from scanner.store import outbox, tables, watches
from scanner.store.outbox import AttemptRecord
from tests.harness import FakeClock
from tests.scanner.facts import CHAIN, NOW, TOKEN, a_hash
from tests.scanner.fake_chain import SENDER, FakeChain, a_chain

HOLDER = "0x" + "1a" * 20
MINUTE_MS = 60_000
HOUR_MS = 60 * MINUTE_MS
DAY_MS = 24 * HOUR_MS


def a_watch(watch_id: str = "w-1", **fields: Any) -> Watch:
    values: dict[str, Any] = {
        "watch_id": watch_id,
        "chain_id": CHAIN,
        "chain_type": "evm",
        "token_address": TOKEN,
        "token_key": TOKEN,
        "token_symbol": "USDT",
        "decimals": 18,
        "address": HOLDER,
        "address_key": HOLDER,
        "baseline_balance": 0,
        "current_balance": 0,
        "status": WatchStatus.WATCHING,
        "callback_url": "http://127.0.0.1:9/hook",
        "callback_secret": "s",
        "receiver": "http://127.0.0.1:9",
        "last_checked_at": None,
        "next_check_at": NOW,
        "last_position": None,
        "change_count": 0,
        "last_notified_at": None,
        "expires_at": NOW + 7 * DAY_MS,
        "created_at": NOW,
        "updated_at": NOW,
    }
    return Watch(**(values | fields))


class WatchBench:
    """A watcher over a scripted chain, and the moments at which it read."""

    def __init__(self, db: Database, clock: FakeClock) -> None:
        self.db = db
        self.clock = clock
        self.chain = FakeChain()
        self.reads: list[int] = []
        self.amounts: dict[str, int | None] = {}
        self.wakeups = 0
        self.chain.holdings = self._read
        self.watcher = BalanceWatcher(chain=a_chain(), adapter=self.chain, db=db, clock=clock, on_events=self._ring)

    def _ring(self) -> None:
        self.wakeups += 1

    def _read(self, asked: Sequence[BalanceKey]) -> list[int | None]:
        self.reads.append(self.clock.now_ms() - NOW)
        return [self.amounts.get(holding.holder, 0) for holding in asked]

    async def add(self, *new: Watch) -> None:
        async with self.db.write() as tx:
            for watch in new:
                await watches.add(tx, watch)

    async def watch(self, watch_id: str = "w-1") -> Watch:
        async with self.db.read() as tx:
            found = await watches.get(tx, watch_id)
        assert found is not None
        return found

    async def events(self, *statuses: str) -> list[Any]:
        async with self.db.read() as tx:
            rows = await tx.execute(select(tables.events).order_by(tables.events.c.created_at))
            return [row for row in rows if not statuses or row.status in statuses]

    async def due(self) -> list[OutboxEvent]:
        async with self.db.read() as tx:
            return await outbox.due(tx, self.clock.now_ms(), in_flight=[], limit=100)

    async def attempt(self, *which: OutboxEvent, ok: bool, retry_at: int | None = None) -> None:
        """Let events, all that are due unless some are named, be tried with one outcome."""
        now = self.clock.now_ms()
        tried = which or await self.due()
        async with self.db.write() as tx:
            await outbox.record(
                tx, [AttemptRecord(e, now, ok, 200 if ok else 500, 1, "", None, retry_at) for e in tried]
            )


@pytest.fixture
def bench(db: Database, clock: FakeClock) -> WatchBench:
    return WatchBench(db, clock)


@pytest.mark.long
async def test_a_week_has_648_reads_at_the_right_times_and_then_the_watch_ends(bench: WatchBench) -> None:
    await bench.add(a_watch())

    while (age_ms := bench.clock.now_ms() - NOW) < 7 * DAY_MS:
        await bench.watcher.check_due()
        bench.clock.advance(60 if age_ms < HOUR_MS else 300)  # ticks; nothing is due between multiples of 5 minutes
    assert (await bench.watch()).status is WatchStatus.WATCHING
    await bench.watcher.check_due()

    assert len(bench.reads) == 648
    assert bench.reads[0] == 0
    steps = {(at // DAY_MS, following - at) for at, following in pairwise(bench.reads)}
    minutes = [5, 10, 20, 40, 40, 40, 40]
    assert steps == {(day, pause * MINUTE_MS) for day, pause in enumerate(minutes)}
    assert (await bench.watch()).status is WatchStatus.EXPIRED
    bench.clock.advance(DAY_MS / 1000)
    assert await bench.watcher.check_due() == 0
    assert len(bench.reads) == 648
    assert await bench.events() == []


async def test_a_daemon_that_was_away_reads_once_and_goes_on_in_the_old_rhythm(bench: WatchBench) -> None:
    await bench.add(a_watch())
    await bench.watcher.check_due()
    bench.clock.advance(3 * 3600 + 61)

    assert await bench.watcher.check_due() == 1
    assert await bench.watcher.check_due() == 0

    assert (await bench.watch()).next_check_at == NOW + 3 * HOUR_MS + 5 * MINUTE_MS


async def test_a_failed_read_is_tried_at_the_next_time_and_tells_nobody(
    bench: WatchBench, caplog: pytest.LogCaptureFixture
) -> None:
    await bench.add(a_watch(current_balance=5))
    bench.chain.down = True
    assert await bench.watcher.check_due() == 1

    after = await bench.watch()
    assert (after.last_checked_at, after.current_balance) == (None, 5)
    assert after.next_check_at == NOW + 5 * MINUTE_MS
    assert await bench.events() == []
    assert "[balance-watch] balance read error" in caplog.text


async def test_a_balance_that_cannot_be_read_is_not_zero_and_spoils_no_other(bench: WatchBench) -> None:
    other = "0x" + "1b" * 20
    await bench.add(a_watch(current_balance=5), a_watch("w-2", address_key=other, current_balance=5))
    bench.amounts = {HOLDER: None, other: 6}

    await bench.watcher.check_due()

    (event,) = await bench.events()
    assert event.subject_id == "w-2"
    assert (await bench.watch()).last_checked_at is None
    assert bench.wakeups == 1


async def test_a_change_is_reported_until_it_is_acknowledged_and_the_balance_advances_only_then(
    bench: WatchBench,
) -> None:
    await bench.add(a_watch(current_balance=5))
    bench.amounts[HOLDER] = 9
    for _ in range(3):
        await bench.watcher.check_due()
        bench.clock.advance(300)
        assert ((await bench.watch()).current_balance, len(await bench.events())) == (5, 1)

    await bench.attempt(ok=True)

    after = await bench.watch()
    assert (after.current_balance, after.change_count, after.last_notified_at) == (9, 1, bench.clock.now_ms())
    await bench.watcher.check_due()
    assert len(await bench.events("delivered")) == len(await bench.events()) == 1


async def test_a_change_that_was_given_up_is_reported_in_a_new_round_at_the_next_read(bench: WatchBench) -> None:
    await bench.add(a_watch(current_balance=5))
    bench.amounts[HOLDER] = 9
    await bench.watcher.check_due()
    await bench.attempt(ok=False, retry_at=bench.clock.now_ms() + 1)
    bench.clock.advance(300)
    await bench.watcher.check_due()
    (waiting,) = await bench.events()
    assert (waiting.status, waiting.round, waiting.attempts) == ("pending", 1, 1)

    await bench.attempt(ok=False)
    bench.clock.advance(300)
    await bench.watcher.check_due()

    (again,) = await bench.events()
    assert (again.status, again.round, again.attempts, again.failed_at) == ("pending", 2, 0, None)


async def test_a_late_acknowledgement_of_an_older_change_is_what_the_next_is_measured_from(bench: WatchBench) -> None:
    await bench.add(a_watch(current_balance=5))
    bench.amounts[HOLDER] = 9
    await bench.watcher.check_due()
    in_flight = await bench.due()
    bench.clock.advance(300)
    bench.amounts[HOLDER] = 12
    await bench.watcher.check_due()

    await bench.attempt(*in_flight, ok=True)

    after = await bench.watch()
    assert (after.current_balance, after.change_count) == (9, 1)
    assert await bench.due() == []  # 5 -> 12 is not so any more
    bench.clock.advance(300)
    await bench.watcher.check_due()
    (reported,) = await bench.due()
    assert b'"previousBalance":"9","currentBalance":"12"' in reported.body


async def test_a_late_acknowledgement_that_says_nothing_new_takes_no_newer_change_back(bench: WatchBench) -> None:
    await bench.add(a_watch(current_balance=5))
    bench.amounts[HOLDER] = 9
    await bench.watcher.check_due()
    slow = await bench.due()
    bench.clock.advance(300)
    bench.amounts[HOLDER] = 12
    await bench.watcher.check_due()
    await bench.attempt(ok=True)
    bench.clock.advance(300)
    bench.amounts[HOLDER] = 20
    await bench.watcher.check_due()

    await bench.attempt(*slow, ok=True)

    after = await bench.watch()
    assert (after.current_balance, after.change_count) == (12, 1)
    (reported,) = await bench.due()
    assert b'"previousBalance":"12","currentBalance":"20"' in reported.body


async def test_an_endpoint_that_is_behind_tells_no_change_back_and_forth(bench: WatchBench) -> None:
    await bench.add(a_watch(current_balance=5, last_position=bench.chain.top + 1))
    bench.amounts[HOLDER] = 3
    await bench.watcher.check_due()

    assert await bench.events() == []
    after = await bench.watch()
    assert (after.current_balance, after.last_position) == (5, bench.chain.top + 1)
    assert after.last_checked_at is None
    assert after.next_check_at > bench.clock.now_ms()

    bench.chain.extend()
    bench.clock.advance(300)
    await bench.watcher.check_due()
    (reported,) = await bench.due()
    assert b'"previousBalance":"5","currentBalance":"3"' in reported.body


@pytest.mark.parametrize("retried", [True, False])
async def test_what_was_taken_back_while_it_was_under_way_stays_taken_back(bench: WatchBench, *, retried: bool) -> None:
    await bench.add(a_watch(current_balance=5))
    bench.amounts[HOLDER] = 9
    await bench.watcher.check_due()
    in_flight = await bench.due()
    bench.clock.advance(300)
    bench.amounts[HOLDER] = 5
    await bench.watcher.check_due()

    await bench.attempt(*in_flight, ok=False, retry_at=bench.clock.now_ms() + 1 if retried else None)

    assert [event.status for event in await bench.events()] == ["superseded"]


async def test_a_change_that_went_away_before_it_was_reported_is_taken_back(bench: WatchBench) -> None:
    await bench.add(a_watch(current_balance=5))
    bench.amounts[HOLDER] = 9
    await bench.watcher.check_due()
    bench.clock.advance(300)
    bench.amounts[HOLDER] = 5

    await bench.watcher.check_due()

    assert [event.status for event in await bench.events()] == ["superseded"]
    bench.clock.advance(300)
    bench.amounts[HOLDER] = 9
    await bench.watcher.check_due()
    assert [event.status for event in await bench.events()] == ["pending"]


async def test_an_event_of_a_watch_that_expires_is_still_to_be_sent(bench: WatchBench) -> None:
    await bench.add(a_watch(current_balance=5))
    bench.amounts[HOLDER] = 9
    await bench.watcher.check_due()
    bench.clock.advance(7 * DAY_MS / 1000)

    await bench.watcher.check_due()

    assert [event.status for event in await bench.events()] == ["pending"]
    assert len(bench.reads) == 1


async def test_a_watch_that_is_stopped_during_the_read_reports_nothing(bench: WatchBench) -> None:
    await bench.add(a_watch(current_balance=5))
    bench.amounts[HOLDER] = 9
    read = bench.chain.balances

    async def stopped_meanwhile(holdings: Sequence[BalanceKey], *, confirmed: bool = False) -> Balances:
        assert confirmed  # what a reorganisation may take back is not read
        async with bench.db.write() as tx:
            assert await watches.stop(tx, "w-1", NOW)
        return await read(holdings)

    bench.chain.balances = stopped_meanwhile  # type: ignore[method-assign]
    await bench.watcher.check_due()

    assert (await bench.watch()).status is WatchStatus.STOPPED
    assert await bench.events() == []


async def test_what_is_acknowledged_during_the_read_is_what_the_change_is_measured_from(bench: WatchBench) -> None:
    await bench.add(a_watch(current_balance=5))
    bench.amounts[HOLDER] = 9
    await bench.watcher.check_due()
    in_flight = await bench.due()
    bench.clock.advance(300)
    bench.amounts[HOLDER] = 12
    read = bench.chain.balances

    async def acknowledged_meanwhile(holdings: Sequence[BalanceKey], *, confirmed: bool = False) -> Balances:
        await bench.attempt(*in_flight, ok=True)
        return await read(holdings, confirmed=confirmed)

    bench.chain.balances = acknowledged_meanwhile  # type: ignore[method-assign]
    await bench.watcher.check_due()

    after = await bench.watch()
    assert (after.current_balance, after.change_count) == (9, 1)
    (reported,) = await bench.due()
    assert b'"previousBalance":"9","currentBalance":"12"' in reported.body
    assert b'"changeCount":2' in reported.body


async def test_a_change_acknowledged_during_the_read_that_sees_it_again_is_reported_once(bench: WatchBench) -> None:
    await bench.add(a_watch(current_balance=5))
    bench.amounts[HOLDER] = 9
    await bench.watcher.check_due()
    in_flight = await bench.due()
    bench.clock.advance(300)
    read = bench.chain.balances

    async def acknowledged_meanwhile(holdings: Sequence[BalanceKey], *, confirmed: bool = False) -> Balances:
        await bench.attempt(*in_flight, ok=True)
        return await read(holdings, confirmed=confirmed)

    bench.chain.balances = acknowledged_meanwhile  # type: ignore[method-assign]
    await bench.watcher.check_due()

    after = await bench.watch()
    assert (after.current_balance, after.change_count) == (9, 1)
    assert [event.status for event in await bench.events()] == ["delivered"]


async def test_the_transfers_behind_a_change_are_those_since_the_last_read(bench: WatchBench) -> None:
    bench.chain.extend(10)
    last = bench.chain.top - 4
    await bench.add(a_watch(current_balance=5, last_position=last))
    bench.amounts[HOLDER] = 9
    bench.chain.moved = [
        TokenReceipt(TOKEN, HOLDER, SENDER, amount, a_hash("tx", amount), block)
        for amount, block in ((1, last), (2, last + 1), (3, last + 4))
    ]

    await bench.watcher.check_due()

    (event,) = await bench.events()
    assert event.event_type == EventType.BALANCE_CHANGED
    assert '"amount":"3"' in event.body
    assert '"amount":"2"' in event.body
    assert '"transferCount":2' in event.body


async def test_the_others_of_a_batch_keep_their_own_times(bench: WatchBench) -> None:
    old = a_watch("w-old")._replace(created_at=NOW - 30 * HOUR_MS, expires_at=NOW + 7 * DAY_MS - 30 * HOUR_MS)
    await bench.add(a_watch(), old)

    assert await bench.watcher.check_due() == 2

    assert bench.chain.calls["balances"] == 1
    assert (await bench.watch()).next_check_at == NOW + 5 * MINUTE_MS
    assert (await bench.watch("w-old")).next_check_at == NOW + 10 * MINUTE_MS
