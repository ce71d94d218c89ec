"""What a phase of the load measurement says, and the table that sets it beside the idle case."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import NamedTuple

FIFTHS = 5


class Timed(NamedTuple):
    """One thing that took so long; times in seconds from the start of what is measured."""

    at: float
    seconds: float


class Moment(NamedTuple):
    """The scanner's process at one time."""

    at: float
    rss_mb: float
    cpu_s: float
    intents: int  # registered so far


@dataclass(frozen=True, slots=True, kw_only=True)
class Figures:
    """What one phase measured in `length` seconds, its start left out."""

    length: float
    calls: Mapping[str, Sequence[Timed]]  # by what was asked
    reported: Sequence[Timed]  # from the block that holds the payment to its webhook
    moments: Sequence[Moment]
    paid: int  # payments of the whole phase, its start included
    webhooks: int  # events received, each counted once
    doubled: int  # deliveries beyond the first of an event
    hung: int  # requests the other chain's node took and never answered
    harness_stall_ms: float  # the longest the measuring process itself was late

    @property
    def rss(self) -> list[Timed]:
        return [Timed(moment.at, moment.rss_mb) for moment in self.moments]

    @property
    def cores(self) -> float:
        """How much of a core the scanner used."""
        first, last = self.moments[0], self.moments[-1]
        return (last.cpu_s - first.cpu_s) / (last.at - first.at)

    @property
    def growth_mb(self) -> float | None:
        """Memory a thousand intents, between the first and the last fifth; None when there were none."""
        ends = self._fifth(0), self._fifth(FIFTHS - 1)
        (rss, intents), (more_rss, more_intents) = ends
        return None if more_intents == intents else (more_rss - rss) / (more_intents - intents) * 1000

    def _fifth(self, number: int) -> tuple[float, float]:
        """Return memory and intents in the middle of a fifth, on average."""
        held = [m for m in self.moments if fifth_of(m.at, self.length) == number]
        return sum(m.rss_mb for m in held) / len(held), sum(m.intents for m in held) / len(held)


def fifth_of(at: float, length: float) -> int:
    return min(FIFTHS - 1, int(at / length * FIFTHS))


def quantile(values: Sequence[float], share: float) -> float:
    """Return the smallest value that so many of all do not exceed."""
    return sorted(values)[max(0, math.ceil(share * len(values)) - 1)]


def of_fifth(timed: Sequence[Timed], number: int, length: float) -> list[float]:
    return [one.seconds for one in timed if fifth_of(one.at, length) == number]


class Line(NamedTuple):
    """One figure of every phase, in the order of the phases."""

    name: str
    values: Sequence[float | None]
    shown: str  # how one is written


def lines(phases: Sequence[Figures]) -> Iterator[Line]:
    for call in phases[0].calls:
        yield from _two(f"`{call}`", [figures.calls[call] for figures in phases])
    yield from _two("payment's block → webhook", [figures.reported for figures in phases])
    yield Line("memory, largest", [max(m.rss_mb for m in f.moments) for f in phases], "{:.0f} MB")
    yield Line("memory a thousand intents", [f.growth_mb for f in phases], "{:+.2f} MB")
    yield Line("processor", [f.cores for f in phases], "{:.2f} cores")


def _two(name: str, timed: Sequence[Sequence[Timed]]) -> Iterator[Line]:
    for label, share in (("p50", 0.5), ("p99", 0.99)):
        values = [quantile([one.seconds for one in phase], share) * 1000 if phase else None for phase in timed]
        yield Line(f"{name} {label}", values, "{:.1f} ms")


def beside_idle(names: Sequence[str], phases: Sequence[Figures]) -> str:
    """Return every figure of every phase, and beside each the ratio to the first phase's."""
    head = ["figure", names[0], *(column for name in names[1:] for column in (name, "ratio"))]
    rows = []
    for line in lines(phases):
        idle, *others = line.values
        row = [line.name, _shown(idle, line.shown)]
        for value in others:
            row += [_shown(value, line.shown), _ratio(value, idle)]
        rows.append(row)
    return _table(head, rows)


def first_and_last(names: Sequence[str], phases: Sequence[Figures]) -> str:
    """Return what the last fifth of each phase is to its first: 1.0 is flat."""
    series = [{**f.calls, "payment's block → webhook": f.reported} for f in phases]
    rows = [
        [f"{_code(name)} p99", *(_change(each[name], 0.99, f.length) for each, f in zip(series, phases, strict=True))]
        for name in series[0]
    ]
    rows.append(["memory, median", *(_change(f.rss, 0.5, f.length) for f in phases)])
    return _table(["last fifth to first", *names], rows)


def counted(names: Sequence[str], phases: Sequence[Figures]) -> str:
    """Return how much happened, so that a reader can judge the rest."""
    rows = [
        [
            name,
            f"{sum(map(len, f.calls.values())):,}",
            f"{f.moments[-1].intents:,}",
            f"{f.paid:,}",
            f"{f.webhooks:,}",
            str(f.doubled),
            str(f.hung),
            f"{f.harness_stall_ms:.0f} ms",
        ]
        for name, f in zip(names, phases, strict=True)
    ]
    return _table(
        ["phase", "requests", "intents", "paid", "reported", "sent twice", "never answered", "measured late by"], rows
    )


def _change(timed: Sequence[Timed], share: float, length: float) -> str:
    first, last = (of_fifth(timed, number, length) for number in (0, FIFTHS - 1))
    return _ratio(quantile(last, share), quantile(first, share)) if first and last else "none"


def _code(name: str) -> str:
    return f"`{name}`" if "/" in name else name


def _shown(value: float | None, form: str) -> str:
    return "none" if value is None else form.format(value)


def _ratio(value: float | None, to: float | None) -> str:
    return "none" if value is None or to is None or to <= 0 or value < 0 else f"{value / to:.2g}"


def _table(head: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    return "\n".join("| " + " | ".join(row) + " |" for row in (head, ["---"] * len(head), *rows))
