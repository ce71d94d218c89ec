"""
Balance watches against a model of them: read when they are due, told until acknowledged, and never after the end.

`MODEL_EXAMPLES` sets how many runs.
"""

from __future__ import annotations

import asyncio
import os
import sqlite3
import tempfile
from collections import Counter
from collections.abc import Awaitable, Callable, Sequence
from contextlib import closing
from pathlib import Path
from typing import Any

import orjson
import pytest
from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule

from chains.types import BalanceKey, Balances
from config.catalog import Catalog, Token
from kernel.sealing.secret_cipher import SecretCipher
from kernel.store.database import open_database
from scanner.balance_watcher import BalanceWatcher
from scanner.balances import BalanceUnreadable
from scanner.model import DeliveryStatus, OutboxEvent
from scanner.registration.requests import CreateWatch
from scanner.registration.tokens import TokenResolver
from scanner.registration.watches import Watches
from scanner.store import outbox
from scanner.store.errors import Conflict, NotFound
from scanner.store.outbox import AttemptRecord
from scanner.upkeep.metrics import Metrics
from scanner.worker import ChainWorker
from tests.harness import FakeClock, empty_store
from tests.scanner.facts import LATE_MS, NOW, TOKEN
from tests.scanner.fake_chain import FakeChain, a_chain
from tests.scanner.watch_model import (
    AGES,
    DAY,
    HOUR,
    LIFE,
    MINUTE,
    SECOND,
    Change,
    Expected,
    State,
    Telling,
    WatchModel,
)

CHAINS = (97, 56)
HOLDERS = ("0x" + "1a" * 20, "0x" + "1b" * 20)
NAMES = [f"w-{number}" for number in range(12)]
AMOUNTS = [0, 5, 7, 2**130]
STATES = {
    DeliveryStatus.PENDING: State.WAITING,
    DeliveryStatus.FAILED: State.GIVEN_UP,
    DeliveryStatus.SUPERSEDED: State.TAKEN_BACK,
    DeliveryStatus.DELIVERED: State.ACKNOWLEDGED,
}
SOON = [0, SECOND, 61 * SECOND, 5 * MINUTE, 5 * MINUTE, 5 * MINUTE, 10 * MINUTE, 40 * MINUTE]
any_number = st.integers(0, 99)
PAUSES = [6 * HOUR, DAY, 3 * DAY, LIFE]


class AllowsAll:
    """Lets every receiver be called."""

    def check_callback(self, url: str, secret: str) -> str:
        return url


class Node(FakeChain):
    """A chain that answers balances, and during whose answer other things may happen."""

    def __init__(self) -> None:
        super().__init__()
        self.amounts: dict[str, int | None] = dict.fromkeys(HOLDERS, 0)
        self.reads: list[list[str]] = []
        self.mood = "up"
        self.meanwhile: Callable[[], Awaitable[None]] | None = None
        self.on_call = self._decide
        self.holdings = lambda asked: [self.amounts[holding.holder] for holding in asked]

    def _decide(self, name: str) -> None:
        self.down = self.mood == "down" or (self.mood == "secretive" and name == "movements")

    async def balances(self, holdings: Sequence[BalanceKey], *, confirmed: bool = False) -> Balances:
        assert confirmed  # what a reorganisation may take back is not read
        self.reads.append([holding.holder for holding in holdings])
        if self.meanwhile is not None:
            await self.meanwhile()
        return await super().balances(holdings, confirmed=confirmed)


class WatchMachine(RuleBasedStateMachine):
    """Backends that watch and are away, nodes that are down, and a process that starts again in between."""

    @initialize()
    def begin(self) -> None:
        self.runner = asyncio.Runner()
        self.folder = tempfile.TemporaryDirectory()
        self.path = Path(self.folder.name) / "scanner.db"
        self.path.write_bytes(empty_store())
        self.clock = FakeClock(NOW)
        self.nodes = {chain_id: Node() for chain_id in CHAINS}
        self.model = WatchModel()
        self.in_flight: dict[Change, OutboxEvent] = {}
        self.heard: dict[str, Change] = {}  # by webhook-id
        self.acknowledged: Counter[str] = Counter()
        self.open()
        for number, name in enumerate(NAMES[:4]):
            self.create(name, HOLDERS[number // 2], None if number else 5)
        self.tick(0)

    def open(self) -> None:
        """Start the process: nothing of it is left but the file."""
        self.opened = open_database(self.path)
        self.db = self.runner.run(self.opened.__aenter__())
        chains = {chain_id: a_chain(chainId=chain_id) for chain_id in CHAINS}
        tokens = tuple(Token(chain_id=c, address=TOKEN, symbol="USDT", decimals=18, name="Tether") for c in CHAINS)
        workers = {
            chain_id: ChainWorker(
                chain=chain,
                adapter=self.nodes[chain_id],
                tokens=(),
                db=self.db,
                clock=self.clock,
                metrics=Metrics(),
                late_watch_ms=LATE_MS,
                on_events=lambda: None,
            )
            for chain_id, chain in chains.items()
        }
        self.watches = Watches(
            db=self.db,
            clock=self.clock,
            tokens=TokenResolver(Catalog(chains, CHAINS, tokens)),
            callbacks=AllowsAll(),
            worker_of=workers.__getitem__,
            on_created=lambda chain_id: None,
            cipher=SecretCipher(),
        )
        self.watchers = {
            chain_id: BalanceWatcher(
                chain=chain,
                adapter=self.nodes[chain_id],
                db=self.db,
                clock=self.clock,
                on_events=lambda: None,
            )
            for chain_id, chain in chains.items()
        }

    def close(self) -> None:
        self.runner.run(self.opened.__aexit__(None, None, None))

    def teardown(self) -> None:
        self.close()
        self.runner.close()
        self.folder.cleanup()

    # -- what backends ask for

    def create(self, name: str, holder: str, baseline: int | None) -> None:
        chain_id = CHAINS[NAMES.index(name) % 2]
        asked = CreateWatch.model_construct(
            watch_id=name,
            chain_id=chain_id,
            address=holder,
            token="USDT",
            callback_url="http://127.0.0.1:9/hook",
            callback_secret="s",
            baseline_balance=baseline,
        )
        known = self.model.watches.get(name)
        if known is not None and known.holder != holder:
            with pytest.raises(Conflict, match="address"):
                self.runner.run(self.watches.create(asked))
            return
        now, checked_at = self.clock.now_ms(), None
        if baseline is None and known is None:  # read before the answer, and by this very call
            node = self.nodes[chain_id]
            baseline = None if node.mood == "down" else node.amounts[holder]
            checked_at = now
            if baseline is None:
                with pytest.raises(BalanceUnreadable):
                    self.runner.run(self.watches.create(asked))
                return
        self.model.create(name, chain_id, holder, baseline or 0, now, checked_at=checked_at)
        assert self.runner.run(self.watches.create(asked)).status == self.model.watches[name].status

    def stop(self, name: str) -> None:
        self.runner.run(self._stop(name))

    async def _stop(self, name: str) -> None:
        if name not in self.model.watches:
            with pytest.raises(NotFound):
                await self.watches.stop(name)
            return
        self.model.stop(name)
        assert (await self.watches.stop(name)).status == self.model.watches[name].status

    # -- what happens on the chains

    @rule(
        holder=st.sampled_from(HOLDERS),
        amount=st.sampled_from([None, *AMOUNTS]),
        pause=st.sampled_from(SOON),
        meanwhile=st.sampled_from(["", "", "", "stop", "acknowledge"]),
        which=any_number,
        said=st.sampled_from(["nobody asks", "under way", "under way", "ok", "ok", "later", "spent"]),
    )
    def changes(self, holder: str, amount: int | None, pause: int, meanwhile: str, which: int, said: str) -> None:
        """Something moves (or, None, cannot be read), is read, is reported, and the receiver says something."""
        for node in self.nodes.values():
            node.amounts[holder] = amount
        self.tick(pause, meanwhile, which)
        if said == "nobody asks":
            return
        before = set(self.in_flight)
        self.send()
        for reported in sorted(self.in_flight.keys() - before) if said != "under way" else []:
            self.runner.run(self._answer(reported, said, 1))

    @rule(
        what=st.sampled_from(["stop", "create", "wait", "sweep", "restart", "heal", "node", "node", "sweep"]),
        which=any_number,
        mood=st.sampled_from(["up", "down", "secretive"]),
    )
    def sometimes(self, what: str, which: int, mood: str) -> None:
        """What is rarer than changes are."""
        match what:
            case "stop":
                self.stop(NAMES[which % len(NAMES)])
            case "create":
                self.create(NAMES[which % len(NAMES)], HOLDERS[which % 2], [None, *AMOUNTS][which % 5])
            case "wait":
                self.wait(PAUSES[which % len(PAUSES)])
            case "node":
                self.nodes[CHAINS[which % 2]].mood = mood
            case "sweep":
                self.sweep()
            case "restart":
                self.restart()
            case _:
                self.everything_heals()

    # -- the scheduler

    def wait(self, pause: int) -> None:
        """Nobody looks for a long time, and then somebody else begins."""
        self.clock.advance(pause / SECOND)
        fresh = next((name for name in NAMES if name not in self.model.watches), None)
        if fresh is not None:
            self.create(fresh, HOLDERS[0], None)

    def tick(self, pause: int, meanwhile: str = "", which: int = 0) -> None:
        """Time passes, and the scheduler looks; somebody may be stopped or told during the read."""
        self.clock.advance(pause / SECOND)
        for chain_id in CHAINS:
            self._tick(chain_id, meanwhile, which)

    def _tick(self, chain_id: int, meanwhile: str, which: int) -> None:
        now, node = self.clock.now_ms(), self.nodes[chain_id]
        due = self.model.to_check(chain_id, now)
        alive = [name for name in due if not self.model.watches[name].is_over(now)]
        amounts = {} if node.mood == "down" else {name: node.amounts[self.model.watches[name].holder] for name in alive}
        node.reads = []

        async def happens() -> None:
            if meanwhile == "stop":
                await self._stop(NAMES[which % 4])
            elif meanwhile == "acknowledge" and self.in_flight:
                await self._answer(sorted(self.in_flight)[which % len(self.in_flight)], "ok", 0)

        node.meanwhile = happens
        assert self.runner.run(self.watchers[chain_id].check_due()) == len(due)
        node.meanwhile = None
        asked = sorted(self.model.watches[name].holder for name in alive)
        assert [sorted(read) for read in node.reads] == ([asked] if asked else [])
        self.model.check(due, amounts, now)

    # -- the receiver

    def due(self) -> dict[Change, OutboxEvent]:
        async def run() -> list[OutboxEvent]:
            held = [event.event_id for event in self.in_flight.values()]
            async with self.db.read() as tx:
                return await outbox.due(tx, self.clock.now_ms(), in_flight=held, limit=1000)

        return {_change(orjson.loads(event.body)): event for event in self.runner.run(run())}

    def send(self) -> None:
        """Everything that is due is sent; what the receiver says comes later, or never."""
        due = self.due()
        for reported, event in due.items():
            assert self.heard.setdefault(event.event_id, reported) == reported
        assert len(set(self.heard.values())) == len(self.heard)
        self.in_flight |= due

    @precondition(lambda self: self.in_flight)
    @rule(which=any_number, said=st.sampled_from(["ok", "ok", "later", "spent"]), pause=st.integers(1, 60))
    def answer(self, which: int, said: str, pause: int) -> None:
        reported = sorted(self.in_flight)[which % len(self.in_flight)]
        self.runner.run(self._answer(reported, said, pause))

    async def _answer(self, reported: Change, said: str, pause: int) -> None:
        event, now = self.in_flight.pop(reported), self.clock.now_ms()
        retry_at = now + pause * SECOND if said == "later" else None
        async with self.db.write() as tx:
            await outbox.record(tx, [AttemptRecord(event, now, said == "ok", 200, 1, "", None, retry_at)])
        if said == "ok":
            self.acknowledged[event.event_id] += 1
            self.model.acknowledge(reported, now)
        else:
            self.model.refuse(reported, retry_at)

    def sweep(self) -> None:
        async def run() -> int:
            async with self.db.write() as tx:
                now = self.clock.now_ms()
                return await outbox.requeue_failed(tx, now, failed_before=now)

        assert self.runner.run(run()) == self.model.sweep(self.clock.now_ms())

    # -- and then

    def restart(self) -> None:
        """What was under way is forgotten, whether the receiver had it or not."""
        self.close()
        self.in_flight = {}
        self.open()

    def everything_heals(self) -> None:
        """With nodes and receiver back, each backend knows, by the next read, what lies on the chain."""
        for node in self.nodes.values():
            node.mood = "up"
            node.amounts = {holder: amount or 0 for holder, amount in node.amounts.items()}
        for said in ("ok", "ok"):
            self.send()
            while self.in_flight:
                self.answer(0, said, 0)
            self.tick(40 * MINUTE)
        self.send()
        while self.in_flight:
            self.answer(0, "ok", 0)
        for row in self.read("balance_watches")[0]:
            if row["status"] == "watching":
                assert int(row["current_balance"]) == self.nodes[row["chain_id"]].amounts[row["address_key"]]
        assert not self.due()

    def read(self, *names: str) -> list[list[Any]]:
        """Return all rows of these tables, as they lie on disk."""
        with closing(sqlite3.connect(self.path)) as store:
            store.row_factory = sqlite3.Row
            store.execute("BEGIN")
            return [store.execute(f"SELECT * FROM {name}").fetchall() for name in names]  # noqa: S608

    @invariant()
    def the_store_says_what_the_model_says(self) -> None:
        watches, events, attempts = self.read("balance_watches", "events", "attempts")
        assert {row["watch_id"] for row in watches} == self.model.watches.keys()
        for row in watches:
            _stands(row, self.model.watches[row["watch_id"]])
        tries = Counter(row["event_id"] for row in attempts)
        found = {_change(orjson.loads(row["body"])): row for row in events}
        assert len(found) == len(events)  # one event a change
        assert found.keys() == self.model.changes.keys()
        for reported, row in found.items():
            _is_told(row, tries[row["event_id"]], self.model.changes[reported])

    @invariant()
    def what_is_due_is_told_and_nothing_that_was_acknowledged(self) -> None:
        due = self.due()
        assert due.keys() == self.model.to_tell(self.clock.now_ms()) - self.in_flight.keys()
        assert not {event.event_id for event in due.values()} & self.acknowledged.keys()
        assert all(times == 1 for times in self.acknowledged.values())


def _stands(row: Any, want: Expected) -> None:
    amounts = [int(row[name]) for name in ("baseline_balance", "current_balance")]
    assert (*amounts, row["status"], row["change_count"]) == (want.baseline, want.current, want.status, want.count)
    times = (row["next_check_at"], row["last_checked_at"], row["last_notified_at"], row["expires_at"])
    assert times == (want.due_at, want.checked_at, want.notified_at, want.created_at + LIFE)


def _is_told(row: Any, attempts: int, want: Telling) -> None:
    assert (STATES[row["status"]], attempts) == (want.state, want.attempts)
    if want.state is State.WAITING:
        assert row["next_attempt_at"] == want.due_at


def _change(body: dict[str, Any]) -> Change:
    before, after = int(body["previousBalance"]), int(body["currentBalance"])
    assert (body["eventType"], int(body["delta"])) == ("balance_changed", after - before)
    return Change(body["watchId"], before, after, body["changeCount"])


def test_the_model_reads_a_watch_648_times() -> None:
    assert len(AGES) == 648
    assert list(AGES) == sorted(set(AGES))


TestWatches = WatchMachine.TestCase
TestWatches.settings = settings(
    max_examples=int(os.environ.get("MODEL_EXAMPLES", "8")),
    stateful_step_count=40,
    deadline=None,
    derandomize="MODEL_EXAMPLES" not in os.environ,  # the same for everybody, unless somebody goes looking
    suppress_health_check=[HealthCheck.too_slow],
)
