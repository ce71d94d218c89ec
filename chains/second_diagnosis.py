"""What an operator is told of the endpoints that have to say the same as the first source."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

from chains.findings import STALE_S, Finding, ok, problem, warning

WHAT = "second source"


class SecondLook(NamedTuple):
    """One of them: what it showed, or why it is of no use; and how far it is behind the first source."""

    label: str
    found: str = ""
    wrong: str = ""
    behind_s: int = 0


def judge_second(looks: Sequence[SecondLook], setting: str) -> list[tuple[str, Finding]]:
    """Judge them together, by their labels: nothing is confirmed where none of them is of use."""
    is_any = any(not each.wrong for each in looks)
    return [(each.label, _finding(each, setting, is_any=is_any)) for each in looks]


def _finding(look: SecondLook, setting: str, *, is_any: bool) -> Finding:
    if look.wrong:
        advice = f"It says nothing of use ({look.wrong}): correct it in {setting}, or take it out."
        if is_any:
            return warning(WHAT, "of no use", f"{advice} The others are asked meanwhile.")
        return problem(WHAT, "of no use", f"{advice} No payment is confirmed while none of them answers.")
    if look.behind_s > STALE_S:
        advice = f"It is {look.behind_s} s behind the first source, and payments are confirmed so much later."
        return warning(WHAT, look.found, f"{advice} Name another one in {setting}.")
    return ok(WHAT, look.found)
