"""What a measurement says, and how it is shown."""

from __future__ import annotations

import json
import os
import platform
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path


@dataclass(frozen=True, slots=True)
class TableRow:
    """One line of the table; `target` in words, `ok` None where there is none."""

    name: str
    ours: str
    peer: str
    ratio: str
    target: str
    ok: bool | None


def show(rows: Sequence[TableRow]) -> None:
    """Print the table and keep it in reports/."""
    print(f"\n{platform.python_implementation()} {platform.python_version()}, {os.cpu_count()} cores\n")
    print("| measurement | ours | peer or limit | ratio | target | |")
    print("|---|---|---|---|---|---|")
    for row in rows:
        mark = {True: "ok", False: "MISSED", None: ""}[row.ok]
        print(f"| {row.name} | {row.ours} | {row.peer} | {row.ratio} | {row.target} | {mark} |")
    folder = Path("reports")
    folder.mkdir(exist_ok=True)
    (folder / "bench.json").write_text(json.dumps([asdict(row) for row in rows], indent=2))
