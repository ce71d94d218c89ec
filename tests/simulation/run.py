"""One seed: the laboratory's plan, played on virtual time, and judged by its judge."""

from __future__ import annotations

import asyncio
import logging
import tempfile
import time
import traceback
from collections import Counter
from collections.abc import AsyncIterator, Callable
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Any

import aiohttp
from aiohttp import web

from devnet.ton.ledger import TonLedger
from devnet.tron.ledger import TronLedger
from scanner import app
from scanner.upkeep import watch_schedule
from tests.chaos import shoppers
from tests.chaos.evm_environment import EvmEnvironment
from tests.chaos.facts import Outcome, ReceivedWebhook
from tests.chaos.judge import expected_state, judge
from tests.chaos.laboratory import SETTINGS, Laboratory, _add_permanent_faults
from tests.chaos.schedule import EPOCH, Plan, deepest_reorg
from tests.chaos.ton_environment import ton_environment
from tests.chaos.tron_environment import tron_environment
from tests.chaos.webhook_receiver import WebhookReceiver
from tests.harness import empty_store
from tests.simulation import machine
from tests.simulation.evm_environment import evm_environment
from tests.simulation.invariants import Invariants
from tests.simulation.loop import START_S, Endless, SimLoop, Stuck
from tests.simulation.plans import Asked, sim_plan
from tests.simulation.shoppers import SimShoppers
from tests.simulation.supervisor import supervised
from tests.simulation.watchers import watching

NAMES = ("missed", "doubled", "invented", "unexplained")
ENVIRONMENTS: dict[str, Any] = {"evm": evm_environment, "tron": tron_environment, "ton": ton_environment}
NOTED = ("mine", "advance_to", "pay", "pay_together", "pay_many", "reorg", "bury", "delay")
# A look costs most of a run: what the laboratory does in a fifth of a second is done in a half.
POLL_S = 0.5
CADENCES = {"POLL_INTERVAL_SEC": "0.5"}
MOST_EXITS = 10
WATCH_MS = 3_000  # and a balance is looked at this often instead of every five minutes
HOUSEKEEPING_S = 7  # and what was given up is sent again every minute: a run need not wait for it
WARM_S = 3.0  # of a run whose end nobody asks for: what it imported and prepared, every seed finds prepared
MEMORY = Path("/dev/shm")
QUIET = ("asyncio", "aiosqlite", "apscheduler", "alembic", "sqlalchemy", "aiohttp")


@dataclass(slots=True)
class Result:
    """What a seed came to."""

    asked: Asked
    sentences: list[str]  # each a broken promise
    family: str = ""
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

    def _noted(self, request: web.Request, body: bytes, *, acknowledged: bool) -> ReceivedWebhook:
        webhook = super()._noted(request, body, acknowledged=acknowledged)
        taken = "taken" if acknowledged else "not acknowledged"
        _note(f"webhook {webhook.event_type} of {webhook.intent_id} {taken}")
        return webhook


class NotedEnvironment:
    """A chain's environment; what is done to the chain and to its endpoints is noted."""

    def __init__(self, inner: Any) -> None:
        self._inner = inner

    def __getattr__(self, name: str) -> Any:
        found = getattr(self._inner, name)
        if name not in NOTED:
            return found

        async def noted(*args: Any, **how: Any) -> Any:
            _note(f"{name} {' '.join(_short(each) for each in (*args, *how.values()))}")
            return await found(*args, **how)

        return noted

    @asynccontextmanager
    async def inject_fault(self, place: int, kind: str, method: str) -> AsyncIterator[None]:
        _note(f"endpoint {place + 1}: {kind} begins ({method})")
        async with self._inner.inject_fault(place, kind, method):
            yield
        _note(f"endpoint {place + 1}: {kind} ends")


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
    loop.said = said
    planned = sim_plan(asked)
    result = Result(asked, [], family=planned.family, faults=planned.fault_counts)
    result.planned = (len(planned.faults), tuple(purchase.number for purchase in planned.purchases))
    try:
        result.sentences = loop.run_until_complete(_play(planned, folder, result, loop))
    except (Stuck, Endless) as exc:
        result.sentences = [f"stuck: {exc}"]
    except Exception as exc:  # noqa: BLE001 - whatever it was, it is told with its seed
        result.sentences = [f"the simulation failed: {exc!r}", *traceback.format_exception(exc)]
    result.trace, result.steps = loop.trace, loop.steps
    result.virtual_s, result.cpu_s = loop.time() - START_S, time.process_time() - began
    result.notes = list(loop.notes)
    return result


async def _play(planned: Plan, folder: Path, result: Result, loop: SimLoop) -> list[str]:
    store = folder / "scanner.db"
    store.write_bytes(empty_store())
    async with AsyncExitStack() as stack:
        inner = await stack.enter_async_context(ENVIRONMENTS[planned.family](planned))
        chain_env: Any = NotedEnvironment(inner)
        receiver = await stack.enter_async_context(NotedReceiver())
        session = await stack.enter_async_context(aiohttp.ClientSession())
        env = chain_env.environment(folder, planned) | SETTINGS | CADENCES
        permanent = await stack.enter_async_context(AsyncExitStack())
        await _add_permanent_faults(planned, chain_env, permanent)
        supervisor = await stack.enter_async_context(supervised(folder, env, session, planned.seed))
        laboratory = Laboratory(planned, chain_env, supervisor, receiver, permanent)
        laboratory.shoppers = SimShoppers(supervisor, chain_env, receiver, planned)
        loop.checks.append(partial(_give_up, supervisor))
        invariants = _invariants(loop, planned, inner, store, laboratory)
        watchers = None
        if invariants.ledger is not None:
            watchers = await stack.enter_async_context(watching(supervisor, invariants.ledger, planned, inner))
        await laboratory.run()
        await (watchers.done() if watchers is not None else asyncio.sleep(0))
        await laboratory.heal()
        about = await watchers.judged() if watchers is not None else []
        outcome = await laboratory.outcome()
        result.payments, result.lives = chain_env.payments, supervisor.lives
        result.settled = len(expected_state(outcome.orders, outcome.transfers).settled)
    return [*invariants.found, *about, *_sentences(outcome, supervisor.unexpected_exits)]


def _invariants(loop: SimLoop, planned: Plan, inner: Any, store: Path, laboratory: Laboratory) -> Invariants:
    ledger = inner._controller.ledger if isinstance(inner, EvmEnvironment) else None  # type: ignore[attr-defined]
    doubt: Any = partial(DOUBTS[planned.family], inner._ledger) if ledger is None else ledger.doubt
    if ledger is not None and planned.guards.get("finality") == "both":
        final = 2 * EPOCH + 1  # as deep as what the chain calls final
        doubt = lambda tx_hash, required: ledger.doubt(tx_hash, max(required, final))  # noqa: E731
    lies = any(fault.kind == "lies_ahead" for fault in planned.faults)
    invariants = Invariants(loop, store, ledger, deepest_reorg(planned.confirmations, planned.guards), bounded=not lies)
    invariants.doubt = doubt
    invariants.orders = lambda: laboratory.shoppers.orders
    loop.checks.append(invariants)
    loop.on_commit.append(invariants.committed)
    return invariants


def _give_up(supervisor: Any) -> None:
    """End a run whose daemon does not live: it would be started again for ever."""
    if len(supervisor.unexpected_exits) > MOST_EXITS:
        raise Endless(f"the daemon ended by itself {MOST_EXITS} times: {supervisor.unexpected_exits[-1]}")


def _sentences(outcome: Outcome, exits: list[str]) -> list[str]:
    verdict = judge(outcome)
    found = [f"{name}: {sentence}" for name in NAMES for sentence in getattr(verdict, name)]
    return found + [f"a daemon ended by itself: {end}" for end in exits]


def warm() -> None:
    """Import and prepare what every seed needs, once."""
    root = logging.getLogger()
    root.handlers = [machine.ProcessLog()]
    root.setLevel(logging.INFO)
    for quiet in QUIET:
        logging.getLogger(quiet).setLevel(logging.WARNING)
    shoppers.POLL_S = POLL_S
    app.HOUSEKEEPING_S = HOUSEKEEPING_S
    watch_schedule._BANDS = ((watch_schedule.LIFE_MS, WATCH_MS),)
    empty_store()
    with tempfile.TemporaryDirectory(dir=MEMORY if MEMORY.is_dir() else None, prefix="simulation-") as folder:
        run_seed(Asked(0, WARM_S, "evm"), Path(folder))
