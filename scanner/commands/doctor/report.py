"""Shows what was found: a table of everything, then a sentence for each thing to act on."""

from __future__ import annotations

from collections.abc import Sequence

from rich.console import Console
from rich.table import Table
from rich.text import Text

from chains.findings import Verdict
from scanner.commands.doctor.chain import Located

STYLES = {Verdict.OK: "green", Verdict.WARNING: "yellow", Verdict.PROBLEM: "bold red", Verdict.SKIPPED: "dim"}
WIDTH_OF_A_FILE = 160  # where no terminal says how wide it is


def show(found: Sequence[Located], console: Console) -> None:
    """Print the table and the sentences."""
    table = Table("where", "what", "", "found", box=None, pad_edge=False)
    for where, finding in found:
        # As plain texts: what an endpoint says must not be read as styles.
        cells = (where, finding.what, finding.verdict.value, finding.found)
        table.add_row(*(Text(cell, style=STYLES[finding.verdict] if i == 2 else "") for i, cell in enumerate(cells)))  # noqa: PLR2004 - its place
    console.print(table)
    for kind in (Verdict.PROBLEM, Verdict.WARNING):
        for where, finding in found:
            if finding.verdict is kind:
                _say(console, kind.value.upper(), f"{where}: {finding.advice}", STYLES[kind])
    _say(console, "", _summary([finding.verdict for _, finding in found]), "")


def exit_code(found: Sequence[Located]) -> int:
    """Return 1 where somebody has to act before payments can be taken."""
    return int(any(finding.verdict is Verdict.PROBLEM for _, finding in found))


def _summary(verdicts: Sequence[Verdict]) -> str:
    problems, warnings = verdicts.count(Verdict.PROBLEM), verdicts.count(Verdict.WARNING)
    if not problems:
        return f"ready to take payments ({_counted(warnings, 'warning')})"
    return f"{_counted(problems, 'problem')}, {_counted(warnings, 'warning')}"


def _counted(number: int, what: str) -> str:
    return f"{number} {what}{'' if number == 1 else 's'}"


def _say(console: Console, kind: str, sentence: str, style: str) -> None:
    line = Text.assemble((f"{kind} ", style), sentence) if kind else Text(sentence)
    console.print(line, soft_wrap=True)
