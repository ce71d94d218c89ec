"""`python -m tests.chaos`: so many seeds, a table, and an exit code that tells whether every promise was kept."""

from __future__ import annotations

import argparse
import asyncio
import sys
import tempfile
from pathlib import Path
from typing import get_args

from tests import postgres
from tests.chaos.laboratory import Report, cluster_experiment, experiment
from tests.chaos.market import market_experiment
from tests.chaos.market_plan import market_plan, on_database
from tests.chaos.purchases import Family
from tests.chaos.schedule import SPAN_S, cluster_plan, plan

HEADLINE = f"{'seed':>6} {'chain':<6} {'payments':>8} {'settled':>7} {'missed':>6} {'doubled':>7} {'invented':>8} {'unexplained':>11} {'s':>5}  faults"
MARKET, CLUSTER, MARKETS = "market", "cluster", "markets"
NAMES = ("missed", "doubled", "invented", "unexplained")


def line(report: Report) -> str:
    counts = [len(getattr(report.verdict, name)) for name in NAMES]
    faults = " ".join(f"{kind}={times}" for kind, times in sorted(report.faults.items()))
    cells = f"{report.seed:>6} {report.family:<6} {report.payments:>8} {report.settled:>7} {counts[0]:>6} {counts[1]:>7} {counts[2]:>8} {counts[3]:>11}"
    return f"{cells} {report.seconds:>5.0f}  {faults}"


def say(text: str) -> None:
    sys.stdout.write(f"{text}\n")
    sys.stdout.flush()


def explain(report: Report) -> None:
    for name in NAMES:
        for sentence in getattr(report.verdict, name):
            say(f"       {name}: {sentence}")
    for death in report.unexpected_exits:
        say(f"       a daemon ended by itself: {death}")
    for note in report.notes:
        say(f"       {note}")


async def run(seed: int, span_s: float, chain: str, folder: Path) -> Report:
    if chain == MARKET:
        return await market_experiment(market_plan(seed, span_s=span_s), folder)
    if chain == MARKETS:
        return await market_experiment(on_database(market_plan(seed, span_s=span_s)), folder, together=True)
    if chain == CLUSTER:
        return await cluster_experiment(cluster_plan(seed, span_s=span_s), folder)
    return await experiment(plan(seed, span_s=span_s, family=chain), folder)  # type: ignore[arg-type]  # a choice


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m tests.chaos", description=__doc__)
    parser.add_argument("--seeds", type=int, default=20, help="how many")
    parser.add_argument("--from", type=int, default=1, dest="first", help="the first of them")
    parser.add_argument("--span", type=float, default=SPAN_S, help="seconds of trouble a run")
    parser.add_argument("--chain", choices=(*get_args(Family), MARKET, CLUSTER, MARKETS), default="evm")
    parser.add_argument("--logs", type=Path, help="a folder to leave the logs of broken promises in")
    asked = parser.parse_args()
    if asked.logs is not None:
        asked.logs.mkdir(parents=True, exist_ok=True)
    if asked.chain in {CLUSTER, MARKETS} and postgres.BINARIES is None:
        say("skipped: there is no PostgreSQL on this machine (initdb is not found)")
        return 0
    say(HEADLINE)
    broken = 0
    for seed in range(asked.first, asked.first + asked.seeds):
        with tempfile.TemporaryDirectory(prefix="chaos-") as folder:
            report = asyncio.run(run(seed, asked.span, asked.chain, Path(folder)))
        say(line(report))
        explain(report)
        if asked.logs is not None and not report.verdict.clean:
            (asked.logs / f"chaos-{report.family}-{seed}.log").write_text("".join(report.log))
        broken += not report.verdict.clean
    say(f"{asked.seeds} seeds, {broken} of them broke a promise")
    return 1 if broken else 0


if __name__ == "__main__":
    sys.exit(main())
