"""What a run showed, for machines (JSON) and people (Markdown)."""

from __future__ import annotations

import math
from collections import defaultdict
from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import orjson

from devnet.runner.facts import CallSample, FindingKind, LevelResult

LIVE, LISTED = "notification (live)", "notification (list)"
# p50 and p95 in seconds: goals that are reported, and fail nothing.
GOALS: Mapping[str, tuple[float, float]] = {
    "login": (0.3, 1.0),
    "create request": (0.4, 1.5),
    "create offer": (0.4, 1.5),
    "accept offer": (0.5, 2.0),
    "create payment intent": (0.75, 3.0),
    "balance check": (1.0, 5.0),
    "deliver": (0.5, 2.0),
    "confirm delivery": (0.5, 2.0),
    "generate code": (0.5, 2.0),
    "verify code": (0.5, 2.0),
    LIVE: (1.0, 5.0),
    LISTED: (1.0, 5.0),
}


def percentile(values: Sequence[float], percent: int) -> float:
    """Return the value that so many percent do not exceed (nearest rank)."""
    ordered = sorted(values)
    return ordered[max(0, math.ceil(len(ordered) * percent / 100) - 1)]


def summary(values: Sequence[float]) -> dict[str, float]:
    """Return count, p50, p95, p99 and the worst."""
    shown = {f"p{percent}": round(percentile(values, percent), 4) for percent in (50, 95, 99)}
    return {"count": len(values), **shown, "max": round(max(values), 4)}


def latencies(level: LevelResult) -> dict[str, dict[str, float]]:
    """Sum up each operation, in the order it was first used."""
    by_operation: defaultdict[str, list[float]] = defaultdict(list)
    for sample in level.samples:
        by_operation[sample.operation].append(sample.seconds)
    by_operation[LIVE] += level.live_s
    by_operation[LISTED] += level.listed_s
    return {name: summary(values) for name, values in by_operation.items() if values}


def targets(level: LevelResult) -> dict[str, Any]:
    """Return the correctness targets as they came out."""
    counted = {kind: sum(finding.kind is kind for finding in level.findings) for kind in FindingKind}
    return {
        "flowsFinished": level.finished,
        "flows": level.workers,
        "duplicateCredits": counted[FindingKind.DUPLICATE],
        "wrongRecipients": counted[FindingKind.WRONG_RECIPIENT],
        "leaks": counted[FindingKind.LEAK],
        "ledgerInconsistencies": counted[FindingKind.LEDGER],
        "paidWithoutEvidence": counted[FindingKind.UNPROVEN],
        "toldTwiceOrNotAtAll": counted[FindingKind.REPEATED] + counted[FindingKind.NOT_NOTIFIED],
        "goodsAndOrdersDoubled": counted[FindingKind.GOODS],
        "backlogs": counted[FindingKind.BACKLOG],
        "lateNotifications": level.late,
        "serverErrors": level.server_errors,
        "calls": len(level.samples),
    }


def as_json(levels: Sequence[LevelResult], about: Mapping[str, Any]) -> bytes:
    """Render everything but the single calls."""
    rendered = [
        {
            "workers": level.workers,
            "ok": level.ok,
            "seconds": round(level.seconds, 3),
            "targets": targets(level),
            "flowSeconds": summary([flow.seconds for flow in level.flows]),
            "latencies": latencies(level),
            "statuses": _statuses(level.samples),
            "findings": [{"fault": finding.kind, "detail": finding.detail} for finding in level.findings],
            "failures": [
                {"worker": flow.purchase.worker, "why": flow.failed} for flow in level.flows if flow.failed is not None
            ],
        }
        for level in levels
    ]
    body = {**about, "ok": all(level.ok for level in levels), "levels": rendered}
    return orjson.dumps(body, option=orjson.OPT_INDENT_2)


def _statuses(samples: Iterable[CallSample]) -> dict[str, int]:
    counted: defaultdict[str, int] = defaultdict(int)
    for sample in samples:
        counted[str(sample.status)] += 1
    return dict(sorted(counted.items()))


def as_markdown(levels: Sequence[LevelResult], about: Mapping[str, Any]) -> str:
    """Render what a person wants to know: is it right, and how long did it take."""
    lines = ["# End-to-end run", ""]
    lines += [f"- {name}: {value}" for name, value in about.items()]
    lines += ["", "## Correctness", "", *_correctness(levels), "", "## Latency", ""]
    lines += ["Seconds, p50 / p95 / p99; ✗ marks a missed goal (goals are reported, they fail nothing).", ""]
    lines += [*_latency(levels), ""]
    wrong = [*_wrong(levels)]
    return "\n".join([*lines, *(["## What is wrong", "", *wrong, ""] if wrong else [])])


def _correctness(levels: Sequence[LevelResult]) -> Iterator[str]:
    yield (
        "| workers | flows | duplicate credits | wrong recipients | leaks | ledger | unproven | 5xx / calls "
        "| late notes | seconds | flow p50 / p95 | |"
    )
    yield "|--:|--:|--:|--:|--:|--:|--:|--:|--:|--:|--:|---|"
    for level in levels:
        t, flow = targets(level), summary([each.seconds for each in level.flows])
        yield (
            f"| {level.workers} | {t['flowsFinished']}/{t['flows']} | {t['duplicateCredits']} | {t['wrongRecipients']} "
            f"| {t['leaks']} | {t['ledgerInconsistencies']} | {t['paidWithoutEvidence']} "
            f"| {t['serverErrors']} / {t['calls']} | {t['lateNotifications']} | {level.seconds:.1f} "
            f"| {flow['p50']:.1f} / {flow['p95']:.1f} | {'ok' if level.ok else '**FAILED**'} |"
        )


def _latency(levels: Sequence[LevelResult]) -> Iterator[str]:
    found = [latencies(level) for level in levels]
    names = dict.fromkeys(name for each in found for name in each)
    yield f"| operation | goal | {' | '.join(f'{level.workers}' for level in levels)} |"
    yield f"|---|---|{'--:|' * len(levels)}"
    for name in names:
        goal = GOALS.get(name)
        cells = [_cell(each.get(name), goal) for each in found]
        yield f"| {name} | {'' if goal is None else f'{goal[0]:g} / {goal[1]:g}'} | {' | '.join(cells)} |"


def _cell(found: Mapping[str, float] | None, goal: tuple[float, float] | None) -> str:
    if found is None:
        return ""
    missed = goal is not None and (found["p50"] > goal[0] or found["p95"] > goal[1])
    return f"{found['p50']:.2f} / {found['p95']:.2f} / {found['p99']:.2f}{' ✗' if missed else ''}"


def _wrong(levels: Sequence[LevelResult]) -> Iterator[str]:
    for level in levels:
        for finding in level.findings:
            yield f"- {level.workers} workers: {finding.kind}: {finding.detail}"
        for flow in level.flows:
            if flow.failed is not None:
                yield f"- {level.workers} workers: worker {flow.purchase.worker} failed at {flow.failed}"


def write(folder: Path, name: str, levels: Sequence[LevelResult], about: Mapping[str, Any]) -> None:
    """Write both reports."""
    folder.mkdir(parents=True, exist_ok=True)
    (folder / f"{name}.json").write_bytes(as_json(levels, about))
    (folder / f"{name}.md").write_text(as_markdown(levels, about))
