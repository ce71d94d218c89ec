"""One seed: the laboratory's plan, played on virtual time, and judged by its judge."""

from __future__ import annotations

import asyncio
import logging
import tempfile
import time
import traceback
from collections import Counter
from collections.abc import AsyncIterator, Callable, Coroutine, Sequence
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass, field, replace
from functools import partial
from pathlib import Path
from typing import Any

import aiohttp
import orjson
from aiohttp import web

from devnet.ton.ledger import TonLedger
from devnet.tron.ledger import TronLedger
from scanner import app
from scanner.upkeep import watch_schedule
from tests.chaos import shoppers
from tests.chaos.facts import Outcome, ReceivedWebhook, Verdict
from tests.chaos.judge import expected_state, judge
from tests.chaos.laboratory import SETTINGS, Laboratory, _add_permanent_faults, heal, outcomes, together
from tests.chaos.schedule import EPOCH, Plan, deepest_reorg
from tests.chaos.ton_environment import ton_environment
from tests.chaos.tron_environment import tron_environment
from tests.chaos.webhook_receiver import WebhookReceiver
from tests.harness import empty_store
from tests.simulation import day, machine
from tests.simulation.cluster import Fence, SimCluster, clustered
from tests.simulation.evm_environment import ANOTHER_CHAIN, SimEvmEnvironment, evm_environment
from tests.simulation.evm_ledger import EvmLedger
from tests.simulation.invariants import EVERY_S, Invariants, JudgedChain
from tests.simulation.loop import START_S, Endless, SimLoop, Stuck
from tests.simulation.market_plans import SimMarketPlan, sim_market_plan
from tests.simulation.market_run import judged_market, make_cheap, market_laboratory, watched
from tests.simulation.plans import HOST_CLOCK, Asked, Played, drawn_family, parts_of, sim_plans
from tests.simulation.shared_store import nothing, open_shared
from tests.simulation.shoppers import SimShoppers
from tests.simulation.supervisor import SimSupervisor, supervised
from tests.simulation.watchers import watching

NAMES = ("missed", "doubled", "invented", "unexplained")
ENVIRONMENTS: dict[str, Any] = {"evm": evm_environment, "tron": tron_environment, "ton": ton_environment}
FILES = ("CHAINS_JSON_PATH", "TOKENS_JSON_PATH")
NOTED = ("mine", "pay", "pay_together", "pay_many", "reorg", "bury", "delay")
# A look costs most of a run: what the laboratory does in a fifth of a second is done in a half.
POLL_S = 0.5
CADENCES = {"POLL_INTERVAL_SEC": "0.5"}
MOST_EXITS = 10
WATCH_MS = 3_000  # and a balance is looked at this often instead of every five minutes
HOUSEKEEPING_S = 7  # and what was given up is sent again every minute: a run need not wait for it
WARM_S = 3.0  # of a run whose end nobody asks for: what it imported and prepared, every seed finds prepared
LONG_S = 300  # a jump of the chain's time
HEARD_S = 60.0  # within which its head is heard of, whatever goes wrong
MEMORY = Path("/dev/shm")
QUIET = ("asyncio", "aiosqlite", "apscheduler", "alembic", "sqlalchemy", "aiohttp")


@dataclass(slots=True)
class Result:
    """What a seed came to."""

    asked: Asked
    sentences: list[str]  # each a broken promise
    family: Played = "evm"
    trace: int = 0
    steps: int = 0
    virtual_s: float = 0.0
    cpu_s: float = 0.0
    payments: int = 0
    settled: int = 0
    lives: int = 0
    planned: tuple[int, tuple[int, ...]] = (0, ())  # how many faults, and which purchases
    faults: Counter[str] = field(default_factory=Counter)
    notes: list[str] = field(default_factory=list)


class NotedReceiver(WebhookReceiver):
    """The laboratory's receiver; what came in is noted."""

    def _noted(self, request: web.Request, body: bytes, *, acknowledged: bool, skews: Sequence[int]) -> ReceivedWebhook:
        webhook = super()._noted(request, body, acknowledged=acknowledged, skews=skews)
        taken = "taken" if acknowledged else "not acknowledged"
        _note(f"webhook {webhook.event_type} of {webhook.intent_id} {taken}")
        return webhook


class NotedEnvironment:
    """A chain's environment; what is done to the chain and to its endpoints is noted, with the chain's name."""

    supervisor: SimSupervisor | SimCluster | None = None  # once there is one

    def __init__(self, inner: Any, name: str = "") -> None:
        self._inner = inner
        self._name = name and f"{name}: "

    def __getattr__(self, name: str) -> Any:
        found = getattr(self._inner, name)
        if name not in NOTED:
            return found

        async def noted(*args: Any, **how: Any) -> Any:
            _note(f"{self._name}{name} {' '.join(_short(each) for each in (*args, *how.values()))}")
            return await found(*args, **how)

        return noted

    async def advance_to(self, moment: int) -> None:
        """Let no chain jump before it is heard of: what was registered meanwhile is dated by the host's clock."""
        for _ in range(int(HEARD_S / POLL_S)):
            if self.supervisor is None or self.supervisor.hears or moment <= await self._inner.now() + LONG_S:
                break
            await asyncio.sleep(POLL_S)
        _note(f"{self._name}advance_to {moment}")
        await self._inner.advance_to(moment)

    @asynccontextmanager
    async def inject_fault(self, place: int, kind: str, method: str) -> AsyncIterator[None]:
        _note(f"{self._name}endpoint {place + 1}: {kind} begins ({method})")
        async with self._inner.inject_fault(place, kind, method):
            yield
        _note(f"{self._name}endpoint {place + 1}: {kind} ends")


def _doubt_tron(ledger: TronLedger, tx_hash: str, _: int) -> str | None:
    tx = ledger.by_id.get(tx_hash)
    if tx is None or not 0 <= tx.block <= ledger.solid:
        return "which is not solid"
    return "which failed" if tx.failed else None


def _doubt_ton(ledger: TonLedger, tx_hash: str, _: int) -> str | None:
    found = [payment for payment in ledger.payments if payment.tx_hash == tx_hash]
    arrived = found and all(payment.credited == int(payment.row["amount"]) for payment in found)
    return None if arrived else "which has not arrived"


DOUBTS: dict[str, Any] = {"tron": _doubt_tron, "ton": _doubt_ton}


def _short(value: Any) -> str:
    if isinstance(value, list | tuple):
        return "[" + ", ".join(map(_short, value)) + "]"
    return str(getattr(value, "intent_id", None) or getattr(value, "kind", None) or value)[:80]


def _note(text: str) -> None:
    loop = asyncio.get_running_loop()
    if isinstance(loop, SimLoop):
        loop.note(text)


def run_seed(asked: Asked, folder: Path, said: Callable[[str], object] | None = None) -> Result:
    """Play one seed in a folder of its own."""
    machine.begin(asked.seed)
    began = time.process_time()
    loop = SimLoop(asked.seed)
    loop.said, loop.folder = said, str(folder)
    result = Result(asked, [], family=asked.family or drawn_family(asked.seed))
    playing = (_market if result.family == "market" else _scanner)(asked, folder, result, loop)
    try:
        result.sentences = loop.run_until_complete(playing)
    except (Stuck, Endless) as exc:
        result.sentences = [f"stuck: {exc}"]
    except Exception as exc:  # noqa: BLE001 - whatever it was, it is told with its seed
        result.sentences = [f"the simulation failed: {exc!r}", *traceback.format_exception(exc)]
    result.trace, result.steps = loop.trace, loop.steps
    result.virtual_s, result.cpu_s = loop.time() - START_S, time.process_time() - began
    result.notes = list(loop.notes)
    return result


def _scanner(asked: Asked, folder: Path, result: Result, loop: SimLoop) -> Coroutine[Any, Any, list[str]]:
    if result.family == "day":
        day.take_real_cadences()
        loop.longest_s = day.LONGEST_S
        planned = parts_of(asked, day.day_plans(asked.seed, asked.span_s))
    else:
        planned = sim_plans(asked)
    result.faults = sum((plan.fault_counts for plan in planned), Counter())
    numbers = tuple(purchase.number for plan in planned for purchase in plan.purchases)
    result.planned = (sum(len(plan.faults) for plan in planned), numbers)
    return _play(planned, folder, result, loop)


def _market(asked: Asked, folder: Path, result: Result, loop: SimLoop) -> Coroutine[Any, Any, list[str]]:
    planned = sim_market_plan(asked.seed, asked.span_s, asked.faults, asked.purchases)
    result.faults, result.planned = planned.whole.fault_counts, (len(planned.whole.faults), planned.numbers)
    return _play_market(planned, folder, result, loop)


async def _play_market(planned: SimMarketPlan, folder: Path, result: Result, loop: SimLoop) -> list[str]:
    async with market_laboratory(planned.whole, folder, CADENCES, raised=planned.raised) as laboratory:
        loop.checks += [partial(_give_up, laboratory.scanner), partial(_give_up, laboratory.marketplace)]
        watching = watched(laboratory, loop, folder)
        for each in watching:
            loop.checks.append(each)
            loop.on_commit.append(each.committed)
        told = await judged_market(laboratory)
        services: tuple[Any, ...] = (laboratory.scanner, laboratory.marketplace)
        result.lives, result.payments = sum(each.lives for each in services), laboratory.controller.payments
    result.settled = told.paid
    exits = [f"a daemon ended by itself: {end}" for each in services for end in each.unexpected_exits]
    broken = [sentence for each in watching for sentence in each.found]
    return [*broken, *_told(told.verdict), *exits]


@dataclass(slots=True)
class PlayedChain:
    """One of the chains of a run."""

    plan: Plan
    inner: Any  # its environment
    env: Any  # the same, noted
    receiver: NotedReceiver
    permanent: AsyncExitStack

    @property
    def ledger(self) -> EvmLedger | None:
        return self.inner.ledger if isinstance(self.inner, SimEvmEnvironment) else None


async def _play(planned: Sequence[Plan], folder: Path, result: Result, loop: SimLoop) -> list[str]:
    store = folder / "scanner.db"
    store.write_bytes(empty_store())
    async with AsyncExitStack() as stack:
        chains = [await _opened(stack, plan, planned[:place]) for place, plan in enumerate(planned)]
        session = await stack.enter_async_context(aiohttp.ClientSession())
        for chain in chains:
            await _add_permanent_faults(chain.plan, chain.env, chain.permanent)
        is_day = result.family == "day"
        env = _environment(folder, chains, real=is_day)
        clocks_of = [day.keep_time(chain.inner) for chain in chains] if is_day else []
        seed, chain_id = planned[0].seed, chains[0].inner.chain_id
        if result.family == "cluster":
            supervisor = await stack.enter_async_context(clustered(folder, env, session, seed, chain_id))
        else:
            supervisor = await stack.enter_async_context(supervised(folder, env, session, seed))
        for chain in chains:
            chain.env.supervisor = supervisor
        laboratories = [_laboratory(chain, supervisor) for chain in chains]
        laboratories[0].receivers = tuple(chain.receiver for chain in chains)
        clocks = tuple(fault.size for fault in planned[0].faults if fault.kind == HOST_CLOCK)
        for chain in chains:
            chain.receiver.other_skews_s = clocks
        loop.checks.append(partial(_give_up, supervisor))
        judged = [_judged(chain, each) for chain, each in zip(chains, laboratories, strict=True)]
        invariants = Invariants(loop, store, judged, every_s=day.LOOK_S if is_day else EVERY_S)
        loop.checks.append(invariants)
        loop.on_commit.append(invariants.committed)
        if isinstance(supervisor, SimCluster):
            loop.on_commit.append(Fence(supervisor, store, invariants))
        watchers = [
            await stack.enter_async_context(
                watching(supervisor, replace(chain.plan, span_s=min(chain.plan.span_s, day.RECEIVERS_S)), chain.inner)
            )
            for chain in chains
        ]
        await together(each.run() for each in laboratories)
        if is_day:  # its last purchase is over before it is
            await asyncio.sleep(max(0.0, planned[0].span_s - (loop.time() - START_S)))
        for each in watchers:
            await each.done()
        for stop in clocks_of:
            stop()
        await heal(laboratories)
        about = [sentence for each in watchers for sentence in await each.judged()]
        found = await outcomes(laboratories)
        result.payments, result.lives = sum(chain.env.payments for chain in chains), supervisor.lives
        result.settled = sum(len(expected_state(each.orders, each.transfers).settled) for each in found)
    told = [sentence for outcome in found for sentence in _sentences(outcome)]
    exits = [f"a daemon ended by itself: {end}" for end in supervisor.unexpected_exits]
    return [*invariants.found, *about, *told, *exits]


async def _opened(stack: AsyncExitStack, plan: Plan, before: Sequence[Plan]) -> PlayedChain:
    """Start a chain; `before` are the run's other ones so far."""
    another = any(plan.family == each.family for each in before)
    opened = evm_environment(plan, ANOTHER_CHAIN) if another else ENVIRONMENTS[plan.family](plan)
    inner = await stack.enter_async_context(opened)
    name = "another evm" if another else plan.family
    receiver = await stack.enter_async_context(NotedReceiver())
    permanent = await stack.enter_async_context(AsyncExitStack())
    return PlayedChain(plan, inner, NotedEnvironment(inner, name), receiver, permanent)


def _laboratory(chain: PlayedChain, supervisor: Any) -> Laboratory:
    laboratory = Laboratory(chain.plan, chain.env, supervisor, chain.receiver, chain.permanent)
    laboratory.shoppers = SimShoppers(supervisor, chain.env, chain.receiver, chain.plan)
    return laboratory


def _environment(folder: Path, chains: Sequence[PlayedChain], *, real: bool) -> dict[str, str]:
    """Return the environment of one scanner that watches all of these, at the cadences of production or at a run's."""
    found: dict[str, str] = {}
    entries: dict[str, list[Any]] = {name: [] for name in FILES}
    for chain in chains:
        own = folder / str(chain.inner.chain_id)
        own.mkdir()
        env = chain.inner.environment(own, chain.plan)
        for name in FILES:
            listed = orjson.loads(Path(env[name]).read_bytes())
            entries[name] += [each for each in listed if each["chainId"] == chain.inner.chain_id]
        found |= env
    for name in FILES:
        path = folder / f"{name}.json"
        path.write_bytes(orjson.dumps(entries[name]))
        found[name] = str(path)
    enabled = ",".join(str(chain.inner.chain_id) for chain in chains)
    found |= {"DB_PATH": str(folder / "scanner.db"), "SCANNER_ENABLED_CHAINS": enabled}
    if real:
        return {name: value for name, value in found.items() if name not in day.OURS} | day.SETTINGS
    return found | SETTINGS | CADENCES


def _judged(chain: PlayedChain, laboratory: Laboratory) -> JudgedChain:
    plan, ledger = chain.plan, chain.ledger
    judged = JudgedChain(chain_id=chain.inner.chain_id, ledger=ledger)
    judged.deepest = deepest_reorg(plan.confirmations, plan.guards)
    judged.bounded = not any(fault.kind == "lies_ahead" for fault in plan.faults)
    judged.orders = lambda: laboratory.shoppers.orders
    if ledger is None:
        judged.doubt = partial(DOUBTS[plan.family], chain.inner._ledger)
    elif plan.guards.get("finality") == "both":
        final = 2 * EPOCH + 1  # as deep as what the chain calls final
        judged.doubt = lambda tx_hash, required: ledger.doubt(tx_hash, max(required, final))
    else:
        judged.doubt = ledger.doubt
    return judged


def _give_up(supervisor: Any) -> None:
    """End a run whose daemon does not live: it would be started again for ever."""
    if len(supervisor.unexpected_exits) > MOST_EXITS:
        raise Endless(f"the daemon ended by itself {MOST_EXITS} times: {supervisor.unexpected_exits[-1]}")


def _sentences(outcome: Outcome) -> list[str]:
    return _told(judge(outcome))


def _told(verdict: Verdict) -> list[str]:
    return [f"{name}: {sentence}" for name in NAMES for sentence in getattr(verdict, name)]


def warm(*, with_market: bool = False) -> None:
    """Import and prepare what every seed needs, once; what the marketplace needs where it is asked for."""
    root = logging.getLogger()
    root.handlers = [machine.ProcessLog()]
    root.setLevel(logging.INFO)
    for quiet in QUIET:
        logging.getLogger(quiet).setLevel(logging.WARNING)
    shoppers.POLL_S = POLL_S
    app.HOUSEKEEPING_S = HOUSEKEEPING_S
    app.open_postgresql = open_shared  # type: ignore[assignment]
    app.migrate_postgresql = app.warn_of_replication = nothing  # type: ignore[assignment]
    watch_schedule._BANDS = ((watch_schedule.LIFE_MS, WATCH_MS),)
    empty_store()
    with tempfile.TemporaryDirectory(dir=MEMORY if MEMORY.is_dir() else None, prefix="simulation-") as folder:
        run_seed(Asked(0, WARM_S, "evm"), Path(folder))
    if with_market:
        make_cheap()
        with tempfile.TemporaryDirectory(dir=MEMORY if MEMORY.is_dir() else None, prefix="simulation-") as folder:
            run_seed(Asked(0, WARM_S, "market"), Path(folder))
