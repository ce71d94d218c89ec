"""What looking at one endpoint, or at anything else a scanner needs, found out."""

from __future__ import annotations

from collections.abc import Collection
from enum import StrEnum
from typing import NamedTuple


class Verdict(StrEnum):
    """Whether a finding lets the scanner do its work."""

    OK = "ok"
    WARNING = "warning"  # it works, and something will be slow, unseen or unsafe
    PROBLEM = "problem"  # payments cannot be taken before somebody acts
    SKIPPED = "skipped"  # what it depends on was not there


NO_ANSWER = "no answer"
"""What is found of an endpoint that cannot be reached."""


class Finding(NamedTuple):
    """One thing that was looked at."""

    what: str
    verdict: Verdict
    found: str
    advice: str = ""  # a sentence that says what is wrong and what to change; empty when nothing is
    age_s: int | None = None  # of a newest block, by this machine's clock; negative: in the future


def ok(what: str, found: str) -> Finding:
    """Return a finding that needs nobody."""
    return Finding(what, Verdict.OK, found)


def warning(what: str, found: str, advice: str) -> Finding:
    """Return a finding that somebody should know."""
    return Finding(what, Verdict.WARNING, found, advice)


def problem(what: str, found: str, advice: str) -> Finding:
    """Return a finding that somebody has to act on."""
    return Finding(what, Verdict.PROBLEM, found, advice)


def skipped(what: str, why: str) -> Finding:
    """Return that something could not be looked at."""
    return Finding(what, Verdict.SKIPPED, why)


SLOW_S = 2.0
STALE_S = 120
AHEAD_S = 15


def judge_latency(seconds: float) -> Finding:
    """Judge how long an endpoint takes to answer."""
    found = f"{seconds * 1000:.0f} ms"
    if seconds <= SLOW_S:
        return ok("latency", found)
    advice = f"An answer takes {seconds:.1f} s: payments are seen and confirmed late. Use a faster endpoint beside it."
    return warning("latency", found, advice)


def judge_head(newest: str, head_time: int, now: float) -> Finding:
    """Judge how old the newest block of an endpoint is, by this machine's clock."""
    age_s = round(now - head_time)
    if age_s > STALE_S:
        advice = (
            f"Its newest block is {age_s} s old: it has fallen behind, the network stands still, or this machine's"
            " clock is ahead. Use another endpoint, or set the clock."
        )
        found = problem("head", f"{newest}, {age_s} s old", advice)
    elif age_s < -AHEAD_S:
        advice = f"Its newest block lies {-age_s} s in the future: set this machine's clock, or use another endpoint."
        found = problem("head", f"{newest}, {-age_s} s ahead", advice)
    else:
        found = ok("head", f"{newest}, {max(age_s, 0)} s old")
    return found._replace(age_s=age_s)


def judge_clock(ages_s: Collection[int]) -> Finding:
    """Judge this machine's clock by the newest blocks of all endpoints."""
    if not ages_s:
        return skipped("clock", "no endpoint tells the time")
    newest = min(ages_s)
    if newest < -AHEAD_S:
        advice = f"The newest block lies {-newest} s in the future: this machine's clock is behind. Set it (NTP)."
        return problem("clock", f"{-newest} s behind", advice)
    if newest > STALE_S:
        advice = f"No endpoint has a block of the last {newest} s: set this machine's clock (NTP) if it is ahead."
        return warning("clock", f"perhaps {newest} s ahead", advice)
    return ok("clock", f"agrees with the newest of {len(ages_s)} blocks to {abs(newest)} s")
