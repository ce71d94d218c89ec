"""What a seed plans for both services: the laboratory's plan of a marketplace, with more deaths of either."""

from __future__ import annotations

import random
from dataclasses import dataclass, replace

from tests.chaos.market_plan import SELDOM, Area, MarketPlan, PlannedMarketFault, PlannedScenario, market_plan

DEATH_EVERY_S = 6.0  # on average, of each of the two, beside those of the laboratory
MOST_SPAN_S = 24.0  # from 25 s on the laboratory plays every kind in one run: here a seed plays a few of them
OFTEN_SELDOM = 0.25  # of the runs have a scenario that the laboratory does not play
OFTEN_RAISED = 0.25  # of the runs: an admin asks for more confirmations than the chain's floor,
RAISED = (6, 20)  # by so many
PROCESSES: tuple[Area, ...] = ("scanner", "marketplace")


@dataclass(frozen=True, slots=True)
class SimMarketPlan:
    """A run with the marketplace, in whole or in part."""

    whole: MarketPlan
    numbers: tuple[int, ...]  # of the scenarios that are kept
    raised: int = 0  # confirmations that an admin asks for beyond the chain's floor


def sim_market_plan(
    seed: int, span_s: float, faults: tuple[int, ...] | None = None, purchases: tuple[int, ...] | None = None
) -> SimMarketPlan:
    """Return the plan of a run; the last two keep what they name alone (None: everything)."""
    whole = market_plan(seed, span_s=min(span_s, MOST_SPAN_S))
    rng = random.Random(f"simulation of a market {seed}")
    deaths = [
        PlannedMarketFault(rng.uniform(0, whole.span_s), area, "kill")
        for area in PROCESSES
        for _ in range(round(whole.span_s * rng.random() * 2 / DEATH_EVERY_S))
    ]
    all_faults = sorted((*whole.faults, *deaths), key=lambda fault: fault.at)
    scenarios = dict(enumerate((*whole.scenarios, *_seldom(random.Random(f"strangers of {seed}"), whole.span_s))))
    kept: dict[int, PlannedScenario] = {n: s for n, s in scenarios.items() if purchases is None or n in purchases}
    part = replace(
        whole,
        faults=tuple(fault for place, fault in enumerate(all_faults) if faults is None or place in faults),
        scenarios=tuple(kept.values()),
    )
    return SimMarketPlan(part, tuple(kept), _raised(random.Random(f"admin of {seed}")))


def _seldom(rng: random.Random, span_s: float) -> list[PlannedScenario]:
    if rng.random() >= OFTEN_SELDOM:
        return []
    kind = rng.choice(list(SELDOM))
    at, rail = rng.uniform(0.0, span_s * 0.6), rng.choice(SELDOM[kind])
    return [PlannedScenario(at, kind, rail, pause_s=rng.choice([0.0, 0.3, 2.0]))]


def _raised(rng: random.Random) -> int:
    return rng.randint(*RAISED) if rng.random() < OFTEN_RAISED else 0
