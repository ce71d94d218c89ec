"""How often a race is run: a few times in a usual run, 300 times by `make test-races`."""

from __future__ import annotations

from typing import Any

import pytest

WHOLE = 300
LONGEST_S = 1200


def rounds(short: int) -> list[Any]:
    """Return the parameters of a fixture that says how often; the whole number has a target of its own."""
    whole = pytest.param(WHOLE, id="whole", marks=[pytest.mark.races, pytest.mark.timeout(LONGEST_S)])
    return [pytest.param(short, id="short"), whole]
