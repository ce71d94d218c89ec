"""One run with the marketplace: both daemons on a faulty chain, whole purchases, judged by the chain and the ledger."""

from __future__ import annotations

import random
import time
from collections.abc import AsyncIterator, Sequence
from contextlib import AsyncExitStack, asynccontextmanager
from pathlib import Path

import aiohttp
import orjson

from devnet.evm.anvil import CHAIN_ID, anvil
from devnet.price_publisher import host_ms, off_peg, publishing
from devnet.processes import ESCROW, XPUB, Credentials, new_credentials
from devnet.runner.level import Run
from devnet.runner.scenario import PAYMENT_METHODS
from devnet.runner.target import Target
from tests.chaos.faulty_link import FaultyLink
from tests.chaos.laboratory import SETTINGS, Report
from tests.chaos.market_audit import MarketAudit, of_file
from tests.chaos.market_chain import MarketChainActor, MarketChainController, mining
from tests.chaos.market_cluster import MarketCluster, market_cluster
from tests.chaos.market_expected import expected_settlement
from tests.chaos.market_judge import judge_market
from tests.chaos.market_laboratory import TTL_H, MarketLaboratory
from tests.chaos.market_plan import MarketPlan
from tests.chaos.market_scenarios import SCREENED, MarketScenarios
from tests.chaos.rpc_faults import Endpoint
from tests.chaos.shoppers import call_until_answered
from tests.chaos.supervisor import Supervisor, supervised
from tests.harness import ROOT, environment, prepared

MAX_DOWNTIME_S = 90.0
BUGS = ("failed (request",)
QUOTE_TTL_S = 86_400  # the clocks jump while a scenario waits
WALLETS = 2  # of a scenario: whoever pays, pays once
SDN = """<?xml version="1.0" standalone="yes"?>
<sdnList xmlns="https://example.test/XML"><sdnEntry><uid>1</uid><lastName>NOBODY</lastName><idList>
{ids}
</idList></sdnEntry></sdnList>"""
SDN_ID = "<id><uid>{uid}</uid><idType>Digital Currency Address - ETH</idType><idNumber>{address}</idNumber></id>"


@asynccontextmanager
async def _laboratory(plan: MarketPlan, folder: Path, *, together: bool) -> AsyncIterator[MarketLaboratory]:
    """Start everything, with several marketplaces if they are `together`; nothing of it is left behind."""
    who = new_credentials()
    async with AsyncExitStack() as stack:
        enter = stack.enter_async_context
        session = await enter(aiohttp.ClientSession())
        listed = sum(planned.kind in SCREENED for planned in plan.scenarios)
        chain = await prepared(await enter(anvil(accounts=1 + listed + WALLETS * len(plan.scenarios))))
        controller = MarketChainController(chain, random.Random(f"ground of {plan.seed}"), listed=listed)
        await controller.fund_wallets(depth=plan.confirmations)
        nodes = [await enter(Endpoint(chain.url)) for _ in range(2)]
        hooks = await enter(FaultyLink(lambda: _url(marketplace)))
        calls = await enter(FaultyLink(lambda: _url(scanner)))
        registry = _registry(folder, plan.confirmations)
        watching = environment(folder, ",".join(node.url for node in nodes), CHAINS_JSON_PATH=str(registry))
        watching |= SETTINGS | {"BALANCE_WATCH_TICK_SEC": "1"}
        scanner = await enter(supervised(folder, watching, session, port="PORT"))
        trading = _trading(folder, who, registry, hooks=hooks.url, calls=calls.url)
        prices = await enter(publishing(lambda: host_ms() + controller.passed_s * 1000, prices=off_peg()))
        trading |= prices.settings | {"ORACLE_QUOTE_TTL_S": str(QUOTE_TTL_S)}
        trading["OFAC_SDN_PATH"] = str(_sanctions(folder, controller.listed))
        marketplace: Supervisor | MarketCluster
        if together:
            marketplace, people = await enter(market_cluster(folder, trading, session, plan.seed, BUGS))
            select = marketplace.select
        else:
            marketplace = await enter(
                supervised(folder, trading, session, module="marketplace", port="MARKETPLACE_PORT", bugs=BUGS)
            )
            people, select = await _up(marketplace), of_file(marketplace.store)
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
        audit = MarketAudit(select, target, session)
        run = Run(
            target=target,
            chain_actor=MarketChainActor(controller),
            rails=[PAYMENT_METHODS[planned.rail] for planned in plan.scenarios],
            log=lambda _: None,
            steps_of=scenarios.steps_of,
        )
        yield MarketLaboratory(plan, controller, nodes, scanner, marketplace, hooks, calls, run, scenarios, audit)


def _trading(folder: Path, who: Credentials, registry: Path, *, hooks: str, calls: str) -> dict[str, str]:
    """Return the environment of the marketplace, with a way in each direction."""
    return {
        "MARKETPLACE_PORT": "0",
        "MARKETPLACE_DB_PATH": str(folder / "marketplace.db"),
        "MARKETPLACE_PUBLIC_URL": hooks,
        "MARKETPLACE_JWT_SECRET": who.jwt_secret,
        "MARKETPLACE_GOODS_KEY": who.goods_key,
        "MARKETPLACE_ADMIN_EMAIL": who.admin_email,
        "MARKETPLACE_ADMIN_PASSWORD": who.admin_password,
        "MARKETPLACE_XPUB": XPUB,
        "MARKETPLACE_ESCROW_ADDRESSES": orjson.dumps({str(CHAIN_ID): [ESCROW]}).decode(),
        "MARKETPLACE_RATE_LIMITS": "login=off,payment=off,all=off,account=off",
        "MARKETPLACE_SWEEP_SEC": "1",
        "PAYMENT_TTL_HOURS": str(TTL_H),
        "AMN_SCANNER_URL": calls,
        "AMN_SCANNER_TIMEOUT_SEC": "3",
        "AMN_SCANNER_WEBHOOK_SECRET": who.hook_secret,
        "CHAINS_JSON_PATH": str(registry),
        "TOKENS_JSON_PATH": str(ROOT / "tokens.json"),
    }


def _registry(folder: Path, confirmations: int) -> Path:
    """Write a registry of both daemons in which the chain is as deep as the plan says."""
    chains = orjson.loads((ROOT / "supported-chains.json").read_bytes())
    deep = {"confirmationThreshold": confirmations}
    registry = folder / "chains.json"
    registry.write_bytes(orjson.dumps([chain | (deep if chain["chainId"] == CHAIN_ID else {}) for chain in chains]))
    return registry


def _sanctions(folder: Path, listed: Sequence[str]) -> Path:
    """Write a sanctions list; it is never empty."""
    addresses = [*listed, f"0x{'5d' * 20}"]
    path = folder / "sdn.xml"
    path.write_text(SDN.format(ids="\n".join(SDN_ID.format(uid=u, address=a) for u, a in enumerate(addresses, 2))))
    return path


def _url(supervisor: Supervisor | MarketCluster) -> str | None:
    return None if supervisor.api is None else supervisor.api.url


async def _up(supervisor: Supervisor) -> str:
    await call_until_answered(supervisor, lambda api: api.call("GET", "/health"))
    assert supervisor.api is not None
    return supervisor.api.url


async def market_experiment(plan: MarketPlan, folder: Path, *, together: bool = False) -> Report:
    """Run a plan in a folder of its own and judge it; `together`: with several marketplaces on one database."""
    began = time.monotonic()
    async with _laboratory(plan, folder, together=together) as lab:
        level = await lab.play()
        await lab.check_restart()
        outcome = await lab.outcome(level)
    paid = [
        expected_settlement(opened, outcome.transfers, outcome.listed).received is not None for opened in outcome.opened
    ]
    return Report(
        seed=plan.seed,
        family="markets" if together else "market",
        payments=lab.controller.payments,
        settled=sum(paid),
        faults=plan.fault_counts,
        verdict=judge_market(outcome),
        unexpected_exits=(*lab.scanner.unexpected_exits, *lab.marketplace.unexpected_exits),
        log=(
            *(f"{opened}\n" for opened in outcome.opened),
            *(f"{transfer}\n" for transfer in sorted(outcome.transfers)),
            *(f"{row}\n" for row in outcome.recoveries),
            *(f"{row}\n" for row in outcome.unmatched),
            *lab.scanner.output,
            "=== marketplace\n",
            *lab.marketplace.output,
        ),
        seconds=time.monotonic() - began,
    )
