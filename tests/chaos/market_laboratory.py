"""The course of one run with the marketplace: the planned faults are injected and ended, and the outcome collected."""

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
from tests.chaos import rpc_faults
from tests.chaos.facts import Coin, UnmatchedRow
from tests.chaos.faulty_link import FaultyLink
from tests.chaos.market_audit import MarketAudit
from tests.chaos.market_chain import MarketChainController
from tests.chaos.market_facts import CreditedRow, LedgerLine, MarketOutcome, Payout, RecoveryRow, ShownPayment
from tests.chaos.market_listing import rows_of
from tests.chaos.market_plan import MarketPlan, PlannedMarketFault
from tests.chaos.market_scenarios import MarketScenarios
from tests.chaos.rpc_faults import Endpoint
from tests.chaos.shoppers import call_until_answered
from tests.chaos.supervisor import Marketplace, Supervisor
from tests.harness import USDT

TTL_H = 12.0  # the clock of the chain may run ahead by hours
TTL_JUMP_S = 12 * 3600 + 60
WATCH_JUMP_S = 310  # then every watch is due
WATCH_EVERY_S = 10
SUMMARY_JUMP_S = 3_660  # then the hourly summaries are due
HOUR_S = 3600
NOTICE_S = 60
SCENARIOS_S = 900  # a loaded machine takes its time
IDLE_S = 240
WEBHOOK = "/api/payment/amn-scanner/webhook"


@dataclass(slots=True)
class MarketLaboratory:
    """The parts of one run, wired together."""

    plan: MarketPlan
    controller: MarketChainController
    nodes: list[Endpoint]
    scanner: Supervisor
    marketplace: Marketplace
    hooks: FaultyLink
    calls: FaultyLink
    run: Run
    scenarios: MarketScenarios
    audit: MarketAudit
    earlier: list[tuple[LedgerLine, ...]] = field(default_factory=list)
    anomalies: list[str] = field(default_factory=list)

    async def play(self) -> LevelResult:
        """Play the plan; return when every fault is over and every scenario done."""
        async with asyncio.timeout(SCENARIOS_S + self.plan.span_s), asyncio.TaskGroup() as group:
            level = group.create_task(self.run.level(len(self.plan.scenarios)))
            await self._inject_all()
            await self._healed()
            while not level.done():  # a watch is looked at every five minutes, and somebody may wait for one
                await self.jump(WATCH_JUMP_S)
                await asyncio.wait([level], timeout=WATCH_EVERY_S)
        return level.result()

    async def _inject_all(self) -> None:
        await self.scenarios.may_end.wait()
        if any(planned.kind == "expired" for planned in self.plan.scenarios):
            await self.jump(TTL_JUMP_S)
        self.scenarios.begun.set()
        began = time.monotonic()

        async def inject(one: PlannedMarketFault) -> None:
            await asyncio.sleep(max(0.0, began + one.at - time.monotonic()))
            await self._inject(one)

        async with asyncio.TaskGroup() as group:
            for one in self.plan.faults:
                group.create_task(inject(one))

    async def _healed(self) -> None:
        """Nothing is wrong any more."""
        for node in self.nodes:
            node.heal()
        await self.hooks.wait_for_replays()
        await self.controller.all_back()
        await self.controller.mine(self.plan.confirmations + 2)
        self.scenarios.settled.set()
        if not self.plan.patient:
            self.scanner.terminate()
            self.marketplace.terminate()

    async def jump(self, seconds: int) -> None:
        """Let time pass for everybody: both daemons and the chain."""
        await self.scanner.advance_clocks(seconds)
        await self.marketplace.advance_clocks(seconds)
        await self.controller.jump(seconds, self.plan.confirmations + 1)

    async def _inject(self, one: PlannedMarketFault) -> None:
        match one.area:
            case "rpc":
                async with AsyncExitStack() as faults:
                    for place, node in enumerate(self.nodes):
                        if one.size >> place & 1:
                            chain = self.controller.chain
                            await faults.enter_async_context(rpc_faults.inject_fault(node, one.kind, chain, one.method))
                    await asyncio.sleep(one.seconds)
            case "chain":
                await self.controller.reorg(one.size, one.kind)
            case "hooks" | "calls":
                link = self.hooks if one.area == "hooks" else self.calls
                link.active_faults.append(one.kind)
                await asyncio.sleep(one.seconds)
                link.active_faults.remove(one.kind)
            case "clock":
                self.scanner.skew(one.size)
            case "forged":
                await self._forge()
            case "scanner" | "marketplace":
                self.earlier.append(await self.audit.ledger())
                injected: Marketplace = self.scanner if one.area == "scanner" else self.marketplace
                await injected.inject(one.kind, one.seconds, one.size)

    async def _forge(self) -> None:
        """Say that everything is paid, without the secret."""
        for opened in list(self.scenarios.opened.values()):
            message: dict[str, Any] = {
                "eventId": f"evt_forged_{opened.payment_id}",
                "eventType": "payment.confirmed",
                "status": "confirmed",
            }
            message |= {"intentId": opened.payment_id, "chainId": CHAIN_ID, "token": USDT, "amount": str(opened.price)}
            body = orjson.dumps(message | {"txHash": "0x" + "f0" * 32, "confirmations": 99})
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
                    self.anomalies.append(f"a forged webhook was answered {status}")

    async def check_restart(self) -> None:
        """Let the summaries be sent; start both again, and see that nothing is done a second time."""
        await self._until_idle()  # what is summed up for an hour has to be known before the hour
        await self.jump(SUMMARY_JUMP_S)
        await self._until_idle()
        await self._told_of()
        await self._until_idle()
        before = set(await self.audit.recorded_effects())
        for each in (self.scanner.terminate, self.marketplace.terminate):
            each()
        await self._until_idle()
        if changed := set(await self.audit.recorded_effects()) ^ before:
            self.anomalies.append(f"a restart at rest changed {changed}")

    async def _until_idle(self) -> None:
        """Wait until the scanner has read everything and delivered everything, and the marketplace has no command left."""
        seen: set[str] = set()
        state: Any = None
        try:
            async with asyncio.timeout(IDLE_S):
                while len(seen) < 3:
                    await asyncio.sleep(0.3)
                    height = await self.controller.chain.height()
                    _, answer = await call_until_answered(self.scanner, lambda api: api.call("GET", "/scanner/status"))
                    state = answer["chains"][0], await self.audit.pending_commands()
                    rests = state[0]["lastError"] is None and state[0]["undeliveredWebhooks"] == 0 and not state[1]
                    if rests and state[0]["lastSuccessAt"] and (state[0]["lastScannedBlock"] or 0) >= height - 2:
                        seen.add(state[0]["lastSuccessAt"])
        except TimeoutError:
            self.anomalies.append(f"it never came to rest: {state}")

    async def _told_of(self) -> None:
        """Wait until nothing is kept back, and all coin is listed that was sent: a balance is read now and then."""
        sent = Counter({coin.destination: coin.amount for coin in await self._coins()})
        direct = {each.destination for each in self.scenarios.opened.values() if each.reference is None}
        watched = direct - {each.destination for each in self.scenarios.opened.values() if each.is_balance}
        sent.update(
            dict.fromkeys(watched & self.controller.gassed, 1)
        )  # how much of it is left when it is read, it depends
        with suppress(TimeoutError):  # the judge will say what is missing
            async with asyncio.timeout(NOTICE_S):
                while sent - await self.audit.coin() or await self._kept_back():  # noqa: ASYNC110 - nor has an operator an event
                    await asyncio.sleep(0.3)

    async def _kept_back(self) -> int:
        return await self.audit.withheld(self.scanner.store, int((time.time() + self.controller.passed_s) * 1000))

    async def _coins(self) -> tuple[Coin, ...]:
        wanted = {each.destination for each in self.scenarios.opened.values()} - self.controller.gassed
        return await self.controller.coins(wanted, 0)

    async def _unmatched(self) -> tuple[UnmatchedRow, ...]:
        found: list[dict[str, Any]] = []
        cursor = ""
        while True:
            path = f"/unmatched?limit=100{cursor}"
            status, answer = await call_until_answered(self.scanner, lambda api, path=path: api.call("GET", path))  # type: ignore[misc]
            assert status == 200, answer
            found += answer["unmatched"]
            if answer["nextCursor"] is None:
                return rows_of(found)
            cursor = f"&cursor={answer['nextCursor']}"

    async def outcome(self, level: LevelResult) -> MarketOutcome:
        """Collect what the chain says, what the API shows, and what the ledger holds."""
        opened = tuple(self.scenarios.opened.values())
        unmatched = await self._unmatched()
        payments = await self.audit.pages("/api/payment/history?role=all", "payments")
        recoveries = await self.audit.pages("/api/admin/recoveries?", "recoveries")
        reconciliation = await self.audit.admin("/api/admin/reconciliation")
        credited = await self.audit.select("SELECT tx_hash, event_key, payment_id FROM credited_transfers")
        await self.scanner.stop()
        await self.marketplace.stop()
        self.anomalies += [*self.scanner.anomalies, *self.marketplace.anomalies]
        await self.scanner.check()
        destinations = {each.destination for each in opened}
        transfers = await self.controller.transfers(destinations, 0)
        return MarketOutcome(
            opened=opened,
            transfers=transfers,
            sent=frozenset(self.controller.sent),
            gassed=frozenset(self.controller.gassed),
            balances={each: await self.controller.chain.balance(USDT, each) for each in destinations},
            payments=tuple(ShownPayment.of(each) for each in payments if each["direction"] == "in"),
            ledger=await self.audit.ledger(),
            earlier=tuple(self.earlier),
            credits=tuple(CreditedRow(*row) for row in credited),
            recoveries=tuple(RecoveryRow.of(each) for each in recoveries),
            payouts=tuple(
                Payout(each["settlesPaymentId"], int(each["amountBaseUnits"]))
                for each in payments
                if each["direction"] != "in" and each["status"] == "completed"
            ),
            unmatched=unmatched,
            coins=await self._coins(),
            listed=frozenset(wallet.lower() for wallet in self.controller.listed),
            notices=await self.audit.notices(),
            events=await self.audit.events(),
            hours=1 + self.controller.passed_s // HOUR_S,
            reconciliation=reconciliation,
            unfinished=tuple(self._unfinished(level)),
            anomalies=(*self.anomalies, *(f"{each.kind}: {each.detail}" for each in level.findings)),
        )

    def _unfinished(self, level: LevelResult) -> list[str]:
        failed = [(self.plan.scenarios[flow.purchase.worker], flow) for flow in level.flows if flow.failed is not None]
        return [
            f"{planned.kind} by {planned.rail}, payment {flow.purchase.payment_id}: {flow.failed}"
            for planned, flow in failed
        ]
