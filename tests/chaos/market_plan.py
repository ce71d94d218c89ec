"""What happens in a run with the marketplace, and when: a pure function of its seed."""

from __future__ import annotations

import random
from collections import Counter
from dataclasses import dataclass, replace
from typing import Literal

from tests.chaos.schedule import CONFIRMATIONS, TRANSIENT

Area = Literal["rpc", "chain", "hooks", "calls", "scanner", "marketplace", "clock", "forged"]

SPAN_S = 25.0
BOTH = "proxy", "direct"
BALANCE = "direct_balance", "direct_balance:watch"
EVERY = BOTH + BALANCE
# How a buyer behaves, and on which rails that means something.
RAILS_OF: dict[str, tuple[str, ...]] = {
    "exact": EVERY,
    "parts": EVERY,
    "over": EVERY,
    "twice": BOTH,  # at once: the second one is a duplicate
    "again": BOTH,  # after the seller was paid
    "corrected": BOTH,  # another token first
    "cancelled": EVERY,  # paid after it was cancelled
    "given_up": EVERY,  # a part, then cancelled, then the rest
    "expired": EVERY,  # paid after its time was up
    "silent": ("direct_balance:watch",),  # nobody asks: the watch has to tell
    "unpaid": EVERY,
    "digital": BOTH,  # a code out of a stock
    "fee": BOTH,  # of a seller whose fee an admin set
    "split": BOTH,  # between buyer and seller, after a dispute
    "lira": BOTH,  # a price in lira, paid as it is quoted
}
# What strangers do beside an honest purchase (or to one that ended), and on which rails anybody can see it.
STRANGERS: dict[str, tuple[str, ...]] = {
    "dusted": EVERY,  # many dust of the right token in one transaction, before the honest payment
    "spammed": BOTH,  # many transfers of another token
    "zeroes": BOTH,  # many transfers of nothing
    "listed": BOTH,  # dust from somebody on the sanctions list; on a balance nobody may be known to have sent it
    "afterwards": BOTH,  # many dust when the payment is confirmed
    "reused": BOTH,  # many dust to the address of a purchase that was cancelled
    "raced": EVERY,  # many dust while the buyer cancels
    "plainly": ("proxy",),  # many dust to the shop's address, past the proxy
    "coin": ("direct",),  # the chain's own coin
}
KINDS = RAILS_OF | STRANGERS
# What the simulator plays beside those, in some of its runs.
SELDOM: dict[str, tuple[str, ...]] = {
    "hidden": BOTH,  # dust from somebody on the sanctions list, then more dust than a webhook lists
    "barred": BOTH,  # all but dust from somebody on that list, and the dust from somebody else
}
# The way of webhooks to the marketplace, and of calls to the scanner.
HOOKS = ("cut", "slow", "500", "429", "deaf", "twice", "replay", "every_other")
CALLS = ("cut", "slow", "500", "429", "deaf", "twice")
PROCESS = ("kill", "kill", "terminate", "second", "locked", "disk_full")
# Of one of several processes on a replicated database; and of the database itself.
ON_DATABASE = ("kill", "kill", "terminate", "stop", "cut", "hole", "deaf")
LASTING = {"stop": (7.0, 9.0), "hole": (1.0, 9.0), "deaf": (1.0, 4.0)}  # a lease is six seconds
REORGS = ("same", "shuffled", "later", "vanish")  # the last one takes what no scenario needs
FEW = 4  # scenarios of a run that is too short for every kind


@dataclass(frozen=True, slots=True)
class PlannedScenario:
    """One purchase and how its buyer behaves."""

    at: float
    kind: str
    rail: str
    pause_s: float  # between two payments


@dataclass(frozen=True, slots=True)
class PlannedMarketFault:
    """Something that goes wrong from a moment on; `seconds` is 0 for what happens at once."""

    at: float
    area: Area
    kind: str
    seconds: float = 0.0
    size: int = 0  # endpoints (a bit each), blocks, or seconds of a clock
    method: str = "*"


@dataclass(frozen=True, slots=True)
class MarketPlan:
    """One run."""

    seed: int
    span_s: float
    confirmations: int
    patient: bool  # whether the end comes without a restart
    scenarios: tuple[PlannedScenario, ...]
    faults: tuple[PlannedMarketFault, ...]

    @property
    def fault_counts(self) -> Counter[str]:
        """How often each kind of fault is injected."""
        return Counter(f"{t.area}:{t.kind}" for t in self.faults)


def market_plan(seed: int, *, span_s: float = SPAN_S) -> MarketPlan:
    """Return the run of a seed."""
    rng = random.Random(f"market {seed}")
    confirmations = rng.choice(CONFIRMATIONS)
    faults = [
        *_rpc(rng, span_s),
        *_chain(rng, span_s, confirmations),
        *_link_faults(rng, span_s),
        *_processes(rng, span_s),
        *(
            PlannedMarketFault(rng.uniform(0, span_s * 0.9), "clock", "off", size=rng.randint(-60, 60))
            for _ in _often(span_s, 12)
        ),
        *(PlannedMarketFault(rng.uniform(0, span_s * 0.9), "forged", "webhook") for _ in _often(span_s, 4)),
    ]
    return MarketPlan(
        seed=seed,
        span_s=span_s,
        confirmations=confirmations,
        patient=rng.random() < 0.5,
        scenarios=tuple(_plan_scenarios(rng, span_s)),
        faults=tuple(sorted(faults, key=lambda t: t.at)),
    )


def on_database(plan: MarketPlan) -> MarketPlan:
    """Return a run with the same story, in which several marketplaces are on one replicated database."""
    rng = random.Random(f"market on a database {plan.seed}")
    kept = [fault for fault in plan.faults if fault.area != "marketplace"]
    found = []
    for _ in _often(plan.span_s, 4.0):
        kind = rng.choice(ON_DATABASE)
        lasts = rng.uniform(*LASTING[kind]) if kind in LASTING else 0.0
        at = rng.uniform(0, plan.span_s * 0.9)
        found.append(PlannedMarketFault(at, "marketplace", kind, lasts, size=rng.randrange(2)))
    found.append(PlannedMarketFault(rng.uniform(0, plan.span_s * 0.9), "marketplace", "promote"))
    return replace(plan, faults=tuple(sorted([*kept, *found], key=lambda fault: fault.at)))


def _often(span_s: float, every_s: float) -> range:
    return range(max(1, round(span_s / every_s)))


def _plan_scenarios(rng: random.Random, span_s: float) -> list[PlannedScenario]:
    wanted = [("exact", rail) for rail in EVERY]
    odd = [kind for kind in RAILS_OF if kind != "exact"]
    if span_s < SPAN_S:
        few = [*rng.sample(odd, FEW - 2), rng.choice(list(STRANGERS))]
        wanted = [("exact", rng.choice(EVERY)), *((kind, "") for kind in few)]
    else:
        wanted += [(kind, "") for kind in (*odd, *STRANGERS)]
        wanted += [(rng.choice([*odd, *STRANGERS]), "") for _ in _often(span_s - SPAN_S, 3)]
    rng.shuffle(wanted)
    return [
        PlannedScenario(
            at=0.0 if kind == "expired" else rng.uniform(0.0, span_s * 0.6),
            kind=kind,
            rail=rail or rng.choice(KINDS[kind]),
            pause_s=rng.choice([0.0, 0.3, 2.0]),
        )
        for kind, rail in wanted
    ]


def _rpc(rng: random.Random, span_s: float) -> list[PlannedMarketFault]:
    found = []
    for _ in _often(span_s, 2.5):
        both = rng.random() < 0.25
        found.append(
            PlannedMarketFault(
                at=rng.uniform(0, span_s * 0.9),
                area="rpc",
                kind=rng.choice(TRANSIENT),
                seconds=rng.uniform(0.5, 2.0 if both else 5.0),
                size=3 if both else rng.choice([1, 2]),
                method=rng.choice(["*", "eth_getLogs", "eth_getBlockByNumber", "eth_call", "*"]),
            )
        )
    return found


def _chain(rng: random.Random, span_s: float, confirmations: int) -> list[PlannedMarketFault]:
    """A block that `confirmations` stand on, itself included, is never replaced: that is the promise of the depth."""
    return [
        PlannedMarketFault(rng.uniform(0, span_s), "chain", rng.choice(REORGS), size=rng.randint(1, confirmations - 1))
        for _ in _often(span_s, 3.0)
    ]


def _link_faults(rng: random.Random, span_s: float) -> list[PlannedMarketFault]:
    links: tuple[tuple[Area, tuple[str, ...], float], ...] = (("hooks", HOOKS, 2.5), ("calls", CALLS, 4.0))
    return [
        PlannedMarketFault(rng.uniform(0, span_s * 0.9), area, rng.choice(kinds), rng.uniform(0.5, 4.0))
        for area, kinds, every_s in links
        for _ in _often(span_s, every_s)
    ]


def _processes(rng: random.Random, span_s: float) -> list[PlannedMarketFault]:
    areas: tuple[Area, ...] = ("scanner", "marketplace")
    found = []
    for area in areas:
        for _ in _often(span_s, 6.0):
            kind = rng.choice(PROCESS)
            length = rng.uniform(1.0, 7.0) if kind in {"locked", "disk_full"} else 0.0
            found.append(PlannedMarketFault(rng.uniform(0, span_s * 0.9), area, kind, length))
    return found
