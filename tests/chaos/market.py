"""One run with the marketplace: both daemons on a troubled chain, whole purchases, judged by the chain and the books."""

from __future__ import annotations

import asyncio
import random
import sqlite3
import time
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager, closing
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import aiohttp
import orjson

from devnet.anvil import CHAIN_ID, anvil
from devnet.processes import ESCROW, XPUB, new_credentials
from devnet.runner.facts import LevelResult
from devnet.runner.level import Run
from devnet.runner.person import Line as Wire
from devnet.runner.person import Person
from devnet.runner.tale import RAILS
from devnet.runner.target import Target
from tests.chaos import endpoints
from tests.chaos.endpoints import Node
from tests.chaos.keeper import Keeper, kept
from tests.chaos.laboratory import SETTINGS, Report
from tests.chaos.market_facts import Credited, Line, MarketOutcome, Payout, Recovery, Shown
from tests.chaos.market_ground import MarketGround, MarketStreet, mining
from tests.chaos.market_judge import judge_market, owed
from tests.chaos.market_plan import MarketPlan, Trouble
from tests.chaos.market_tales import Stories
from tests.chaos.market_way import Way
from tests.chaos.street import persist
from tests.harness import ROOT, USDT, environment, prepared

TTL_H = 12.0  # the clock of the chain may run ahead by hours
TTL_JUMP_S = 12 * 3600 + 60
WATCH_JUMP_S = 310  # then every watch is due
WATCH_EVERY_S = 10
STORIES_S = 400
REST_S = 120
PATIENCE_S = 90.0
PAGE = 100
WEBHOOK = "/api/payment/amn-scanner/webhook"
BUGS = ("failed (request",)


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
    session: aiohttp.ClientSession
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
        self.scanner.skew(self.jumped_s)
        self.marketplace.skew(self.jumped_s)
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
                self.scanner.skew(self.jumped_s + one.size)
            case "forged":
                await self._forge()
            case "scanner" | "marketplace":
                self.earlier.append(self.ledger())
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

    async def _forge(self) -> None:
        """Say that everything is paid, without the secret."""
        for bought in list(self.stories.bought.values()):
            said = {
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
        """Start both again, and see that nothing is done a second time."""
        await self._at_rest()
        before = set(self._done())
        for keeper in (self.scanner, self.marketplace):
            keeper.terminate()
        await self._at_rest()
        if changed := set(self._done()) ^ before:
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
                    state = answer["chains"][0], self._errands()
                    rests = state[0]["lastError"] is None and state[0]["undeliveredWebhooks"] == 0 and not state[1]
                    if rests and state[0]["lastSuccessAt"] and (state[0]["lastScannedBlock"] or 0) >= height - 2:
                        seen.add(state[0]["lastSuccessAt"])
        except TimeoutError:
            self.oddities.append(f"it never came to rest: {state}")

    def _select(self, statement: str) -> list[tuple[Any, ...]]:
        if not self.marketplace.store.exists():
            return []
        with closing(sqlite3.connect(f"file:{self.marketplace.store}?mode=ro", uri=True, timeout=30)) as store:
            return store.execute(statement).fetchall()

    def ledger(self) -> tuple[Line, ...]:
        """Read the books as they are now."""
        lines = "SELECT id, entry_type, payment_id, token_address, amount_base FROM funds_ledger_entries ORDER BY id"
        return tuple(Line(i, e, p, t.lower(), int(a)) for i, e, p, t, a in self._select(lines))

    def _done(self) -> list[tuple[Any, ...]]:
        """Read what was done and told. Native coin to pay out with is noticed in its own time."""
        told = "SELECT type, user_id, related_id, seq FROM notifications WHERE type != 'payment_recovery'"
        credited = "SELECT tx_hash, event_key, payment_id, amount FROM credited_transfers"
        return [*self._select(told), *self._select(credited), *((line,) for line in self.ledger())]

    def _errands(self) -> int:
        return int(self._select("SELECT count(*) FROM scanner_outbox WHERE status = 'pending'")[0][0])

    async def outcome(self, level: LevelResult) -> MarketOutcome:
        """Collect what the chain says, what the API shows, and what the books hold."""
        bought = tuple(self.stories.bought.values())
        payments = await self._pages("/api/payment/history?role=all", "payments")
        recoveries = await self._pages("/api/admin/recoveries?", "recoveries")
        reconciliation = await self._admin("/api/admin/reconciliation")
        credited = self._select("SELECT tx_hash, event_key, payment_id FROM credited_transfers")
        for keeper in (self.scanner, self.marketplace):
            await keeper.stop()
            self.oddities += keeper.oddities
        await self.scanner.check()
        destinations = {each.destination for each in bought}
        movements = await self.ground.movements({d for d in destinations if d != ESCROW.lower()}, 0)
        return MarketOutcome(
            bought=bought,
            movements=movements,
            sent=frozenset(self.ground.sent),
            gassed=frozenset(self.ground.gassed),
            balances={each: await self.ground.chain.balance(USDT, each) for each in destinations},
            payments=tuple(Shown.of(each) for each in payments if each["direction"] == "in"),
            ledger=self.ledger(),
            earlier=tuple(self.earlier),
            credits=tuple(Credited(*row) for row in credited),
            recoveries=tuple(Recovery.of(each) for each in recoveries),
            payouts=tuple(
                Payout(each["settlesPaymentId"], int(each["amountBaseUnits"]))
                for each in payments
                if each["direction"] != "in" and each["status"] == "completed"
            ),
            reconciliation=reconciliation,
            unfinished=tuple(self._unfinished(level)),
            oddities=(*self.oddities, *(f"{each.fault}: {each.detail}" for each in level.findings)),
        )

    def _unfinished(self, level: LevelResult) -> list[str]:
        failed = [(self.plan.stories[flow.deal.worker], flow) for flow in level.flows if flow.failed is not None]
        return [
            f"{story.kind} by {story.rail}, payment {flow.deal.payment_id}: {flow.failed}" for story, flow in failed
        ]

    async def _admin(self, path: str) -> dict[str, Any]:
        target = self.run.target
        wire = Wire(target.marketplace_url, self.session, self.run.fresh_journal(), PATIENCE_S)
        admin = Person(wire, target.admin_email, target.admin_password)
        await admin.login()
        return await admin.ok("read", "GET", path)

    async def _pages(self, path: str, what: str) -> list[dict[str, Any]]:
        found: list[dict[str, Any]] = []
        page, total = 0, 1
        while page * PAGE < total:
            page += 1
            data = await self._admin(f"{path}&limit={PAGE}&page={page}")
            found += data[what]
            total = data["total"]
        return found


@asynccontextmanager
async def _laboratory(plan: MarketPlan, folder: Path) -> AsyncIterator[Laboratory]:
    """Start everything; nothing of it is left behind."""
    who = new_credentials()
    async with AsyncExitStack() as stack:
        enter = stack.enter_async_context
        session = await enter(aiohttp.ClientSession())
        chain = await prepared(await enter(anvil(accounts=1 + 2 * len(plan.stories))))
        ground = MarketGround(chain, random.Random(f"ground of {plan.seed}"))
        await ground.furnish(block_s=plan.block_s, depth=plan.confirmations)
        nodes = [await enter(Node(chain.url)) for _ in range(2)]
        hooks = await enter(Way(lambda: _url(marketplace)))
        calls = await enter(Way(lambda: _url(scanner)))
        registry = _registry(folder, plan.confirmations)
        watching = environment(folder, ",".join(node.url for node in nodes), CHAINS_JSON_PATH=str(registry))
        watching |= SETTINGS | {"BALANCE_WATCH_TICK_SEC": "1"}
        scanner = await enter(kept(folder, watching, session, port="PORT"))
        trading = {
            "MARKETPLACE_PORT": "0",
            "MARKETPLACE_DB_PATH": str(folder / "marketplace.db"),
            "MARKETPLACE_PUBLIC_URL": hooks.url,
            "MARKETPLACE_JWT_SECRET": who.jwt_secret,
            "MARKETPLACE_ADMIN_EMAIL": who.admin_email,
            "MARKETPLACE_ADMIN_PASSWORD": who.admin_password,
            "MARKETPLACE_XPUB": XPUB,
            "MARKETPLACE_ESCROW_ADDRESSES": orjson.dumps({str(CHAIN_ID): [ESCROW]}).decode(),
            "MARKETPLACE_RATE_LIMITS": "login=off,payment=off,all=off",
            "MARKETPLACE_SWEEP_SEC": "1",
            "PAYMENT_TTL_HOURS": str(TTL_H),
            "AMN_SCANNER_URL": calls.url,
            "AMN_SCANNER_TIMEOUT_SEC": "3",
            "AMN_SCANNER_WEBHOOK_SECRET": who.hook_secret,
            "CHAINS_JSON_PATH": str(registry),
            "TOKENS_JSON_PATH": str(ROOT / "tokens.json"),
        }
        marketplace = await enter(
            kept(folder, trading, session, module="marketplace", port="MARKETPLACE_PORT", bugs=BUGS)
        )
        target = Target(
            marketplace_url=await _up(marketplace),
            scanner_url=await _up(scanner),
            scanner_key="",
            admin_email=who.admin_email,
            admin_password=who.admin_password,
            patience_s=PATIENCE_S,
        )
        await enter(mining(ground))
        stories = Stories(plan.stories, ground)
        run = Run(
            target=target,
            street=MarketStreet(ground),
            rails=[RAILS[story.rail] for story in plan.stories],
            say=lambda _: None,
            steps_of=stories.steps_of,
        )
        yield Laboratory(plan, ground, nodes, scanner, marketplace, hooks, calls, run, stories, session)


def _registry(folder: Path, confirmations: int) -> Path:
    """Write a registry of both daemons in which the chain is as deep as the plan says."""
    chains = orjson.loads((ROOT / "supported-chains.json").read_bytes())
    deep = {"confirmationThreshold": confirmations}
    registry = folder / "chains.json"
    registry.write_bytes(orjson.dumps([chain | (deep if chain["chainId"] == CHAIN_ID else {}) for chain in chains]))
    return registry


def _url(keeper: Keeper) -> str | None:
    return None if keeper.api is None else keeper.api.url


async def _up(keeper: Keeper) -> str:
    await persist(keeper, lambda api: api.call("GET", "/health"))
    assert keeper.api is not None
    return keeper.api.url


async def market_experiment(plan: MarketPlan, folder: Path) -> Report:
    """Run a plan in a folder of its own and judge it."""
    began = time.monotonic()
    async with _laboratory(plan, folder) as lab:
        level = await lab.play()
        await lab.rested()
        outcome = await lab.outcome(level)
    paid = [owed(bought, outcome.movements).received is not None for bought in outcome.bought]
    return Report(
        seed=plan.seed,
        family="market",
        payments=lab.ground.payments,
        settled=sum(paid),
        faults=plan.faults,
        verdict=judge_market(outcome),
        deaths=(*lab.scanner.deaths, *lab.marketplace.deaths),
        log=(
            *(f"{bought}\n" for bought in outcome.bought),
            *(f"{movement}\n" for movement in sorted(outcome.movements)),
            *(f"{row}\n" for row in outcome.recoveries),
            *lab.scanner.said,
            "=== marketplace\n",
            *lab.marketplace.said,
        ),
        seconds=time.monotonic() - began,
    )
