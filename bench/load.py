"""`python -m bench.load`: an hour under load in minutes, beside the idle case, with and without a node that hangs."""

from __future__ import annotations

import argparse
import asyncio
import logging
import signal
import time
from dataclasses import dataclass, replace

from bench.load_clients import CALLS, ClientLoad, run_clients
from bench.load_figures import Figures, Timed, beside_idle, counted, first_and_last
from bench.load_setup import Measurements, run_load_setup
from bench.scan import Stall
from devnet import toolchain
from kernel.tasks.gc import tune_gc


@dataclass(frozen=True, slots=True)
class LoadPlan:
    """One phase. Payments, polls and blocks keep to the time of the chains, clients to that of the machine."""

    clients: int = 32
    payments_a_minute: float = 200
    think_s: float = 0.2
    hangs: bool = False  # the other chain's node
    hour_min: float = 60  # what passes on the chains
    minutes: float = 5  # in which it passes
    warm_up: float = 0.1  # share of the phase that is not measured

    @property
    def pace(self) -> float:
        return self.hour_min / self.minutes

    @property
    def load(self) -> ClientLoad:
        a_second = self.payments_a_minute / 60 * self.pace
        return ClientLoad(self.clients, self.think_s, a_second, self.pace, self.minutes * 60 * (1 + self.warm_up))


IDLE = LoadPlan(clients=2, payments_a_minute=10)
BUSY = LoadPlan()
PHASES = {"idle": IDLE, "load": BUSY, "load, a node hangs": replace(BUSY, hangs=True)}


async def measure(plan: LoadPlan) -> Figures:
    """Run one phase with a new scanner on new chains."""
    async with run_load_setup(plan.pace) as built:
        began = time.monotonic() + plan.minutes * 60 * plan.warm_up
        answered = built.other.requests
        if plan.hangs:
            built.other.fail(hang=True)
        async with Stall() as stall:
            await run_clients(plan.load, built)
        hung = built.other.requests - answered if plan.hangs else 0
        return figures(built.measurements, began, plan.minutes * 60, hung=hung, stall_ms=stall.longest_ms)


def figures(measurements: Measurements, began: float, length: float, *, hung: int, stall_ms: float) -> Figures:
    """Leave out the start, and what came after the time was over."""

    def kept(timed: list[Timed]) -> list[Timed]:
        return [Timed(one.at - began, one.seconds) for one in timed if 0 <= one.at - began < length]

    return Figures(
        length=length,
        calls={name: kept(measurements.calls.get(name, [])) for name in CALLS},
        reported=kept(list(measurements.reported.values())),
        moments=[m._replace(at=m.at - began) for m in measurements.moments if 0 <= m.at - began < length],
        paid=measurements.paid,
        webhooks=len(measurements.reported),
        doubled=measurements.doubled,
        hung=hung,
        harness_stall_ms=stall_ms,
    )


async def main(hour_min: float, minutes: float, names: list[str]) -> None:
    task = asyncio.current_task()
    assert task is not None
    asyncio.get_running_loop().add_signal_handler(signal.SIGTERM, task.cancel)  # leaves no process behind
    measured = []
    for name in names:
        plan = replace(PHASES[name], hour_min=hour_min, minutes=minutes)
        print(f"{name}: {hour_min:g} minutes in {minutes:g}, {plan.clients} clients …", flush=True)
        measured.append(await measure(plan))
    for table in (beside_idle, first_and_last, counted):
        print(f"\n{table(names, measured)}")


if __name__ == "__main__":
    logging.basicConfig(level=logging.CRITICAL)
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--minutes", type=float, default=5, help="how long a phase takes")
    parser.add_argument("--simulate", type=float, default=60, help="minutes that pass on the chains meanwhile")
    parser.add_argument("--phases", nargs="*", choices=list(PHASES), default=list(PHASES))
    given = parser.parse_args()
    toolchain.setup()
    tune_gc()
    asyncio.run(main(given.simulate, given.minutes, given.phases))
