"""What is old is forgotten in small steps, and nothing that is still to be reported or to be recognised."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import select

from config.settings import RetentionSettings, load_settings
from kernel.errors import ConfigError
from kernel.store.database import Database
from scanner import events, ingest
from scanner.model import EventType, Intent, IntentStatus
from scanner.redelivery import Redelivery
from scanner.store import intents, outbox, tables, transfers
from scanner.store.maintenance import check
from scanner.store.outbox import AttemptRecord
from scanner.upkeep import retention as retention_module
from scanner.upkeep.metrics import Metrics
from scanner.upkeep.retention import DAY_MS, Retention
from tests.harness import FakeClock, environment
from tests.scanner.facts import CHAIN, LATE_MS, NOW, OTHER_TOKEN, a_hash, a_transfer, an_intent

DAY_S = 86_400
FOR_EVER = RetentionSettings(0, 0, 0)


@pytest.fixture(autouse=True)
def small_steps(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(retention_module, "STEP", 7)


class RetentionBench:
    def __init__(self, db: Database, clock: FakeClock) -> None:
        self.db = db
        self.clock = clock
        self.metrics = Metrics()

    async def keep(
        self,
        events_days: float = 0,
        unmatched_days: float = 0,
        intents_days: float = 0,
        chain_time: Callable[[], int | None] | None = None,
    ) -> None:
        settings = RetentionSettings(events_days, unmatched_days, intents_days)
        retention = Retention(self.db, self.clock, self.metrics, settings, chain_time=chain_time)
        await Redelivery(self.db, self.clock, retry_hours=0, on_events=lambda: None, retention=retention).turn()

    def forgotten(self, kind: str) -> float:
        return self.metrics.registry.get_sample_value("amn_scanner_forgotten_total", {"kind": kind}) or 0.0

    async def rows(self, table: str) -> int:
        async with self.db.read() as tx:
            return len((await tx.execute(select(tables.metadata.tables[table]))).all())

    async def ids(self) -> set[str]:
        async with self.db.read() as tx:
            return set((await tx.execute(select(tables.intents.c.intent_id))).scalars())

    async def settled(self, name: str, *, delivered: bool = True, **fields: Any) -> Intent:
        """Store an intent that was paid, with its transfer and its webhook."""
        intent = an_intent(name, created_at=self.clock.now_ms(), **fields)
        async with self.db.write() as tx:
            await intents.add_many(tx, [intent])
        transfer = a_transfer(intent, tx_hash=a_hash(name), block_time=self.clock.now_ms() // 1000)
        async with self.db.write() as tx:
            await ingest.record_page(tx, CHAIN, [transfer], now=self.clock.now_ms(), late_ms=LATE_MS)
            held = await transfers.of_intents(tx, [name])
            now = self.clock.now_ms()
            paid = intent._replace(
                status=IntentStatus.CONFIRMED, tx_hash=transfer.tx_hash, block_number=100, confirmed_at=now
            )
            await intents.confirm_many(tx, [paid], now)
            await transfers.mark_settled(tx, [stored.id for stored in held[name]])
            await outbox.add(tx, [events.confirmed(paid, held[name], now)])
            due = [e for e in await outbox.due(tx, now, in_flight=[], limit=1000) if e.subject_id == name]
            retry = None if delivered else now + 1
            await outbox.record(tx, [AttemptRecord(e, now, delivered, 200, 1, "", None, retry) for e in due])
        return paid

    async def expired(self, name: str) -> None:
        now = self.clock.now_ms()
        intent = an_intent(name, status=IntentStatus.EXPIRED, expired_at=now, created_at=now)
        async with self.db.write() as tx:
            await intents.add_many(tx, [intent])
            await outbox.add(tx, [events.expired(intent, now)])
            await ingest.record_page(
                tx,
                CHAIN,
                [a_transfer(intent, token=OTHER_TOKEN, tx_hash=a_hash("of", name))],
                now=now,
                late_ms=LATE_MS,
            )


@pytest.mark.parametrize(("on_chain", "left"), [(NOW + 1000, 1), (None, 1), (NOW + 31 * DAY_MS, 0)])
async def test_a_host_clock_that_is_a_year_ahead_forgets_nothing_the_chain_does_not_call_old(
    bench: RetentionBench, on_chain: int | None, left: int
) -> None:
    await bench.settled("paid")
    await bench.expired("expired")
    bench.clock.advance(365 * DAY_S)
    await bench.keep(events_days=30, unmatched_days=30, intents_days=30, chain_time=lambda: on_chain)

    assert await bench.ids() == ({"paid", "expired"} if left else {"expired"})
    assert await bench.rows("attempts") == left


@pytest.fixture
def bench(db: Database, clock: FakeClock) -> RetentionBench:
    return RetentionBench(db, clock)


async def test_delivered_events_go_with_their_attempts_and_undelivered_ones_stay(
    bench: RetentionBench, store_path: Path
) -> None:
    for number in range(40):
        await bench.settled(f"paid-{number}", delivered=number % 4 != 0)
    bench.clock.advance(30 * DAY_S)
    await bench.keep(events_days=30)
    assert await bench.rows("events") == 40  # not a moment too early
    bench.clock.advance(1)
    await bench.settled("new")

    await bench.keep(events_days=30)

    assert await bench.rows("events") == 10 + 1
    assert await bench.rows("attempts") == 1
    assert (bench.forgotten("events"), bench.forgotten("attempts") >= 10) == (30, True)
    assert len(await bench.ids()) == 41
    assert check(store_path).problems == ()
    async with bench.db.read() as tx:
        assert len(await outbox.due(tx, bench.clock.now_ms(), in_flight=[], limit=100)) == 10


async def test_nothing_is_forgotten_with_zero(bench: RetentionBench) -> None:
    await bench.settled("paid")
    await bench.expired("expired")
    bench.clock.advance(1000 * DAY_S)

    await bench.keep()

    assert (await bench.rows("events"), await bench.rows("intents"), await bench.rows("transfers")) == (2, 2, 2)
    assert bench.forgotten("events") == bench.forgotten("intents") == bench.forgotten("unmatched") == 0


async def test_rows_of_nobodys_go_and_those_of_intents_stay(bench: RetentionBench) -> None:
    await bench.expired("mine")
    strangers = [
        a_transfer(an_intent("nobody"), destination=f"0x{number:040x}", tx_hash=a_hash(number)) for number in range(40)
    ]
    async with bench.db.write() as tx:
        await ingest.record_page(tx, CHAIN, strangers, now=NOW, late_ms=LATE_MS)
    assert (await bench.rows("transfers"), await bench.rows("fold_blocks")) == (41, 1)
    bench.clock.advance(90 * DAY_S + 1)

    await bench.keep(unmatched_days=90)

    assert (await bench.rows("transfers"), await bench.rows("fold_blocks")) == (1, 0)
    assert bench.forgotten("unmatched") == 40


async def test_ended_intents_go_with_all_that_touches_them_once_everything_was_reported(
    bench: RetentionBench, store_path: Path
) -> None:
    for number in range(20):
        await bench.settled(f"paid-{number}")
        await bench.settled(f"untold-{number}", delivered=False)
        await bench.expired(f"expired-{number}")  # its event is still to be delivered
    async with bench.db.write() as tx:
        await intents.add_many(tx, [an_intent("waiting")])
    bench.clock.advance(10 * DAY_S + 1)

    await bench.keep(intents_days=10)

    left = await bench.ids()
    assert len(left) == 41
    assert {name.partition("-")[0] for name in left} == {"untold", "expired", "waiting"}
    assert (await bench.rows("events"), await bench.rows("transfers")) == (40, 40)
    assert bench.forgotten("intents") == 20
    assert check(store_path).problems == ()


async def test_an_intent_that_ended_lately_stays_however_old_it_is(bench: RetentionBench) -> None:
    async with bench.db.write() as tx:
        await intents.add_many(tx, [an_intent("old")])
    bench.clock.advance(100 * DAY_S)
    async with bench.db.write() as tx:
        ended = {"status": IntentStatus.EXPIRED, "expired_at": bench.clock.now_ms()}
        await intents.change(tx, "old", [IntentStatus.PENDING], bench.clock.now_ms(), **ended)

    await bench.keep(intents_days=10)
    assert await bench.ids() == {"old"}
    bench.clock.advance(10 * DAY_S + 1)
    await bench.keep(intents_days=10)
    assert await bench.ids() == set()


@pytest.mark.parametrize("days", ["1", "6.99", "-1", "nan", "soon"])
def test_an_intent_is_not_forgotten_while_late_money_is_recognised(tmp_path: Path, days: str) -> None:
    with pytest.raises(ConfigError, match="INTENT_RETENTION_DAYS"):
        load_settings(environment(tmp_path, "http://127.0.0.1:9", INTENT_RETENTION_DAYS=days))


def test_the_settings_of_what_is_kept(tmp_path: Path) -> None:
    assert load_settings(environment(tmp_path, "http://127.0.0.1:9")).retention == RetentionSettings(30, 90, 0)
    more = {"EVENT_RETENTION_DAYS": "0.5", "UNMATCHED_RETENTION_DAYS": "0", "INTENT_RETENTION_DAYS": "7"}
    settings = load_settings(environment(tmp_path, "http://127.0.0.1:9", **more))
    assert settings.retention == RetentionSettings(0.5, 0, 7)


async def test_what_was_forgotten_is_not_reported_once_more(bench: RetentionBench) -> None:
    paid = await bench.settled("paid")
    bench.clock.advance(31 * DAY_S)
    await bench.keep(events_days=30)
    assert await bench.rows("events") == 0

    async with bench.db.write() as tx:
        transfer = a_transfer(paid, tx_hash=a_hash("paid"), block_time=NOW // 1000)
        recorded = await ingest.record_page(tx, CHAIN, [transfer], now=bench.clock.now_ms(), late_ms=LATE_MS)

    assert (recorded.queued, await bench.rows("events")) == (0, 0)
    assert EventType.CONFIRMED not in paid.events
    assert DAY_MS == DAY_S * 1000
