"""One run: the environment is set up, the planned faults are injected and ended, and what is left is judged."""

from __future__ import annotations

import asyncio
import random
import time
from collections import Counter
from collections.abc import Callable, Coroutine, Iterable, Sequence
from contextlib import AbstractAsyncContextManager, AsyncExitStack, suppress
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import Any, TypeVar

import aiohttp

from tests.chaos.chain_environment import ChainEnvironment
from tests.chaos.cluster import Cluster, cluster
from tests.chaos.evm_environment import evm_environment
from tests.chaos.facts import Outcome, UnmatchedRow, Verdict
from tests.chaos.indexer_faults import LATE
from tests.chaos.judge import SETTLED, expected_state, judge, of_coin
from tests.chaos.purchases import Family
from tests.chaos.rpc_faults import METHODS
from tests.chaos.schedule import MOST_SKEW_S, Plan, PlannedFault
from tests.chaos.shoppers import Shoppers, call_until_answered
from tests.chaos.supervisor import Supervision, supervised
from tests.chaos.ton_environment import ton_environment
from tests.chaos.tron_environment import tron_environment
from tests.chaos.webhook_receiver import WebhookReceiver

HEALING_S = 150  # what was given up is sent again once a minute
ON_TIME_S = 60  # forty-five seconds after the last fault everything is confirmed; a start takes its time
SCENARIOS_S = 90
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
PUSHED = {"POLL_INTERVAL_SEC": "1.5"}  # where sockets announce, polls by themselves are seldom
ENDPOINTS = 2
S = TypeVar("S", bound=Supervision)
ENVIRONMENTS: dict[Family, Callable[[Plan], AbstractAsyncContextManager[ChainEnvironment]]] = {
    "evm": evm_environment,
    "tron": tron_environment,
    "ton": partial(ton_environment, with_liteservers=True),
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
    unexpected_exits: tuple[str, ...]
    log: tuple[str, ...]  # what it takes to find out why: the chain's transfers, then the scanners' words
    seconds: float
    notes: tuple[str, ...] = ()  # what was measured beside


class Laboratory:
    """The parts of one run, wired together."""

    def __init__(
        self,
        plan: Plan,
        chain_env: ChainEnvironment,
        supervisor: Supervision,
        receiver: WebhookReceiver,
        permanent_faults: AsyncExitStack,
    ) -> None:
        self.plan = plan
        self._permanent_faults = permanent_faults  # ended with the world
        self.chain_env = chain_env
        self.supervisor = supervisor
        self.receiver = receiver
        self.shoppers = Shoppers(supervisor, chain_env, receiver, plan)
        self.receivers: tuple[WebhookReceiver, ...] = (receiver,)  # who hears it when the scanner's clock is set
        self._rng = random.Random(f"methods of {plan.seed}")

    async def run(self) -> None:
        """Play the plan; return when every fault is over and every purchase done."""
        began = time.monotonic()

        async def at(moment: float) -> None:
            await asyncio.sleep(max(0.0, began + moment - time.monotonic()))

        async def inject(one: PlannedFault, method: str) -> None:
            await at(one.at)
            await self._inject(one, method)

        unfinished = {purchase.number: purchase.kind for purchase in self.plan.purchases}

        async def buy(purchase: Any) -> None:
            await at(purchase.at)
            await self.shoppers.buy(purchase)
            del unfinished[purchase.number]

        try:
            async with asyncio.timeout(self.plan.span_s + SCENARIOS_S), asyncio.TaskGroup() as tasks:
                for one in self.plan.faults:
                    tasks.create_task(inject(one, self._rng.choice(METHODS)))
                for purchase in self.plan.purchases:
                    tasks.create_task(buy(purchase))
        except TimeoutError:
            self.supervisor.anomalies.append(f"purchases did not end: {unfinished}")

    async def _inject(self, one: PlannedFault, method: str) -> None:
        match one.area:
            case "rpc":
                async with AsyncExitStack() as faults:
                    for place in range(ENDPOINTS):
                        if one.size >> place & 1 and one.kind not in self._permanent_faults_of(place):
                            await faults.enter_async_context(self.chain_env.inject_fault(place, one.kind, method))
                    await asyncio.sleep(one.seconds)
            case "receiver":
                await self.receiver.begin(one.kind)
                await asyncio.sleep(one.seconds)
                await self.receiver.end(one.kind)
            case "chain" if one.kind == "mine":
                await self.chain_env.mine(one.size)
            case "chain":
                await self.chain_env.reorg(one.size, one.kind)
            case "process" | "cluster":
                await self._disturb(one)

    def _permanent_faults_of(self, place: int) -> tuple[str, ...]:
        """Return the permanent faults of an endpoint: the end of a transient fault must not end that."""
        return self.plan.permanent_faults[place] if self.plan.permanent_faults else ()

    async def _disturb(self, one: PlannedFault) -> None:
        match one.kind:
            case "far_off" | "one_clock":
                self._set_clock(one.size)
            case "clock":
                self._set_clock(self.receiver.skew_s + one.size if abs(self.receiver.skew_s) < MOST_SKEW_S else 0)
            case _:
                await self.supervisor.inject(one.kind, one.seconds, one.size)

    def _set_clock(self, seconds: int) -> None:
        for receiver in self.receivers:
            receiver.skewed(seconds)
        self.supervisor.skew(seconds)

    async def bury(self) -> None:
        """Let nothing be wrong any more but the permanent faults, and what was paid be deep."""
        self.chain_env.heal()
        await _add_permanent_faults(self.plan, self.chain_env, self._permanent_faults)
        await self.chain_env.bury(self.plan)

    async def on_time(self) -> None:
        """Note every paid intent that is not confirmed soon after the last fault is over."""
        orders = tuple(self.shoppers.orders)
        waiting = set(expected_state(orders, await self.chain_env.transfers(orders)).settled)
        with suppress(TimeoutError):
            async with asyncio.timeout(ON_TIME_S):
                while waiting:
                    waiting -= {i["intentId"] for i in await self._pages("intents") if i["status"] in SETTLED}
                    await asyncio.sleep(0.3)
        if waiting:
            self.supervisor.anomalies.append(f"{ON_TIME_S} s after the last fault {sorted(waiting)} were not confirmed")

    async def until_idle(self) -> None:
        """Wait for two polls in a row that read everything and left nothing to deliver."""
        seen: set[str] = set()
        state: Any = None
        try:
            async with asyncio.timeout(HEALING_S):
                while len(seen) < 3:
                    await asyncio.sleep(0.3)
                    _, answer = await call_until_answered(
                        self.supervisor, lambda api: api.call("GET", "/scanner/status")
                    )
                    state = next(c for c in answer["chains"] if c["chainId"] == self.chain_env.chain_id)
                    rests = state["lastError"] is None and await self.chain_env.is_read(state["lastScannedBlock"] or 0)
                    if rests and state["undeliveredWebhooks"] == 0 and state["lastSuccessAt"]:
                        seen.add(state["lastSuccessAt"])
        except TimeoutError:
            self.supervisor.anomalies.append(f"it never came to rest: {state}")

    async def outcome(self) -> Outcome:
        """Collect what the chain says, and what the scanner shows; what went wrong beside is told by `outcomes`."""
        orders = tuple(self.shoppers.orders)
        coins = await self.chain_env.coins(orders)
        await self._until_coins_listed(sum(coin.amount for coin in coins))
        statuses = {i["intentId"]: i["status"] for i in await self._pages("intents")}
        self.supervisor.anomalies += [
            f"{order.intent_id} was acknowledged and is gone" for order in orders if order.intent_id not in statuses
        ]
        rows = await self._rows()
        late = any(fault.kind == LATE for fault in self.plan.faults)
        return Outcome(orders, await self.chain_env.transfers(orders), (), statuses, rows, coins, late_rows=late)

    async def _until_coins_listed(self, sent: int) -> None:
        """Wait until as much coin is listed as was sent: a balance is read beside the polls, a moment after a start."""
        with suppress(TimeoutError):  # the judge will say what is missing
            async with asyncio.timeout(NOTICE_S):
                while sum(row.amount for row in await self._rows() if of_coin(row)) < sent:  # noqa: ASYNC110 - nor has an operator an event
                    await asyncio.sleep(0.3)

    async def _rows(self) -> tuple[UnmatchedRow, ...]:
        return tuple(UnmatchedRow.of(row, self.chain_env.canonical) for row in await self._pages("unmatched"))

    async def _pages(self, what: str) -> list[dict[str, Any]]:
        found: list[dict[str, Any]] = []
        cursor = ""
        while True:
            path = f"/{what}?limit=50&chainId={self.chain_env.chain_id}{cursor}"
            status, answer = await call_until_answered(self.supervisor, lambda api, path=path: api.call("GET", path))  # type: ignore[misc]
            assert status == 200, answer
            found += answer[what]
            if answer["nextCursor"] is None:
                return found
            cursor = f"&cursor={answer['nextCursor']}"


async def heal(laboratories: Sequence[Laboratory]) -> None:
    """Wait until nothing is left to do on any of the chains that one scanner watches, and again after a start."""
    supervisor = laboratories[0].supervisor
    for each in laboratories:
        await each.bury()
    if not all(each.plan.patient for each in laboratories):
        supervisor.terminate()
    await together(each.on_time() for each in laboratories)
    await together(each.until_idle() for each in laboratories)
    before = [{webhook.event_id for webhook in each.receiver.webhooks} for each in laboratories]
    supervisor.terminate()  # once more: a start tells nobody anything twice
    await together(each.until_idle() for each in laboratories)
    # Coin is looked at every five minutes and at a start: what came in between is reported then, for the first time.
    for each, known in zip(laboratories, before, strict=True):
        if sent := {webhook.event_id for webhook in each.receiver.webhooks if webhook.tx} - known:
            supervisor.anomalies.append(f"a restart of a scanner at rest sent {sent}")


async def outcomes(laboratories: Sequence[Laboratory]) -> list[Outcome]:
    """Collect what came of each chain; what went wrong beside is told with the first."""
    supervisor = laboratories[0].supervisor
    found = [await each.outcome() for each in laboratories]
    await supervisor.stop()
    await supervisor.check()
    trapped = sum(each.receiver.trapped for each in laboratories)
    anomalies = (*supervisor.anomalies, *([f"{trapped} redirects were followed"] if trapped else []))
    return [
        replace(outcome, webhooks=tuple(each.receiver.webhooks), anomalies=() if place else anomalies)
        for place, (each, outcome) in enumerate(zip(laboratories, found, strict=True))
    ]


async def together(work: Iterable[Coroutine[Any, Any, None]]) -> None:
    """Do all of it at the same time."""
    async with asyncio.TaskGroup() as tasks:
        for each in work:
            tasks.create_task(each)


async def _add_permanent_faults(plan: Plan, chain_env: ChainEnvironment, permanent_faults: AsyncExitStack) -> None:
    """Let every endpoint be what it is for good."""
    for place, kinds in enumerate(plan.permanent_faults):
        for kind in kinds:
            await permanent_faults.enter_async_context(chain_env.inject_fault(place, kind, "*"))


async def experiment(plan: Plan, folder: Path) -> Report:
    """Run a plan in a folder of its own and judge it."""
    return await _experiment(plan, folder, lambda env, session: supervised(folder, env, session), lambda _: [])


async def cluster_experiment(plan: Plan, folder: Path) -> Report:
    """Run a plan with several scanners on one replicated database, in a folder of its own, and judge it."""
    return await _experiment(plan, folder, lambda env, session: cluster(folder, env, session, plan.seed), Cluster.notes)


async def _experiment(
    plan: Plan,
    folder: Path,
    kept: Callable[[dict[str, str], aiohttp.ClientSession], AbstractAsyncContextManager[S]],
    notes: Callable[[S], list[str]],
) -> Report:
    began = time.monotonic()
    async with AsyncExitStack() as stack:
        chain_env = await stack.enter_async_context(ENVIRONMENTS[plan.family](plan))
        receiver = await stack.enter_async_context(WebhookReceiver())
        session = await stack.enter_async_context(aiohttp.ClientSession())
        env = chain_env.environment(folder, plan) | SETTINGS | (PUSHED if plan.pushed else {})
        permanent_faults = await stack.enter_async_context(AsyncExitStack())
        await _add_permanent_faults(plan, chain_env, permanent_faults)
        supervisor = await stack.enter_async_context(kept(env, session))
        laboratory = Laboratory(plan, chain_env, supervisor, receiver, permanent_faults)
        await laboratory.run()
        await heal([laboratory])
        measured = notes(supervisor)
        (outcome,) = await outcomes([laboratory])
    return Report(
        seed=plan.seed,
        family=plan.family,
        payments=chain_env.payments,
        settled=len(expected_state(outcome.orders, outcome.transfers).settled),
        faults=plan.fault_counts,
        verdict=judge(outcome),
        unexpected_exits=tuple(supervisor.unexpected_exits),
        log=(*(f"{transfer}\n" for transfer in sorted(outcome.transfers)), *supervisor.output),
        seconds=time.monotonic() - began,
        notes=(*measured, f"{_told_again(outcome)} webhooks were told again under their id"),
    )


def _told_again(outcome: Outcome) -> int:
    """Count what a receiver had acknowledged and was told once more: as the documentation says it may be."""
    told = Counter(webhook.event_id for webhook in outcome.webhooks if webhook.acknowledged)
    return sum(count - 1 for count in told.values())
