"""Level after level, until the last or until something happens that must not."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from devnet.runner import report
from devnet.runner.facts import LevelResult
from devnet.runner.level import Run

NAME = "e2e"


async def ramp(
    run: Run, levels: Sequence[int], *, folder: Path, about: Mapping[str, Any], log: Callable[[str], None]
) -> list[LevelResult]:
    """Run the levels and write the reports after each, so that a run that is cut short leaves what it saw."""
    header = {"started": f"{datetime.now(UTC):%Y-%m-%dT%H:%M:%SZ}", **about}
    results: list[LevelResult] = []
    for workers in levels:
        result = await run.level(workers)
        results.append(result)
        report.write(folder, NAME, results, header)
        log(_line(result))
        if result.stopping:
            log(f"stopped     {result.stopping[0].kind}: {result.stopping[0].detail}")
            break
    return results


def _line(level: LevelResult) -> str:
    state = "ok" if level.ok else "FAILED"
    return (
        f"{level.workers:>2} workers  {state}: {level.finished} flows finished in {level.seconds:.1f} s, "
        f"{len(level.samples)} calls, {level.server_errors} of them 5xx, {len(level.findings)} findings"
    )
