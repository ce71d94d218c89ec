"""One level: so many workers leave a barrier together, and everything they left behind is judged."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, field

import aiohttp

from devnet.runner.chain_actor import ChainActor
from devnet.runner.facts import CreditedTransfer, FlowFailed, FlowResult, LevelResult, Purchase
from devnet.runner.http_client import HttpClient
from devnet.runner.journal import Journal
from devnet.runner.judging import judge
from devnet.runner.notification_list import latest_notification_at
from devnet.runner.notification_listener import open_listeners
from devnet.runner.scenario import LevelContext, PaymentMethod, Scenario
from devnet.runner.stories import STORIES, Step, tell
from devnet.runner.target import Target
from devnet.runner.user import User


def whole_purchase(scenario: Scenario) -> Sequence[Step]:
    """Run every scenario from its beginning to its end."""
    return tell(scenario, STORIES["goods"])


def in_turn(names: Sequence[str]) -> Callable[[Scenario], Sequence[Step]]:
    """Let the scenarios tell these stories in turn."""
    chosen = [STORIES[name] for name in names]
    return lambda scenario: tell(scenario, chosen[(scenario.serial - 1) % len(chosen)])


@dataclass(slots=True)
class Run:
    """What all levels share."""

    target: Target
    chain_actor: ChainActor
    rails: Sequence[PaymentMethod]
    log: Callable[[str], None]
    keep_answers: bool = False
    steps_of: Callable[[Scenario], Sequence[Step]] = whole_purchase
    serial: int = 0
    credited_transfers: list[CreditedTransfer] = field(default_factory=list)
    scenarios: list[Scenario] = field(default_factory=list)  # of the newest level
    journal: Journal = field(default_factory=Journal)  # of the newest level

    def fresh_journal(self) -> Journal:
        """Return an empty journal for the next level."""
        return Journal(answers=[] if self.keep_answers else None)

    async def level(self, workers: int, journal: Journal | None = None) -> LevelResult:
        """Run one level to its end, whatever that is, and write it down in `journal` or a fresh one."""
        self.journal = journal or self.fresh_journal()
        async with self._context() as context:
            began = time.monotonic()
            self.scenarios = [self._scenario(context, number) for number in range(workers)]
            barrier = asyncio.Barrier(workers)
            async with asyncio.TaskGroup() as group:
                flows = [
                    group.create_task(
                        _run_scenario(scenario, self.steps_of(scenario), barrier), name=f"worker {scenario.serial}"
                    )
                    for scenario in self.scenarios
                ]
            took_s = time.monotonic() - began
            findings = await judge(context, self.scenarios, self.credited_transfers)
        return LevelResult(
            workers=workers,
            seconds=took_s,
            flows=[flow.result() for flow in flows],
            samples=self.journal.samples,
            live_s=self.journal.live_s,
            listed_s=self.journal.listed_s,
            late=sum(scenario.late for scenario in self.scenarios),
            findings=findings,
        )

    def _scenario(self, context: LevelContext, number: int) -> Scenario:
        self.serial += 1
        rail = self.rails[number % len(self.rails)]
        return Scenario(context, Purchase(worker=number, buyer="", sellers=()), self.serial, rail)

    @asynccontextmanager
    async def _context(self) -> AsyncIterator[LevelContext]:
        target, max_downtime_s = self.target, self.target.max_downtime_s
        connector = aiohttp.TCPConnector(limit=0)  # every listener has a connection of their own
        async with aiohttp.ClientSession(connector=connector) as session:
            market = HttpClient(target.marketplace_url, session, self.journal, max_downtime_s)
            admin = User(market, target.admin_email, target.admin_password)
            await admin.login()
            async with open_listeners() as listeners:
                listeners.listen(admin, since=await latest_notification_at(admin))
                yield LevelContext(
                    market=market,
                    scanner=HttpClient(target.scanner_url, session, self.journal, max_downtime_s),
                    scanner_key=target.scanner_key,
                    chain_actor=self.chain_actor,
                    admin=admin,
                    listeners=listeners,
                    paid={},
                    shown=set(),
                    log=self.log,
                )


async def _run_scenario(scenario: Scenario, steps: Sequence[Step], barrier: asyncio.Barrier) -> FlowResult:
    """Run one scenario; how it ends is a result, not an accident of the others."""
    await barrier.wait()
    began, failed, step = time.monotonic(), None, ""
    try:
        for each in steps:
            step = getattr(each, "__name__", repr(each))
            await each(scenario)
    except FlowFailed as exc:
        failed = f"{step}: {exc}"
    except Exception as exc:  # noqa: BLE001 - an answer of another shape fails one scenario, and is reported
        failed = f"{step}: {type(exc).__name__}: {exc}"
    return FlowResult(scenario.purchase, time.monotonic() - began, failed, tuple(scenario.findings))
