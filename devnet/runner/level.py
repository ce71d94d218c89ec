"""One level: so many workers leave a barrier together, and everything they left behind is judged."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, field

import aiohttp

from devnet.runner.ears import open_hall
from devnet.runner.facts import Credit, Deal, FlowFailed, FlowResult, LevelResult
from devnet.runner.handover import deliver, pry, receive, release, settle
from devnet.runner.journal import Journal
from devnet.runner.judging import judge
from devnet.runner.lists import newest
from devnet.runner.paying import confirm, open_payment, pay
from devnet.runner.person import Line, Person
from devnet.runner.street import Street
from devnet.runner.tale import Rail, Tale, World
from devnet.runner.target import Target
from devnet.runner.trade import accept, ask, bid, people_arrive

STEPS = (people_arrive, ask, bid, accept, open_payment, pay, confirm, deliver, receive, release, settle, pry)


Step = Callable[[Tale], Awaitable[None]]


def whole_purchase(_tale: Tale) -> Sequence[Step]:
    """Tell every story from its beginning to its end."""
    return STEPS


@dataclass(slots=True)
class Run:
    """What all levels share."""

    target: Target
    street: Street
    rails: Sequence[Rail]
    say: Callable[[str], None]
    keep_answers: bool = False
    steps_of: Callable[[Tale], Sequence[Step]] = whole_purchase
    serial: int = 0
    credited: list[Credit] = field(default_factory=list)
    tales: list[Tale] = field(default_factory=list)  # of the newest level
    journal: Journal = field(default_factory=Journal)  # of the newest level

    def fresh_journal(self) -> Journal:
        """Return an empty journal for the next level."""
        return Journal(answers=[] if self.keep_answers else None)

    async def level(self, workers: int, journal: Journal | None = None) -> LevelResult:
        """Run one level to its end, whatever that is, and write it down in `journal` or a fresh one."""
        self.journal = journal or self.fresh_journal()
        async with self._world() as world:
            began = time.monotonic()
            self.tales = [self._tale(world, number) for number in range(workers)]
            barrier = asyncio.Barrier(workers)
            async with asyncio.TaskGroup() as group:
                flows = [
                    group.create_task(_told(tale, self.steps_of(tale), barrier), name=f"worker {tale.serial}")
                    for tale in self.tales
                ]
            took_s = time.monotonic() - began
            findings = await judge(world, self.tales, self.credited)
        return LevelResult(
            workers=workers,
            seconds=took_s,
            flows=[flow.result() for flow in flows],
            samples=self.journal.samples,
            live_s=self.journal.live_s,
            listed_s=self.journal.listed_s,
            late=sum(tale.late for tale in self.tales),
            findings=findings,
        )

    def _tale(self, world: World, number: int) -> Tale:
        self.serial += 1
        rail = self.rails[number % len(self.rails)]
        return Tale(world, Deal(worker=number, buyer="", sellers=()), self.serial, rail)

    @asynccontextmanager
    async def _world(self) -> AsyncIterator[World]:
        target, patience_s = self.target, self.target.patience_s
        connector = aiohttp.TCPConnector(limit=0)  # every listener has a connection of their own
        async with aiohttp.ClientSession(connector=connector) as session:
            market = Line(target.marketplace_url, session, self.journal, patience_s)
            admin = Person(market, target.admin_email, target.admin_password)
            await admin.login()
            async with open_hall() as hall:
                hall.listen(admin, since=await newest(admin))
                yield World(
                    market=market,
                    scanner=Line(target.scanner_url, session, self.journal, patience_s),
                    scanner_key=target.scanner_key,
                    street=self.street,
                    admin=admin,
                    hall=hall,
                    paid={},
                    say=self.say,
                )


async def _told(tale: Tale, steps: Sequence[Step], barrier: asyncio.Barrier) -> FlowResult:
    """Tell one story; how it ends is a result, not an accident of the others."""
    await barrier.wait()
    began, failed, step = time.monotonic(), None, ""
    try:
        for each in steps:
            step = getattr(each, "__name__", repr(each))
            await each(tale)
    except FlowFailed as exc:
        failed = f"{step}: {exc}"
    except Exception as exc:  # noqa: BLE001 - an answer of another shape fails one story, and is told
        failed = f"{step}: {type(exc).__name__}: {exc}"
    return FlowResult(tale.deal, time.monotonic() - began, failed, tuple(tale.findings))
