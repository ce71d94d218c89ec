"""Backends that watch balances of the addresses that are paid, and what they were told of them in the end."""

from __future__ import annotations

import asyncio
import random
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import Any

import orjson
from aiohttp import web

from tests.chaos.facts import ReceivedWebhook
from tests.chaos.schedule import Plan, deepest_reorg
from tests.chaos.shoppers import call_until_answered
from tests.chaos.webhook_receiver import WebhookReceiver
from tests.harness import SECRET
from tests.simulation.balance_books import Book, book_of
from tests.simulation.plans import MOVED, are_balances_safe
from webhooks.signing import verify_amn

MOST = 4  # watches of a run
WATCHED = {"exact", "partial", "over", "duplicate", "three_parts", "underpaid", "cancelled", "reused", MOVED}
FAULTS = ("none", "none", "500", "429", "slow", "lying", "down")
FAULT_EVERY_S = 1.5
SETTLED_S = 90.0  # within which everything is told when nothing is wrong any more
LOOK_S = 0.5
DEPOSITS_S = (0.2, 2.5)  # from one to the next
TAKEN_BACK = 0.4  # of the deposits, as long as they are not deep: their payer spends the same money elsewhere
TAKEN_BACK_S = (0.1, 2.0)  # afterwards
OK = 200


@dataclass(frozen=True, slots=True)
class Told:
    """A change of a balance, as it came in."""

    watch_id: str
    before: int
    balance: int
    delta: int
    acknowledged: bool
    genuine: bool


class BalanceReceiver(WebhookReceiver):
    """A backend that is told of balances alone."""

    def __init__(self) -> None:
        super().__init__()
        self.told: list[Told] = []

    def _noted(self, request: web.Request, body: bytes, *, acknowledged: bool, skews: Sequence[int]) -> ReceivedWebhook:
        event: dict[str, Any] = orjson.loads(body)
        genuine = verify_amn(body, request.headers.get("x-amn-signature", ""), SECRET)
        numbers = (int(event[name]) for name in ("previousBalance", "currentBalance", "delta"))
        self.told.append(Told(event["watchId"], *numbers, acknowledged, genuine))
        return ReceivedWebhook(event["eventId"], event["watchId"], event["eventType"], "", 0, acknowledged, genuine)


class Watchers:
    """Every balance watch of a run. Open with `watching`."""

    def __init__(self, supervisor: Any, receiver: BalanceReceiver, book: Book, plan: Plan) -> None:
        self._supervisor = supervisor
        self._receiver = receiver
        self._book = book
        self._rng = random.Random(f"watches of {plan.seed}")
        self._span_s = plan.span_s
        self._addresses: dict[str, str] = {}  # by watch
        self.task: asyncio.Task[None]  # that registers and disturbs
        self.safe = are_balances_safe(plan)
        moves = plan.family != "evm" or any(purchase.kind == MOVED for purchase in plan.purchases)
        # That a deposit may be when it is taken back.
        self._deepest = 0 if moves else deepest_reorg(plan.confirmations, plan.guards)

    async def done(self) -> None:
        """Wait until every watch is registered, and the receiver is a good one from now on."""
        await self.task

    async def watch(self, addresses: Sequence[str]) -> None:
        """Register a watch on some of these, each at a moment of its own, and be a bad receiver meanwhile."""
        chosen = self._rng.sample(list(addresses), k=min(len(addresses), self._rng.randint(1, MOST)))
        moments = [(self._rng.uniform(0, self._span_s * 0.7), self._rng.random() < 0.5) for _ in chosen]
        async with asyncio.TaskGroup() as tasks:
            for number, (address, (at, empty)) in enumerate(zip(chosen, moments, strict=True)):
                tasks.create_task(self._register(f"watch-{self._book.chain_id}-{number}", address, at, empty=empty))
            treasury = f"treasury-{self._book.chain_id}"
            tasks.create_task(self._register(treasury, self._book.treasury, 0.0, empty=True))
            tasks.create_task(self._deposit())
            tasks.create_task(self._disturb())

    async def _deposit(self) -> None:
        """Pay the treasury, and spend some of what it was paid a second time."""
        began = asyncio.get_running_loop().time()
        while asyncio.get_running_loop().time() < began + self._span_s:
            await asyncio.sleep(self._rng.uniform(*DEPOSITS_S))
            await self._book.deposit(self._rng.randint(1, 10**9))
            if self._deepest and self._rng.random() < TAKEN_BACK:
                await asyncio.sleep(self._rng.uniform(*TAKEN_BACK_S))
                await self._book.take_back(self._deepest)

    async def _register(self, watch_id: str, address: str, at: float, *, empty: bool) -> None:
        await asyncio.sleep(at)
        body = {
            "watchId": watch_id,
            "chainId": self._book.chain_id,
            "address": address,
            "tokenAddress": self._book.token,
        }
        body |= {"callbackUrl": self._receiver.url, "callbackSecret": SECRET}
        if empty:
            body["baselineBalance"] = "0"
        status, answer = await self._call("POST", "/balance-watches", body)
        assert status == OK, answer
        self._addresses[watch_id] = address

    async def _disturb(self) -> None:
        for _ in range(int(self._span_s / FAULT_EVERY_S)):
            kind = self._rng.choice(FAULTS)
            await self._receiver.begin(kind)
            await asyncio.sleep(FAULT_EVERY_S)
            await self._receiver.end(kind)

    async def _call(self, method: str, path: str, body: Any = None) -> tuple[int, Any]:
        return await call_until_answered(self._supervisor, lambda api: api.call(method, path, body))

    async def judged(self) -> list[str]:
        """Wait until every balance is told, and return what is not, or is wrong."""
        shown: dict[str, int] = {}
        for _ in range(int(SETTLED_S / LOOK_S)):
            for watch_id in self._addresses:
                _, answer = await self._call("GET", f"/balance-watches/{watch_id}")
                shown[watch_id] = int(answer["watch"]["currentBalance"])
            if shown == self._balances():
                break
            await asyncio.sleep(LOOK_S)
        return [*self._missed(shown), *self._wrong()]

    def _balances(self) -> dict[str, int]:
        return {watch_id: self._book.balance(address) for watch_id, address in self._addresses.items()}

    def _missed(self, shown: dict[str, int]) -> list[str]:
        found = []
        for watch_id, balance in self._balances().items():
            if shown[watch_id] != balance:
                found.append(f"missed: {watch_id} shows a balance of {shown[watch_id]}, the chain {balance}")
            taken = [told for told in self._receiver.told if told.watch_id == watch_id and told.acknowledged]
            if taken and taken[-1].balance != balance:
                found.append(f"missed: {watch_id} was told a balance of {taken[-1].balance} last, it is {balance}")
        return found

    def _wrong(self) -> list[str]:
        found = []
        for told in self._receiver.told:
            if not told.genuine or told.balance - told.before != told.delta or not told.delta:
                found.append(f"invented: {told}")
            elif self.safe and told.delta < 0:
                found.append(f"invented: {told}, and nobody spends")
            elif self.safe and told.balance not in self._book.balances(self._addresses[told.watch_id]):
                found.append(f"invented: {told}, and the chain never had that balance at such a depth")
        return found


@asynccontextmanager
async def watching(supervisor: Any, plan: Plan, env: Any) -> AsyncIterator[Watchers]:
    """Watch some of the addresses of a plan; `env` knows which they are."""
    async with BalanceReceiver() as receiver:
        watchers = Watchers(supervisor, receiver, book_of(env), plan)
        wanted = [p for p in plan.purchases if p.rail == "direct" and p.kind in WATCHED]
        addresses = [env.body(purchase, purchase.number)["destination"] for purchase in wanted]
        watchers.task = asyncio.create_task(watchers.watch(addresses), name="watchers")
        try:
            yield watchers
        finally:
            watchers.task.cancel()
            await asyncio.wait([watchers.task])
