"""
What two processes on one PostgreSQL must never do to each other, however they meet.

Each is tried some times in a usual run, and 300 times by `make test-races` (`tests/rounds.py`).
"""

from __future__ import annotations

import asyncio
import random
from collections import Counter
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import select, text

from kernel.clock import SystemClock
from kernel.errors import UnknownOutcome
from kernel.store.leases import LeasedDatabase, Leases, NotLeading
from kernel.store.postgresql import PostgresDatabase, PostgresSettings, open_postgresql
from scanner import events, ingest
from scanner.cluster import chain_lock
from scanner.model import IntentStatus, Reason
from scanner.registration.intents import Registrations
from scanner.store import intents, outbox, tables
from scanner.store.errors import Conflict
from scanner.store.migrate import migrate_postgresql
from scanner.upkeep.metrics import Metrics
from tests import postgres
from tests.harness import FakeClock, database_at
from tests.rounds import WHOLE, rounds
from tests.scanner.facts import CHAIN, LATE_MS, NOW, a_hash, a_transfer, an_intent
from tests.scanner.test_registration import a_draft
from tests.scanner.test_services import ServicesBench
from tests.scanner.transactions import Transactions
from webhooks.dispatcher import WebhookDispatcher
from webhooks.http_sender import Attempt
from webhooks.schedule import RetrySchedule

LEASE = chain_lock(CHAIN)


async def joined(db: PostgresDatabase, name: str) -> Leases:
    found = Leases(db, SystemClock(), node_id=name, version="1", lease_s=20, names=[LEASE])
    await found.join()
    return found


@asynccontextmanager
async def another(pg: PostgresDatabase) -> AsyncIterator[PostgresDatabase]:
    """The connections of another process."""
    async with open_postgresql(pg.settings) as opened:
        yield opened


@pytest.fixture(params=rounds(short=30))
def races(request: pytest.FixtureRequest) -> int:
    return int(request.param)


async def test_an_intent_is_cancelled_or_its_payment_counts_never_both(
    pg: PostgresDatabase, clock: FakeClock, races: int
) -> None:
    leader = await joined(pg, "leader")
    assert await leader.take(LEASE)
    ended: Counter[str] = Counter()
    patient = PostgresSettings(url=pg.settings.url, schema=pg.settings.schema, setting="DATABASE_URL", idle_s=60)
    async with another(pg) as other, open_postgresql(patient) as reading:
        pages = LeasedDatabase(reading, leader, LEASE)
        services = ServicesBench(other, clock).services
        for number in range(races):
            name = f"order-{number}"
            intent = an_intent(name)
            async with pg.write() as tx:
                await intents.add_many(tx, [intent])
            payment = a_transfer(intent, tx_hash=a_hash("tx", number), block_number=100 + number)

            async def page() -> None:
                await asyncio.sleep(random.uniform(0, 0.004))
                async with pages.write() as tx:
                    await ingest.record_page(tx, CHAIN, [payment], now=NOW, late_ms=LATE_MS)  # noqa: B023

            async def cancel() -> None:
                await asyncio.sleep(random.uniform(0, 0.004))
                await services.cancel(name)  # noqa: B023

            failed, refused = await asyncio.gather(page(), cancel(), return_exceptions=True)
            assert failed is None, failed
            assert refused is None or isinstance(refused, (Conflict, type(intent))), refused
            async with pg.read() as tx:
                found = await intents.get(tx, name)
                counted = await tx.execute(
                    select(tables.transfers.c.counted, tables.transfers.c.reason).where(
                        tables.transfers.c.intent_id == name
                    )
                )
                ((counts, reason),) = counted.all()
            assert found is not None
            if found.cancelled_at is None:
                assert (found.status, counts) == (IntentStatus.CONFIRMING, True)
            else:
                assert (found.status, counts, reason) == (IntentStatus.EXPIRED, False, Reason.CANCELLED)
            ended[found.status] += 1
    assert sum(ended.values()) == races


async def test_no_position_is_written_by_two_leaders(pg: PostgresDatabase, races: int) -> None:
    """Leadership is taken from one that goes on working: as it is from one that was stopped and wakes up."""
    async with pg.write() as tx:
        await tx.exec_driver_sql("CREATE TABLE written (position bigint, writer text, leader text)")
    async with another(pg) as other:
        sides = [(pg, await joined(pg, "one")), (other, await joined(other, "other"))]
        done = asyncio.Event()
        written: Counter[str] = Counter()
        refused = 0

        async def work(db: PostgresDatabase, mine: Leases) -> None:
            nonlocal refused
            leased = LeasedDatabase(db, mine, LEASE)
            while not done.is_set():
                try:
                    async with leased.write() as tx:
                        last = await tx.exec_driver_sql("SELECT coalesce(max(position), 0) FROM written")
                        following = last.scalar_one() + 1
                        await asyncio.sleep(0)
                        await tx.execute(
                            text("INSERT INTO written SELECT :position, :me, holder FROM leases WHERE name = :name"),
                            {"position": following, "me": mine.incarnation, "name": LEASE},
                        )
                    written[mine.node_id] += 1
                except NotLeading:
                    refused += 1
                    await asyncio.sleep(0.001)

        async def steal() -> None:
            for number in range(races):
                _, loser = sides[number % 2]
                db, winner = sides[1 - number % 2]
                async with db.write() as tx:
                    await tx.execute(
                        text("UPDATE nodes SET seen_at = 0 WHERE incarnation = :i"), {"i": loser.incarnation}
                    )
                assert await winner.take(LEASE)
                await asyncio.sleep(random.uniform(0, 0.005))
                async with db.write() as tx:
                    await tx.execute(
                        text("UPDATE nodes SET seen_at = now_ms() WHERE incarnation = :i"), {"i": loser.incarnation}
                    )
            done.set()

        await asyncio.gather(steal(), *(work(*side) for side in sides))
        async with pg.read() as tx:
            count, positions, last = (
                await tx.exec_driver_sql("SELECT count(*), count(DISTINCT position), max(position) FROM written")
            ).one()
            strangers = await tx.exec_driver_sql("SELECT count(*) FROM written WHERE writer <> leader")
            assert strangers.scalar_one() == 0
    assert count == positions == last == sum(written.values()) > 0
    assert refused > 0


class _Receivers:
    """Takes everything, and notes who sent what to whom at the same time."""

    def __init__(self) -> None:
        self.sent: Counter[str] = Counter()
        self.active: dict[str, Counter[str]] = {}
        self.shared: list[str] = []  # lanes in which two were at once

    def of(self, process: str) -> Any:
        return _Client(self, process)


class _Client:
    def __init__(self, receivers: _Receivers, process: str) -> None:
        self._receivers = receivers
        self._process = process

    async def send(self, url: str, body: bytes, headers: dict[str, str]) -> Attempt:
        lane = self._receivers.active.setdefault(url, Counter())
        lane[self._process] += 1
        if sum(count > 0 for count in lane.values()) > 1:
            self._receivers.shared.append(url)
        await asyncio.sleep(0)
        lane[self._process] -= 1
        self._receivers.sent[headers["webhook-id"]] += 1
        return Attempt(ok=True, status=200, latency_ms=1, response="", error=None, retry_after=None, gone=False)


async def test_a_deliverer_to_whom_nothing_is_due_asks_the_store_once(
    pg: PostgresDatabase, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Each process asks twice a second, for as long as it runs."""
    dispatcher = WebhookDispatcher(
        db=pg,
        client=_Receivers().of("one"),
        schedule=RetrySchedule((1.0,)),
        clock=SystemClock(),
        metrics=Metrics(),
        lanes=await joined(pg, "one"),
    )
    counted = Transactions(pg, monkeypatch)
    async with asyncio.TaskGroup() as group:
        await dispatcher._claim_once(group)
    assert counted.take() == {"read": 1}


async def test_two_deliverers_send_each_event_once_and_never_share_a_lane(pg: PostgresDatabase, races: int) -> None:
    receivers = _Receivers()
    async with another(pg) as other:
        tasks, dispatchers = [], []
        for db, name in ((pg, "one"), (other, "other")):
            dispatcher = WebhookDispatcher(
                db=db,
                client=receivers.of(name),
                schedule=RetrySchedule((1.0,)),
                clock=SystemClock(),
                metrics=Metrics(),
                lanes=await joined(db, name),
            )
            dispatchers.append(dispatcher)
            tasks.append(asyncio.create_task(dispatcher.run()))
        now = SystemClock().now_ms()
        ids = []
        for number in range(races):
            url = f"http://receiver-{number % 7}/hook"
            intent = an_intent(
                f"order-{number}",
                callback_url=url,
                callback_secret="s",
                receiver=f"http://receiver-{number % 7}",
                status=IntentStatus.CONFIRMED,
                confirmed_at=NOW,
                tx_hash=a_hash("tx", number),
            )
            async with pg.write() as tx:
                await intents.add_many(tx, [intent])
                row = events.confirmed(intent, [], now)
                await outbox.add(tx, [row])
            ids.append(row["event_id"])
            for dispatcher in dispatchers:
                dispatcher.wakeup.wake()
        async with asyncio.timeout(60):
            while True:
                async with pg.read() as tx:
                    left = await tx.exec_driver_sql("SELECT count(*) FROM events WHERE status <> 'delivered'")
                    if left.scalar_one() == 0:
                        break
                await asyncio.sleep(0.05)
        for dispatcher in dispatchers:
            dispatcher.stop()
        await asyncio.gather(*tasks)
    assert receivers.sent == Counter(ids)
    assert receivers.shared == []


async def test_several_migrate_at_once_and_it_is_done_once(postgresql: postgres.Server, races: int) -> None:
    for _ in range(races if races == WHOLE else races // 10):
        async with postgresql.database() as url:
            reached = await asyncio.gather(*(migrate_postgresql(database_at(url)) for _ in range(3)))
            assert len(set(reached)) == 1
            async with open_postgresql(database_at(url)) as db, db.read() as tx:
                assert (await tx.exec_driver_sql("SELECT count(*) FROM alembic_version")).scalar_one() == 1


class _Cutter:
    """Stands between a client and the server, and cuts connections while they commit."""

    def __init__(self, server: Path) -> None:
        self._server = str(server)
        self.cut = ""  # "before" the server is told, or "after" it has done it
        self._tasks: set[asyncio.Task[None]] = set()

    async def serve(self, path: Path) -> asyncio.Server:
        return await asyncio.start_unix_server(self._connected, str(path))

    async def _connected(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        far_reader, far_writer = await asyncio.open_unix_connection(self._server)
        back = asyncio.create_task(self._back(far_reader, writer))
        self._tasks.add(back)
        while data := await reader.read(65536):
            if b"COMMIT\0" in data and self.cut:
                how, self.cut = self.cut, ""
                back.cancel()
                await asyncio.wait([back])
                if how == "after":
                    far_writer.write(data)
                    while b"COMMIT\0" not in await far_reader.read(65536):
                        pass
                break
            far_writer.write(data)
        for end in (far_writer, writer):
            end.close()

    async def _back(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        while data := await reader.read(65536):
            writer.write(data)
        writer.close()


async def test_a_commit_whose_answer_is_lost_is_not_known_and_asking_again_is_safe(
    postgresql: postgres.Server, pg: PostgresDatabase, clock: FakeClock, tmp_path: Path, races: int
) -> None:
    cutter = _Cutter(postgresql.folder / ".s.PGSQL.5432")
    folder = tmp_path / "s"
    folder.mkdir()
    async with await cutter.serve(folder / ".s.PGSQL.5432") as _:
        url = pg.settings.url.replace(str(postgresql.folder), str(folder))
        settings = PostgresSettings(url=url, schema=pg.settings.schema, setting="DATABASE_URL")
        async with open_postgresql(settings) as cut_off:
            registrations = Registrations(cut_off, clock, ttl_hours=1)
            task = asyncio.create_task(registrations.run())
            there: Counter[bool] = Counter()
            for number in range(races):
                draft = a_draft(f"order-{number}")
                cutter.cut = "after" if number % 2 else "before"
                with pytest.raises(UnknownOutcome):
                    await registrations.register(draft)
                async with pg.read() as tx:
                    known = await intents.get(tx, draft.intent_id)
                there[known is not None] += 1
                again = await registrations.register(draft)
                assert known is None or known.payment_reference == again.payment_reference
            task.cancel()
            await asyncio.wait([task])
    async with pg.read() as tx:
        count = (await tx.exec_driver_sql("SELECT count(*) FROM intents")).scalar_one()
    assert count == races
    assert there == {True: races // 2, False: races - races // 2}


async def queue_one(pg: PostgresDatabase) -> None:
    """Queue a webhook to a receiver called r."""
    intent = an_intent(
        "order-1",
        callback_url="http://r/hook",
        callback_secret="s",
        receiver="http://r",
        status=IntentStatus.CONFIRMED,
        confirmed_at=NOW,
        tx_hash=a_hash("tx"),
    )
    async with pg.write() as tx:
        await intents.add_many(tx, [intent])
        await outbox.add(tx, [events.confirmed(intent, [], SystemClock().now_ms())])


async def test_what_was_sent_before_a_lane_was_lost_and_came_back_is_not_written(pg: PostgresDatabase) -> None:
    """Another process has told it meanwhile: there would be two attempts of one number."""
    receivers = _Receivers()
    slow, answered = receivers.of("stopped"), asyncio.Event()
    sending, send = asyncio.Event(), slow.send

    async def send_slowly(*given: Any) -> Attempt:
        sending.set()
        await answered.wait()
        attempt: Attempt = await send(*given)
        return attempt

    slow.send = send_slowly
    stopped, other = await joined(pg, "stopped"), await joined(pg, "other")
    first, second = (
        WebhookDispatcher(
            db=pg,
            client=client,
            schedule=RetrySchedule((1.0,)),
            clock=SystemClock(),
            metrics=Metrics(),
            lanes=lanes,
        )
        for client, lanes in ((slow, stopped), (receivers.of("other"), other))
    )
    await queue_one(pg)
    async with asyncio.timeout(30):
        running = asyncio.create_task(first.run())
        await sending.wait()
        async with pg.write() as tx:
            await tx.execute(text("UPDATE nodes SET seen_at = 0 WHERE incarnation = :i"), {"i": stopped.incarnation})
        delivering = asyncio.create_task(second.run())
        while not receivers.sent:  # noqa: ASYNC110 - seen at the receiver
            await asyncio.sleep(0.05)
        second.stop()
        await delivering
        await other.drop({"http://r"})
        assert await stopped.claim({"http://r"}) == {"http://r"}
        answered.set()
        first.stop()
        await running

    async with pg.read() as tx:
        written = (await tx.execute(select(tables.attempts.c.number, tables.attempts.c.ok))).all()
    assert sum(receivers.sent.values()) == 2
    assert written == [(1, True)]


async def test_a_lane_kept_by_a_process_that_was_stopped_while_it_wrote_is_taken_from_it(pg: PostgresDatabase) -> None:
    receivers = _Receivers()
    stopped, dispatcher_lanes = await joined(pg, "stopped"), await joined(pg, "other")
    await queue_one(pg)
    await stopped.claim({"http://r"})
    patient = PostgresSettings(url=pg.settings.url, schema=pg.settings.schema, setting="DATABASE_URL", idle_s=60)
    async with open_postgresql(patient) as its, AsyncExitStack() as held:
        tx = await held.enter_async_context(its.write())
        assert (await stopped.keep(tx, {"http://r"})).keys() == {"http://r"}
        async with pg.write() as other:
            await other.execute(text("UPDATE nodes SET seen_at = 0 WHERE incarnation = :i"), {"i": stopped.incarnation})
        dispatcher = WebhookDispatcher(
            db=pg,
            client=receivers.of("other"),
            schedule=RetrySchedule((1.0,)),
            clock=SystemClock(),
            metrics=Metrics(),
            lanes=dispatcher_lanes,
        )
        task = asyncio.create_task(dispatcher.run())
        async with asyncio.timeout(15):
            while not receivers.sent:  # noqa: ASYNC110 - seen at the receiver
                await asyncio.sleep(0.05)
        dispatcher.stop()
        await task
        held.pop_all()  # its connection was ended: there is nothing to undo
    assert sum(receivers.sent.values()) == 1
