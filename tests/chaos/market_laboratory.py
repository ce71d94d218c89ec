"""The course of one run with the marketplace: troubled as planned, healed, left to itself, and collected."""

from __future__ import annotations

import asyncio
import time
from collections import Counter
from contextlib import AsyncExitStack, suppress
from dataclasses import dataclass, field
from typing import Any

import aiohttp
import orjson

from devnet.evm.anvil import CHAIN_ID
from devnet.runner.facts import LevelResult
from devnet.runner.level import Run
from tests.chaos import endpoints
from tests.chaos.endpoints import Node
from tests.chaos.facts import Coin, Row
from tests.chaos.keeper import Keeper
from tests.chaos.market_books import Books
from tests.chaos.market_facts import Credited, Line, MarketOutcome, Payout, Recovery, Shown
from tests.chaos.market_ground import MarketGround
from tests.chaos.market_listing import rows_of
from tests.chaos.market_plan import MarketPlan, Trouble
from tests.chaos.market_tales import Stories
from tests.chaos.market_way import Way
from tests.chaos.street import persist
from tests.harness import USDT

TTL_H = 12.0  # the clock of the chain may run ahead by hours
TTL_JUMP_S = 12 * 3600 + 60
WATCH_JUMP_S = 310  # then every watch is due
WATCH_EVERY_S = 10
TOLD_JUMP_S = 3_660  # then what is told together is due
HOUR_S = 3600
NOTICE_S = 60
STORIES_S = 900  # a loaded machine takes its time
REST_S = 240
WEBHOOK = "/api/payment/amn-scanner/webhook"


@dataclass(slots=True)
class Laboratory:
    """The parts of one run, wired together."""

    plan: MarketPlan
    ground: MarketGround
    nodes: list[Node]
    scanner: Keeper
    marketplace: Keeper
    hooks: Way
    calls: Way
    run: Run
    stories: Stories
    books: Books
    earlier: list[tuple[Line, ...]] = field(default_factory=list)
    oddities: list[str] = field(default_factory=list)
    jumped_s: int = 0

    async def play(self) -> LevelResult:
        """Play the plan; return when every trouble is over and every story told."""
        async with asyncio.timeout(STORIES_S + self.plan.span_s), asyncio.TaskGroup() as group:
            level = group.create_task(self.run.level(len(self.plan.stories)))
            await self._troubled()
            await self._healed()
            while not level.done():  # a watch is looked at every five minutes, and somebody may wait for one
                await self.jump(WATCH_JUMP_S)
                await asyncio.wait([level], timeout=WATCH_EVERY_S)
        return level.result()

    async def _troubled(self) -> None:
        await self.stories.may_end.wait()
        if any(story.kind == "expired" for story in self.plan.stories):
            await self.jump(TTL_JUMP_S)
        self.stories.begun.set()
        began = time.monotonic()

        async def inflict(one: Trouble) -> None:
            await asyncio.sleep(max(0.0, began + one.at - time.monotonic()))
            await self._inflict(one)

        async with asyncio.TaskGroup() as group:
            for one in self.plan.troubles:
                group.create_task(inflict(one))

    async def _healed(self) -> None:
        """Nothing is wrong any more."""
        for node in self.nodes:
            node.heal()
        await self.hooks.quiet()
        await self.ground.all_back()
        await self.ground.mine(self.plan.confirmations + 2)
        self.stories.settled.set()
        if not self.plan.patient:
            self.scanner.terminate()
            self.marketplace.terminate()

    async def jump(self, seconds: int) -> None:
        """Let time pass for everybody: both daemons and the chain."""
        self.jumped_s += seconds
        self.scanner.let_pass(seconds)
        self.marketplace.let_pass(seconds)
        await self.ground.jump(seconds, self.plan.confirmations + 1)

    async def _inflict(self, one: Trouble) -> None:
        match one.area:
            case "rpc":
                async with AsyncExitStack() as faults:
                    for place, node in enumerate(self.nodes):
                        if one.size >> place & 1:
                            chain = self.ground.chain
                            await faults.enter_async_context(endpoints.trouble(node, one.kind, chain, one.method))
                    await asyncio.sleep(one.seconds)
            case "chain":
                await self.ground.reorg(one.size, one.kind)
            case "hooks" | "calls":
                way = self.hooks if one.area == "hooks" else self.calls
                way.troubles.append(one.kind)
                await asyncio.sleep(one.seconds)
                way.troubles.remove(one.kind)
            case "clock":
                self.scanner.skew(one.size)
            case "forged":
                await self._forge()
            case "scanner" | "marketplace":
                self.earlier.append(self.books.ledger())
                await self._disturb(self.scanner if one.area == "scanner" else self.marketplace, one)

    async def _disturb(self, keeper: Keeper, one: Trouble) -> None:
        match one.kind:
            case "kill":
                keeper.kill()
            case "terminate":
                keeper.terminate()
            case "second":
                await keeper.second()
            case "locked":
                async with keeper.locked():
                    await asyncio.sleep(one.seconds)
            case "disk_full":
                async with keeper.full_disk():
                    await asyncio.sleep(one.seconds)
            case _:
                raise AssertionError(f"nobody knows how to do {one}")

    async def _forge(self) -> None:
        """Say that everything is paid, without the secret."""
        for bought in list(self.stories.bought.values()):
            said: dict[str, Any] = {
                "eventId": f"evt_forged_{bought.payment_id}",
                "eventType": "payment.confirmed",
                "status": "confirmed",
            }
            said |= {"intentId": bought.payment_id, "chainId": CHAIN_ID, "token": USDT, "amount": str(bought.price)}
            body = orjson.dumps(said | {"txHash": "0x" + "f0" * 32, "confirmations": 99})
            for headers in ({}, {"X-AMN-Signature": "0" * 64}):
                api = self.marketplace.api
                if api is None:
                    return
                try:
                    async with asyncio.timeout(8):
                        status, _ = await api.call("POST", WEBHOOK, body, headers=headers)
                except (aiohttp.ClientError, TimeoutError):
                    return
                if status < 400:
                    self.oddities.append(f"a forged webhook was answered {status}")

    async def rested(self) -> None:
        """Let what is told together be told; start both again, and see that nothing is done a second time."""
        await self.jump(TOLD_JUMP_S)
        await self._at_rest()
        await self._told_of()
        await self._at_rest()
        before = set(self.books.done())
        for keeper in (self.scanner, self.marketplace):
            keeper.terminate()
        await self._at_rest()
        if changed := set(self.books.done()) ^ before:
            self.oddities.append(f"a restart at rest changed {changed}")

    async def _at_rest(self) -> None:
        """Wait until the scanner has read everything and told everything, and the marketplace has no errand left."""
        seen: set[str] = set()
        state: Any = None
        try:
            async with asyncio.timeout(REST_S):
                while len(seen) < 3:
                    await asyncio.sleep(0.3)
                    height = await self.ground.chain.height()
                    _, answer = await persist(self.scanner, lambda api: api.call("GET", "/scanner/status"))
                    state = answer["chains"][0], self.books.errands()
                    rests = state[0]["lastError"] is None and state[0]["undeliveredWebhooks"] == 0 and not state[1]
                    if rests and state[0]["lastSuccessAt"] and (state[0]["lastScannedBlock"] or 0) >= height - 2:
                        seen.add(state[0]["lastSuccessAt"])
        except TimeoutError:
            self.oddities.append(f"it never came to rest: {state}")

    async def _told_of(self) -> None:
        """Wait until nothing is kept back, and all coin is listed that was sent: a balance is read now and then."""
        sent = Counter({coin.destination: coin.amount for coin in await self._coins()})
        direct = {each.destination for each in self.stories.bought.values() if each.reference is None}
        watched = direct - {each.destination for each in self.stories.bought.values() if each.is_balance}
        sent.update(
            dict.fromkeys(watched & self.ground.gassed, 1)
        )  # how much of it is left when it is read, it depends
        with suppress(TimeoutError):  # the judge will say what is missing
            async with asyncio.timeout(NOTICE_S):
                while sent - self.books.coin() or self._kept_back():  # noqa: ASYNC110 - nor has an operator an event
                    await asyncio.sleep(0.3)

    def _kept_back(self) -> int:
        return self.books.kept_back(self.scanner.store, int((time.time() + self.jumped_s) * 1000))

    async def _coins(self) -> tuple[Coin, ...]:
        wanted = {each.destination for each in self.stories.bought.values()} - self.ground.gassed
        return await self.ground.coins(wanted, 0)

    async def _unmatched(self) -> tuple[Row, ...]:
        found: list[dict[str, Any]] = []
        cursor = ""
        while True:
            path = f"/unmatched?limit=100{cursor}"
            status, answer = await persist(self.scanner, lambda api, path=path: api.call("GET", path))  # type: ignore[misc]
            assert status == 200, answer
            found += answer["unmatched"]
            if answer["nextCursor"] is None:
                return rows_of(found)
            cursor = f"&cursor={answer['nextCursor']}"

    async def outcome(self, level: LevelResult) -> MarketOutcome:
        """Collect what the chain says, what the API shows, and what the books hold."""
        bought = tuple(self.stories.bought.values())
        unmatched = await self._unmatched()
        payments = await self.books.pages("/api/payment/history?role=all", "payments")
        recoveries = await self.books.pages("/api/admin/recoveries?", "recoveries")
        reconciliation = await self.books.admin("/api/admin/reconciliation")
        credited = self.books.select("SELECT tx_hash, event_key, payment_id FROM credited_transfers")
        for keeper in (self.scanner, self.marketplace):
            await keeper.stop()
            self.oddities += keeper.oddities
        await self.scanner.check()
        destinations = {each.destination for each in bought}
        movements = await self.ground.movements(destinations, 0)
        return MarketOutcome(
            bought=bought,
            movements=movements,
            sent=frozenset(self.ground.sent),
            gassed=frozenset(self.ground.gassed),
            balances={each: await self.ground.chain.balance(USDT, each) for each in destinations},
            payments=tuple(Shown.of(each) for each in payments if each["direction"] == "in"),
            ledger=self.books.ledger(),
            earlier=tuple(self.earlier),
            credits=tuple(Credited(*row) for row in credited),
            recoveries=tuple(Recovery.of(each) for each in recoveries),
            payouts=tuple(
                Payout(each["settlesPaymentId"], int(each["amountBaseUnits"]))
                for each in payments
                if each["direction"] != "in" and each["status"] == "completed"
            ),
            unmatched=unmatched,
            coins=await self._coins(),
            listed=frozenset(wallet.lower() for wallet in self.ground.listed),
            notices=self.books.notices(),
            events=self.books.events(),
            hours=1 + self.jumped_s // HOUR_S,
            reconciliation=reconciliation,
            unfinished=tuple(self._unfinished(level)),
            oddities=(*self.oddities, *(f"{each.fault}: {each.detail}" for each in level.findings)),
        )

    def _unfinished(self, level: LevelResult) -> list[str]:
        failed = [(self.plan.stories[flow.deal.worker], flow) for flow in level.flows if flow.failed is not None]
        return [
            f"{story.kind} by {story.rail}, payment {flow.deal.payment_id}: {flow.failed}" for story, flow in failed
        ]
