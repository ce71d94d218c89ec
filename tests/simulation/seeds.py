"""
Many seeds, each in a child of this process, so that none leaves anything to the next.

What fails is told with its sentences, the last steps of its schedule and the command that replays it, and is made
smaller as long as it fails the same way.
"""

from __future__ import annotations

import argparse
import contextlib
import datetime as dt
import os
import pickle
import resource
import signal
import sys
import tempfile
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import get_args

from tests.simulation import machine, market_sabotage, sabotage
from tests.simulation.plans import SPAN_S, Asked, Played
from tests.simulation.run import MEMORY, Result, run_seed, warm

FAILED = Path(__file__).with_name("failed_seeds.txt")
MOST_CPU_S, MOST_CPU_OF_A_DAY_S = 240, 3600  # of one seed
TRIALS = 24  # to make a failure smaller
SABOTAGES = sabotage.SABOTAGES | market_sabotage.MARKET_SABOTAGES
A_DAY = 1_000_000  # seeds: a day of the month begins where the one before cannot have come to
HEADLINE = f"{'seed':>8} {'chain':<7} {'trace':<16} {'steps':>8} {'virtual':>7} {'cpu':>5} {'lives':>5} {'payments':>8} {'settled':>7}"


def say(text: str) -> None:
    sys.stdout.write(f"{text}\n")
    sys.stdout.flush()


def line(result: Result) -> str:
    return (
        f"{result.asked.seed:>8} {result.family:<7} {result.trace:016x} {result.steps:>8} {result.virtual_s:>7.0f}"
        f" {result.cpu_s:>5.1f} {result.lives:>5} {result.payments:>8} {result.settled:>7}"
    )


def explain(result: Result) -> None:
    for sentence in result.sentences:
        say(f"         {sentence.rstrip()[:2000]}")
    say(f"         the last {len(result.notes)} steps of the schedule:")
    for note in result.notes:
        say(f"           {note[:300]}")
    say(f"         to replay it: {result.asked.command}")


class Child:
    """One seed, in a process of its own."""

    def __init__(self, asked: Asked, *, verbose: bool = False) -> None:
        self.asked = asked
        self._folder = tempfile.TemporaryDirectory(dir=MEMORY if MEMORY.is_dir() else None, prefix="simulation-")
        self.pipe, writing = os.pipe()
        sys.stdout.flush()
        self.pid = os.fork()
        if self.pid == 0:
            os.close(self.pipe)
            _play(asked, Path(self._folder.name), writing, say if verbose else None)
        os.close(writing)

    def result(self) -> Result:
        try:
            with os.fdopen(self.pipe, "rb") as pipe:
                sent = pipe.read()
        except BaseException:
            self.end()
            raise
        _, status = os.waitpid(self.pid, 0)
        self._folder.cleanup()
        if not sent:
            why = signal.Signals(status & 0x7F).name if status & 0x7F else f"code {status >> 8}"
            return Result(self.asked, [f"the simulation ended with {why}: its CPU is limited"])
        result: Result = pickle.loads(sent)  # noqa: S301 - our own child's
        return result

    def end(self) -> None:
        """Let nothing of it be left behind."""
        with contextlib.suppress(ProcessLookupError):
            os.kill(self.pid, signal.SIGKILL)
            os.waitpid(self.pid, 0)
        self._folder.cleanup()


def _play(asked: Asked, folder: Path, writing: int, said: Callable[[str], object] | None) -> None:
    signal.signal(signal.SIGTERM, signal.SIG_DFL)
    most = MOST_CPU_OF_A_DAY_S if asked.family == "day" else MOST_CPU_S
    resource.setrlimit(resource.RLIMIT_CPU, (most, most + 5))
    result = run_seed(asked, folder, said)
    with os.fdopen(writing, "wb") as pipe:
        pickle.dump(result, pipe)
    os._exit(0)  # nothing that a dead process left is ever finished


def play(asked: Asked) -> Result:
    """Play one seed and wait for it."""
    return Child(asked).result()


def results(wanted: Iterator[Asked], jobs: int) -> Iterator[Result]:
    """Play as many at once; in the order they were asked for."""
    running: list[Child] = []
    try:
        for asked in wanted:
            running.append(Child(asked))
            if len(running) == jobs:
                yield running.pop(0).result()
        while running:
            yield running.pop(0).result()
    finally:
        for child in running:
            child.end()


def smaller(failed: Result) -> Result:
    """Leave out faults, then purchases, as long as it fails the same way."""
    count, purchases = failed.planned
    best, trials = failed, TRIALS
    for name, numbers in (("faults", tuple(range(count))), ("purchases", purchases)):
        best, trials = _without(best, name, numbers, trials)
    return best


def _without(best: Result, name: str, numbers: tuple[int, ...], trials: int) -> tuple[Result, int]:
    """Leave out as many of these as can be: halves first, then ever smaller parts."""
    wanted, size = _kinds(best), max(1, len(numbers) // 2)
    while numbers and size:
        for start in range(0, len(numbers), size):
            if not trials:
                return best, 0
            trials -= 1
            rest = numbers[:start] + numbers[start + size :]
            result = play(replace(best.asked, **{name: rest}))
            if wanted & _kinds(result):
                best, numbers = result, rest
                break
        else:
            size //= 2
    return best, trials


def _kinds(result: Result) -> set[str]:
    """Return the kinds of broken promises, without what differs from run to run."""
    return {sentence.split(":")[0].split(" at ")[0] for sentence in result.sentences}


def known_failures() -> list[Asked]:
    """Return every run that ever failed."""
    found = []
    for row in FAILED.read_text().splitlines():
        if row and not row.startswith("#"):
            seed, span_s, family, *_ = row.split()
            found.append(Asked(int(seed), float(span_s), None if family == "-" else family))  # type: ignore[arg-type]
    return found


class Traces:
    """Which steps every run took before: whoever plays one again, in another process or on another day, takes the same."""

    def __init__(self, path: Path | None) -> None:
        self._path = path
        rows = path.read_text().splitlines() if path is not None and path.exists() else []
        self._known = dict(row.rsplit(" ", 1) for row in rows)

    def differs(self, result: Result) -> str | None:
        """Remember the steps of a run, or say that they were others before."""
        if self._path is None:
            return None
        trace = f"{result.trace:016x}"
        before = self._known.setdefault(result.asked.command, trace)
        self._path.write_text("".join(f"{command} {known}\n" for command, known in self._known.items()))
        return None if trace == before else f"other steps than before: {before}"


def _wanted(asked: argparse.Namespace, done: int) -> Iterator[Asked]:
    if asked.seconds:
        yield from known_failures()
    for seed in range(asked.first + done, asked.first + asked.seeds):
        yield Asked(seed, asked.span, asked.chain, asked.faults, asked.purchases)


def _numbers(text: str) -> tuple[int, ...]:
    return () if text == "none" else tuple(map(int, text.split(",")))


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m tests.simulation", description=__doc__)
    parser.add_argument("--seeds", type=int, default=20, help="how many")
    parser.add_argument("--from", type=int, default=1, dest="first", help="the first of them")
    parser.add_argument("--span", type=float, default=SPAN_S, help="virtual seconds of trouble a run")
    parser.add_argument(
        "--chain",
        choices=get_args(Played),
        help="one family alone, all in one scanner, two in several, or with the marketplace; else the seed draws it",
    )
    parser.add_argument("--jobs", type=int, default=1, help="seeds at a time")
    parser.add_argument(
        "--seconds", type=float, default=0, help="every seed that ever failed, then today's for so long"
    )
    parser.add_argument("--progress", type=Path, help="a file that remembers how far this got, to go on from there")
    parser.add_argument(
        "--traces", type=Path, help="a file that remembers the steps, to tell whether they are the same"
    )
    parser.add_argument("--faults", type=_numbers, help="of the plan's faults these alone, by number")
    parser.add_argument("--purchases", type=_numbers, help="of the plan's purchases these alone")
    parser.add_argument("--sabotage", choices=sorted(SABOTAGES), help="break a service in this way first")
    parser.add_argument("--until-found", action="store_true", help="end at the first seed that fails")
    parser.add_argument("--no-shrink", action="store_true", help="leave a failure as it is")
    parser.add_argument("--verbose", action="store_true", help="show every step of the schedule")
    return parser.parse_args()


def main() -> int:
    asked = _arguments()
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(1))  # so that its children end as well
    if asked.seconds:
        today = dt.datetime.now(dt.UTC).day
        asked.first, asked.seeds = today * A_DAY, A_DAY
    done, broken = _progress(asked.progress)
    warm(with_market=asked.chain in {None, "market"})
    if asked.sabotage:
        SABOTAGES[asked.sabotage]()
    began, count, cpu_s = machine.real_time(), 0, 0.0
    say(HEADLINE)
    wanted = _wanted(asked, done)
    if asked.verbose:
        for each in wanted:
            result = Child(each, verbose=True).result()
            say(line(result))
            explain(result)
        return 0
    traces = Traces(asked.traces)
    failures = known_failures() if asked.seconds else []
    for result in results(_timed(wanted, began, asked.seconds, len(failures)), asked.jobs):
        count += 1
        cpu_s += result.cpu_s
        say(line(result))
        if (other := traces.differs(result)) is not None:
            broken += 1
            say(f"         {other}")
        elif result.sentences:
            broken += 1
            explain(result if asked.no_shrink or asked.sabotage else smaller(result))
            if asked.until_found:
                break
        if asked.progress is not None:
            asked.progress.write_text(f"{done + count} {broken}\n")
    say(f"{done + count} seeds, {broken} of them broke a promise; {count} in {cpu_s:.0f} s of CPU")
    # A line that tools read alike for every language.
    say(f"{count - min(broken, count)} passed, {min(broken, count)} failed")
    return 1 if broken else 0


def _timed(wanted: Iterator[Asked], began: float, seconds: float, first: int) -> Iterator[Asked]:
    """Stop when the time is over, but not before everything that ever failed was played."""
    for number, each in enumerate(wanted):
        if seconds and number >= first and machine.real_time() - began > seconds:
            return
        yield each


def _progress(path: Path | None) -> tuple[int, int]:
    if path is None or not path.exists():
        return 0, 0
    done, broken = map(int, path.read_text().split())
    return done, broken
