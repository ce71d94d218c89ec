"""One seed of both services: the laboratory's marketplace plan, played on virtual time, and judged by its judge."""

from __future__ import annotations

import asyncio
import functools
import random
import tempfile
from collections.abc import AsyncIterator, Mapping
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import aiohttp

from devnet.evm.anvil import CHAIN_ID
from devnet.price_publisher import host_ms, off_peg, publishing
from devnet.processes import new_credentials
from devnet.runner.level import Run
from devnet.runner.scenario import PAYMENT_METHODS, Scenario
from devnet.runner.stories import Step
from devnet.runner.target import Target
from marketplace.app import open_marketplace
from marketplace.identity.passwords import Passwords
from marketplace.settings import load_settings
from marketplace.store import maintenance
from marketplace.store.migrate import migrate
from tests.chaos.facts import Verdict
from tests.chaos.faulty_link import FaultyLink
from tests.chaos.laboratory import SETTINGS
from tests.chaos.market import MAX_DOWNTIME_S, QUOTE_TTL_S, WALLETS, _registry, _sanctions, _trading, _up, _url
from tests.chaos.market_audit import MarketAudit, of_file
from tests.chaos.market_chain import MarketChainController, mining
from tests.chaos.market_expected import expected_settlement, order_of
from tests.chaos.market_judge import judge_market
from tests.chaos.market_laboratory import MarketLaboratory
from tests.chaos.market_plan import MarketPlan
from tests.chaos.market_scenarios import SCREENED, MarketScenarios
from tests.chaos.schedule import EPOCH
from tests.harness import empty_store, environment
from tests.simulation.evm_environment import LedgerEndpoint
from tests.simulation.evm_ledger import EvmLedger
from tests.simulation.invariants import Invariants, JudgedChain
from tests.simulation.loop import SimLoop
from tests.simulation.market_chain import SimMarketActor
from tests.simulation.market_invariants import MarketInvariants
from tests.simulation.market_node import market_node
from tests.simulation.supervisor import SCANNER, Program, supervised

BUGS = ("failed (request", "Traceback")


def _store_of(env: Mapping[str, str]) -> tuple[Any, Path, Any]:
    settings = load_settings(env)
    return maintenance.KIND, settings.db_path, settings.sealing


MARKETPLACE = Program(
    "marketplace",
    lambda env: open_marketplace(load_settings(env)),
    _store_of,
    BUGS,
    port="MARKETPLACE_PORT",
    described=False,
)


@functools.cache
def empty_books() -> bytes:
    """Return a store of the marketplace with nothing in it."""
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "marketplace.db"
        migrate(path)
        return path.read_bytes()


def make_cheap() -> None:
    """A password's hash is work that finds nothing here: it is made as cheap as it can be."""
    Passwords.__init__.__kwdefaults__.update(memory_kib=8, passes=1)
    empty_books()


@asynccontextmanager
async def market_laboratory(
    plan: MarketPlan, folder: Path, cadences: Mapping[str, str], *, raised: int = 0
) -> AsyncIterator[MarketLaboratory]:
    """
    Start everything; as the laboratory does with real processes.

    With `raised`, an admin asks for so many confirmations more than the chain's floor.
    """
    (folder / "scanner.db").write_bytes(empty_store())
    (folder / "marketplace.db").write_bytes(empty_books())
    who = new_credentials()
    async with AsyncExitStack() as stack:
        enter = stack.enter_async_context
        session = await enter(aiohttp.ClientSession())
        listed = sum(planned.kind in SCREENED for planned in plan.scenarios)
        hashes = random.Random(f"hashes of {plan.seed}")
        chain = market_node(hashes, accounts=1 + listed + WALLETS * len(plan.scenarios), epoch=EPOCH)
        controller = MarketChainController(chain, random.Random(f"ground of {plan.seed}"), listed=listed)
        await controller.fund_wallets(depth=plan.confirmations)
        nodes = [await enter(LedgerEndpoint(chain.ledger)) for _ in range(2)]
        hooks = await enter(FaultyLink(lambda: _url(marketplace)))
        calls = await enter(FaultyLink(lambda: _url(scanner)))
        registry = _registry(folder, plan.confirmations)
        watching = environment(folder, ",".join(node.url for node in nodes), CHAINS_JSON_PATH=str(registry))
        watching |= SETTINGS | {"BALANCE_WATCH_TICK_SEC": "1"} | cadences
        scanner = await enter(supervised(folder, watching, session, plan.seed, replace(SCANNER, port="PORT")))
        trading = _trading(folder, who, registry, hooks=hooks.url, calls=calls.url)
        prices = await enter(publishing(lambda: host_ms() + controller.passed_s * 1000, prices=off_peg()))
        trading |= prices.settings | {"ORACLE_QUOTE_TTL_S": str(QUOTE_TTL_S)}
        trading["OFAC_SDN_PATH"] = str(_sanctions(folder, controller.listed))
        marketplace = await enter(supervised(folder, trading, session, plan.seed, MARKETPLACE))
        people = await _up(marketplace)
        target = Target(
            marketplace_url=people,
            scanner_url=await _up(scanner),
            scanner_key="",
            admin_email=who.admin_email,
            admin_password=who.admin_password,
            max_downtime_s=MAX_DOWNTIME_S,
        )
        await enter(mining(controller))
        scenarios = MarketScenarios(plan.scenarios, controller)
        audit = MarketAudit(of_file(marketplace.store), target, session)
        if raised:
            wanted = {"chainId": CHAIN_ID, "confirmations": plan.confirmations + raised}
            await audit.admin("/api/admin/settings/confirmation-thresholds", "PUT", {"thresholds": [wanted]})
        run = Run(
            target=target,
            chain_actor=SimMarketActor(controller),
            rails=[PAYMENT_METHODS[planned.rail] for planned in plan.scenarios],
            log=lambda _: None,
            steps_of=lambda scenario: [_noted(scenario, step) for step in scenarios.steps_of(scenario)],
        )
        yield MarketLaboratory(plan, controller, nodes, scanner, marketplace, hooks, calls, run, scenarios, audit)


def _noted(scenario: Scenario, step: Step) -> Step:
    """Let it be told when a buyer takes a step."""
    name = getattr(step, "__name__", repr(step))

    async def noted(told: Scenario) -> None:
        asyncio.get_running_loop().note(f"scenario {scenario.purchase.worker}: {name}")  # type: ignore[attr-defined]
        await step(told)

    noted.__name__ = name
    return noted


@dataclass(frozen=True, slots=True)
class JudgedMarket:
    """What a run came to."""

    verdict: Verdict
    paid: int  # payments, as the chain says


async def judged_market(laboratory: MarketLaboratory) -> JudgedMarket:
    """Play a plan, and judge what came of it."""
    level = await laboratory.play()
    await laboratory.check_restart()
    outcome = await laboratory.outcome(level)
    await laboratory.marketplace.check()  # type: ignore[attr-defined]
    settlements = [expected_settlement(each, outcome.transfers, outcome.listed) for each in outcome.opened]
    return JudgedMarket(judge_market(outcome), sum(each.received is not None for each in settlements))


def watched(laboratory: MarketLaboratory, loop: SimLoop, folder: Path) -> tuple[Invariants, MarketInvariants]:
    """Return what looks at both stores during a run."""
    ledger: EvmLedger = laboratory.controller.chain.ledger  # type: ignore[attr-defined]
    chain = JudgedChain(chain_id=CHAIN_ID, ledger=ledger, deepest=laboratory.plan.confirmations - 1)
    chain.doubt = ledger.doubt
    opened = laboratory.scenarios.opened
    chain.orders = lambda: [order_of(each) for each in opened.values() if not each.is_balance]
    scanner, books = folder / "scanner.db", folder / "marketplace.db"
    return Invariants(loop, scanner, [chain]), MarketInvariants(loop, books, scanner, ledger)
