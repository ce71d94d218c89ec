"""How much of something a usual run tries: races a few times (300 times by `make test-races`), some of many cases."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import pytest

WHOLE = 300
LONGEST_S = 1200


def rounds(short: int) -> list[Any]:
    """Return the parameters of a fixture that says how often; the whole number has a target of its own."""
    whole = pytest.param(WHOLE, id="whole", marks=[pytest.mark.races, pytest.mark.timeout(LONGEST_S)])
    return [pytest.param(short, id="short"), whole]


def a_few_and_the_rest_long(cases: Iterable[Any], every: int = 5) -> list[Any]:
    """Return the cases of a test, of which a usual run tries one in so many, and the long one all others."""
    return [
        case if number % every == 0 else pytest.param(case, marks=pytest.mark.long) for number, case in enumerate(cases)
    ]
