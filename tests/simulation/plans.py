"""What a seed plans: the laboratory's plan, with more deaths, and less of it where a failure is being shrunk."""

from __future__ import annotations

import random
from dataclasses import dataclass, replace

from tests.chaos.purchases import Family
from tests.chaos.schedule import FOR_LONG, Plan, PlannedFault, plan

SPAN_S = 20.0
FAMILIES: tuple[Family, ...] = ("evm", "evm", "evm", "tron", "ton")
RESTART_S = 1.0  # after the fault
DEATH_EVERY_S = 6.0  # on average, beside those of the laboratory: here a start costs little


@dataclass(frozen=True, slots=True)
class Asked:
    """Which run is wanted; the last two keep what they name alone (None: everything)."""

    seed: int
    span_s: float = SPAN_S
    family: Family | None = None
    faults: tuple[int, ...] | None = None
    purchases: tuple[int, ...] | None = None

    @property
    def command(self) -> str:
        """Return what replays it."""
        words = [f"python -m tests.simulation --from {self.seed} --seeds 1 --span {self.span_s:g}"]
        words += [f"--chain {self.family}"] if self.family is not None else []
        for name, kept in (("faults", self.faults), ("purchases", self.purchases)):
            words += [f"--{name} {','.join(map(str, kept)) or 'none'}"] if kept is not None else []
        return " ".join(words)


def sim_plan(asked: Asked) -> Plan:
    """Return the plan of a run."""
    rng = random.Random(f"simulation of {asked.seed}")
    family = rng.choice(FAMILIES)
    whole = plan(asked.seed, span_s=asked.span_s, family=asked.family or family)
    deaths = [
        PlannedFault(rng.uniform(0, asked.span_s), "process", "kill")
        for _ in range(round(asked.span_s * rng.random() * 2 / DEATH_EVERY_S))
    ]
    # An endpoint that claimed another chain is left alone for minutes. When the other one is ahead of the host's clock,
    # nothing is read meanwhile, as it should be, until an operator starts the daemon again.
    restarts = [
        PlannedFault(fault.at + fault.seconds + RESTART_S, "process", "terminate")
        for fault in whole.faults
        if fault.kind in FOR_LONG
    ]
    faults = sorted((*whole.faults, *deaths, *restarts), key=lambda fault: fault.at)
    purchases = whole.purchases
    return replace(
        whole,
        faults=tuple(f for place, f in enumerate(faults) if asked.faults is None or place in asked.faults),
        purchases=tuple(p for p in purchases if asked.purchases is None or p.number in asked.purchases),
    )
