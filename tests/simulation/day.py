"""A simulated day: four chains that make blocks as real ones do, 500 intents, and every cadence as in production."""

from __future__ import annotations

import random
import time
from collections.abc import Callable, Sequence
from typing import Any

from devnet.ton.ledger import TonLedger
from devnet.ton.toncenter import TonCenter
from devnet.tron.ledger import SLOT_MS, TronLedger
from devnet.tron.trongrid import TronGrid
from scanner import app
from scanner.upkeep import watch_schedule
from tests.chaos.purchases import PARTS, Family, PlannedPurchase
from tests.chaos.schedule import Plan, PlannedFault
from tests.chaos.ton_environment import TonEnvironment
from tests.chaos.tron_environment import TronEnvironment
from tests.simulation import watchers
from tests.simulation.evm_environment import ANOTHER_CHAIN, SimEvmEnvironment
from tests.simulation.evm_ledger import EvmLedger
from tests.simulation.plans import CHAIN_STEP, CHAINS, SPAN_S

DAY_S = 86_400.0
ORDERS_EACH = 125  # on each of the four chains
EVM_BLOCK_S = (3, 12)  # of the first chain, of the other one
TON_BLOCK_S = 5
LOOK_S = 600.0  # what always has to hold is looked at this often, and at each commit that confirms
LONGEST_S = DAY_S + 7200
CONFIRMATIONS = 8
# What a buyer does at a normal shop, most of it as it should be.
KINDS = ("exact",) * 12 + (
    "partial",
    "over",
    "underpaid",
    "duplicate",
    "three_parts",
    "wrong_token",
    "unpaid",
    "at_once",
)
PAUSE_PART = 50  # of the span, at most: how long a buyer takes to pay a part
RECEIVERS_S = 60.0  # in which backends register what they watch, and are bad receivers
SETTLED_S = 900.0  # a balance is read every five minutes
SETTINGS = {"SCANNER_SECRET_KEY": "A" * 43 + "=", "POLL_INTERVAL_SEC": "15", "RPC_TIMEOUT_SEC": "10"}
OURS = {"WEBHOOK_RETRY_DELAYS_SEC"}  # what the tests set, and is left as it is by default
HOUSEKEEPING_S, BANDS = app.HOUSEKEEPING_S, watch_schedule._BANDS


def day_plans(seed: int, span_s: float) -> tuple[Plan, ...]:
    """Return what is bought on each chain in a day, or in some hours of one; the daemon is started anew once."""
    rng = random.Random(f"day of {seed}")
    span_s = DAY_S if span_s == SPAN_S else span_s
    restart = PlannedFault(rng.uniform(0, span_s), "process", "terminate")
    orders = range(round(ORDERS_EACH * span_s / DAY_S))
    return tuple(
        Plan(
            seed=seed,
            family=family,
            span_s=span_s,
            confirmations=CONFIRMATIONS,
            patient=False,
            guards={},
            purchases=tuple(_purchase(rng, place * CHAIN_STEP + n, family, span_s) for n in orders),
            faults=() if place else (restart,),
        )
        for place, family in enumerate(CHAINS)
    )


def _purchase(rng: random.Random, number: int, family: Family, span_s: float) -> PlannedPurchase:
    kind = rng.choice(KINDS)
    return PlannedPurchase(
        at=rng.uniform(0, span_s * 0.9),
        number=number,
        kind=kind,
        rail="proxy" if family == "evm" and rng.random() < 0.5 else "direct",
        amount=1000 * rng.randint(1, 10**6),
        pauses=tuple(rng.uniform(5.0, span_s / PAUSE_PART) for _ in PARTS[kind]),
        talkative=rng.random() < 0.3,
    )


def take_real_cadences() -> None:
    """Undo what makes a run of half a minute short."""
    app.HOUSEKEEPING_S, watch_schedule._BANDS, watchers.SETTLED_S = HOUSEKEEPING_S, BANDS, SETTLED_S


def keep_time(inner: Any) -> Callable[[], None]:
    """Let a chain make its blocks by the clock, whenever it is asked; return what stops it."""
    match inner:
        case SimEvmEnvironment():
            return _keep_evm(inner.ledger, EVM_BLOCK_S[inner.chain_id == ANOTHER_CHAIN])
        case TronEnvironment():
            return _keep_tron(inner._ledger, inner._grids)
        case TonEnvironment():
            return _keep_ton(inner._ledger, inner._centers)
        case _:
            raise TypeError(f"nobody knows when {inner} makes a block")


def _keep_evm(ledger: EvmLedger, block_s: int) -> Callable[[], None]:
    ledger.block_s = block_s

    def stop() -> None:
        ledger.block_s = None

    return stop


def _keep_tron(ledger: TronLedger, grids: Sequence[TronGrid]) -> Callable[[], None]:
    def keep_up(_: str) -> None:
        behind = int(time.time() * 1000) - ledger.times[-1]
        if behind >= SLOT_MS:
            ledger.advance(behind // SLOT_MS)

    def stop() -> None:
        for grid in grids:
            grid.before = None

    ledger.busy = False
    for grid in grids:
        grid.before = keep_up
    return stop


def _keep_ton(ledger: TonLedger, centers: Sequence[TonCenter]) -> Callable[[], None]:
    running = True

    def keeping(count: Any) -> Any:
        async def counted(*args: Any) -> None:
            while running and ledger.now + TON_BLOCK_S <= time.time():
                ledger.advance(TON_BLOCK_S)
            await count(*args)

        return counted

    def stop() -> None:
        nonlocal running
        running = False

    for center in centers:
        center._count = keeping(center._count)  # type: ignore[method-assign]
    return stop
