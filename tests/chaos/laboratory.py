"""One run: the world is set up, troubled as planned, healed, left to itself, and judged."""

from __future__ import annotations

import asyncio
import random
import time
from collections import Counter
from collections.abc import Callable
from contextlib import AbstractAsyncContextManager, AsyncExitStack, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import aiohttp

from tests.chaos.backend import Backend
from tests.chaos.endpoints import METHODS
from tests.chaos.evm import evm_world
from tests.chaos.facts import Outcome, Row, Verdict
from tests.chaos.judge import SETTLED, judge, of_coin, truth
from tests.chaos.keeper import Keeper, kept
from tests.chaos.payments import Family
from tests.chaos.schedule import MOST_SKEW_S, Plan, Trouble
from tests.chaos.street import Street, persist
from tests.chaos.ton import ton_world
from tests.chaos.tron import tron_world
from tests.chaos.world import World

HEALING_S = 150  # what was given up is told again once a minute
ON_TIME_S = 60  # forty-five seconds after the last fault everything is confirmed; a start takes its time
STORIES_S = 90
NOTICE_S = 60
SETTINGS = {
    "RPC_TIMEOUT_SEC": "1",
    "POLL_INTERVAL_SEC": "0.2",
    "WEBHOOK_TIMEOUT_SEC": "1.5",
    "WEBHOOK_RETRY_DELAYS_SEC": "0.2,0.4,0.8",
    "WEBHOOK_RETRY_HOURS": "0.001",
    "BALANCE_WATCH_TICK_SEC": "1",
    "SWEEP_INTERVAL_SEC": "5",
    "SCANNER_SECRET_KEY": "A" * 43 + "=",
}
ENDPOINTS = 2
WORLDS: dict[Family, Callable[[Plan], AbstractAsyncContextManager[World]]] = {
    "evm": evm_world,
    "tron": tron_world,
    "ton": ton_world,
}


@dataclass(frozen=True, slots=True)
class Report:
    """What a run came to."""

    seed: int
    family: str
    payments: int
    settled: int  # intents the chain says are paid
    faults: Counter[str]
    verdict: Verdict
    deaths: tuple[str, ...]
    log: tuple[str, ...]  # what it takes to find out why: the chain's transfers, then the scanners' words
    seconds: float


class Laboratory:
    """The parts of one run, wired together."""

    def __init__(self, plan: Plan, world: World, keeper: Keeper, backend: Backend, habits: AsyncExitStack) -> None:
        self.plan = plan
        self._habits = habits  # ended with the world
        self.world = world
        self.keeper = keeper
        self.backend = backend
        self.street = Street(keeper, world, backend, plan)
        self._chance = random.Random(f"methods of {plan.seed}")

    async def run(self) -> None:
        """Play the plan; return when every trouble is over and every story told."""
        began = time.monotonic()

        async def at(moment: float) -> None:
            await asyncio.sleep(max(0.0, began + moment - time.monotonic()))

        async def inflict(one: Trouble, method: str) -> None:
            await at(one.at)
            await self._inflict(one, method)

        told = {purchase.number: purchase.kind for purchase in self.plan.purchases}

        async def buy(purchase: Any) -> None:
            await at(purchase.at)
            await self.street.buy(purchase)
            del told[purchase.number]

        try:
            async with asyncio.timeout(self.plan.span_s + STORIES_S), asyncio.TaskGroup() as tasks:
                for one in self.plan.troubles:
                    tasks.create_task(inflict(one, self._chance.choice(METHODS)))
                for purchase in self.plan.purchases:
                    tasks.create_task(buy(purchase))
        except TimeoutError:
            self.keeper.oddities.append(f"stories did not end: {told}")

    async def _inflict(self, one: Trouble, method: str) -> None:
        match one.area:
            case "rpc":
                async with AsyncExitStack() as faults:
                    for place in range(ENDPOINTS):
                        if one.size >> place & 1 and one.kind not in self._habits_of(place):
                            await faults.enter_async_context(self.world.trouble(place, one.kind, method))
                    await asyncio.sleep(one.seconds)
            case "receiver":
                await self.backend.begin(one.kind)
                await asyncio.sleep(one.seconds)
                await self.backend.end(one.kind)
            case "chain" if one.kind == "mine":
                await self.world.mine(one.size)
            case "chain":
                await self.world.reorg(one.size, one.kind)
            case "process":
                await self._disturb(one)

    def _habits_of(self, place: int) -> tuple[str, ...]:
        """Return what an endpoint is like anyway: the end of a passing trouble must not end that."""
        return self.plan.habits[place] if self.plan.habits else ()

    async def _disturb(self, one: Trouble) -> None:
        match one.kind:
            case "kill":
                self.keeper.kill()
            case "terminate":
                self.keeper.terminate()
            case "second":
                await self.keeper.second()
            case "locked":
                async with self.keeper.locked():
                    await asyncio.sleep(one.seconds)
            case "disk_full":
                async with self.keeper.full_disk():
                    await asyncio.sleep(one.seconds)
            case "far_off":
                self._set_clock(one.size)
            case _:
                self._set_clock(self.backend.skew_s + one.size if abs(self.backend.skew_s) < MOST_SKEW_S else 0)

    def _set_clock(self, seconds: int) -> None:
        self.backend.skewed(seconds)
        self.keeper.skew(seconds)

    async def heal(self) -> None:
        """Nothing is wrong any more but habits: bury what was paid, and wait until nothing is left to do."""
        self.world.heal()
        await _settle_in(self.plan, self.world, self._habits)
        await self.world.bury(self.plan)
        if not self.plan.patient:
            self.keeper.terminate()
        await self._on_time()
        await self._at_rest()
        before = {told.event_id for told in self.backend.told}
        self.keeper.terminate()  # once more: a start tells nobody anything twice
        await self._at_rest()
        # Coin is looked at every five minutes and at a start: what came in between is told then, for the first time.
        if told := {told.event_id for told in self.backend.told if told.tx} - before:
            self.keeper.oddities.append(f"a restart of a scanner at rest told {told}")

    async def _on_time(self) -> None:
        """Note whoever paid and is not confirmed soon after the last fault is over, whatever strangers did."""
        orders = tuple(self.street.orders)
        waiting = set(truth(orders, await self.world.movements(orders)).settled)
        with suppress(TimeoutError):
            async with asyncio.timeout(ON_TIME_S):
                while waiting:
                    waiting -= {i["intentId"] for i in await self._pages("intents") if i["status"] in SETTLED}
                    await asyncio.sleep(0.3)
        if waiting:
            self.keeper.oddities.append(f"{ON_TIME_S} s after the last fault {sorted(waiting)} were not confirmed")

    async def _at_rest(self) -> None:
        """Wait for two polls in a row that read everything and left nothing to tell."""
        seen: set[str] = set()
        state: Any = None
        try:
            async with asyncio.timeout(HEALING_S):
                while len(seen) < 3:
                    await asyncio.sleep(0.3)
                    _, answer = await persist(self.keeper, lambda api: api.call("GET", "/scanner/status"))
                    state = answer["chains"][0]
                    rests = state["lastError"] is None and await self.world.is_read(state["lastScannedBlock"] or 0)
                    if rests and state["undeliveredWebhooks"] == 0 and state["lastSuccessAt"]:
                        seen.add(state["lastSuccessAt"])
        except TimeoutError:
            self.keeper.oddities.append(f"it never came to rest: {state}")

    async def outcome(self) -> Outcome:
        """Collect what the chain says, and what the scanner does."""
        orders = tuple(self.street.orders)
        coins = await self.world.coins(orders)
        await self._noticed(sum(coin.amount for coin in coins))
        statuses = {i["intentId"]: i["status"] for i in await self._pages("intents")}
        rows = await self._rows()
        await self.keeper.stop()
        await self.keeper.check()
        oddities = list(self.keeper.oddities)
        if self.backend.trapped:
            oddities.append(f"{self.backend.trapped} redirects were followed")
        return Outcome(
            orders=orders,
            movements=await self.world.movements(orders),
            told=tuple(self.backend.told),
            statuses=statuses,
            rows=rows,
            coins=coins,
            oddities=tuple(oddities),
        )

    async def _noticed(self, sent: int) -> None:
        """Wait until as much coin is listed as was sent: a balance is read beside the polls, a moment after a start."""
        with suppress(TimeoutError):  # the judge will say what is missing
            async with asyncio.timeout(NOTICE_S):
                while sum(row.amount for row in await self._rows() if of_coin(row)) < sent:  # noqa: ASYNC110 - nor has an operator an event
                    await asyncio.sleep(0.3)

    async def _rows(self) -> tuple[Row, ...]:
        return tuple(Row.of(row, self.world.canonical) for row in await self._pages("unmatched"))

    async def _pages(self, what: str) -> list[dict[str, Any]]:
        found: list[dict[str, Any]] = []
        cursor = ""
        while True:
            path = f"/{what}?limit=50{cursor}"
            status, answer = await persist(self.keeper, lambda api, path=path: api.call("GET", path))  # type: ignore[misc]
            assert status == 200, answer
            found += answer[what]
            if answer["nextCursor"] is None:
                return found
            cursor = f"&cursor={answer['nextCursor']}"


async def _settle_in(plan: Plan, world: World, habits: AsyncExitStack) -> None:
    """Let every endpoint be what it is for good."""
    for place, kinds in enumerate(plan.habits):
        for kind in kinds:
            await habits.enter_async_context(world.trouble(place, kind, "*"))


async def experiment(plan: Plan, folder: Path) -> Report:
    """Run a plan in a folder of its own and judge it."""
    began = time.monotonic()
    async with AsyncExitStack() as stack:
        world = await stack.enter_async_context(WORLDS[plan.family](plan))
        backend = await stack.enter_async_context(Backend())
        session = await stack.enter_async_context(aiohttp.ClientSession())
        env = world.environment(folder, plan) | SETTINGS
        habits = await stack.enter_async_context(AsyncExitStack())
        await _settle_in(plan, world, habits)
        keeper = await stack.enter_async_context(kept(folder, env, session))
        laboratory = Laboratory(plan, world, keeper, backend, habits)
        await laboratory.run()
        await laboratory.heal()
        outcome = await laboratory.outcome()
    return Report(
        seed=plan.seed,
        family=plan.family,
        payments=world.payments,
        settled=len(truth(outcome.orders, outcome.movements).settled),
        faults=plan.faults,
        verdict=judge(outcome),
        deaths=tuple(keeper.deaths),
        log=(*(f"{movement}\n" for movement in sorted(outcome.movements)), *keeper.said),
        seconds=time.monotonic() - began,
    )
