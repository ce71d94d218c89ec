"""The load measurement measures what it says, and its arithmetic is right."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest

from bench.load import BUSY, measure
from bench.load_clients import CALLS
from bench.load_figures import Figures, Moment, Timed, beside_idle, first_and_last, quantile

CALL = "GET /health"


def some_figures(**fields: Any) -> Figures:
    """Return a phase of ten seconds in which everything takes 2 ms and nothing grows."""
    timed = [Timed(at, 0.002) for at in range(10)]
    usual: dict[str, Any] = {
        "length": 10.0,
        "calls": {CALL: timed},
        "reported": timed,
        "moments": [Moment(float(at), 100.0, at * 0.5, at * 100) for at in range(10)],
        "paid": 10,
        "webhooks": 10,
        "doubled": 0,
        "hung": 0,
        "harness_stall_ms": 1.0,
    }
    return Figures(**{**usual, **fields})


@pytest.mark.long
@pytest.mark.process
async def test_every_payment_is_reported_once_while_a_node_hangs_and_everything_asked_is_timed() -> None:
    plan = replace(BUSY, clients=3, payments_a_minute=60, think_s=0.05, hour_min=1, minutes=0.05, hangs=True)

    seen = await measure(plan)

    assert seen.paid > 60
    assert (seen.webhooks, seen.doubled) == (seen.paid, 0)
    assert seen.hung > 0
    assert {name for name, timed in seen.calls.items() if timed} == set(CALLS)
    assert all(0 <= one.at < seen.length for timed in seen.calls.values() for one in timed)
    assert seen.moments[-1].intents > seen.moments[0].intents
    assert seen.cores > 0


@pytest.mark.parametrize(("share", "expected"), [(0.5, 50), (0.99, 99), (1.0, 100), (0.0, 1)])
def test_a_quantile_is_a_value_that_occurred(share: float, expected: int) -> None:
    assert quantile([float(n) for n in range(100, 0, -1)], share) == expected


def test_memory_that_grows_with_the_intents_is_reported_by_the_thousand() -> None:
    growing = [Moment(float(at), 100 + at, 0.0, at * 500) for at in range(10)]

    assert some_figures(moments=growing).growth_mb == pytest.approx(2.0)


def test_the_table_sets_every_phase_beside_the_first() -> None:
    slow = some_figures(calls={CALL: [Timed(at, 0.006) for at in range(10)]})

    table = beside_idle(["idle", "load"], [some_figures(), slow])

    assert f"| `{CALL}` p99 | 2.0 ms | 6.0 ms | 3 |" in table


def test_the_last_fifth_is_set_beside_the_first() -> None:
    rising = some_figures(calls={CALL: [Timed(at, 0.001 * (at + 1)) for at in range(10)]})

    table = first_and_last(["idle", "load"], [some_figures(), rising])

    assert f"| `{CALL}` p99 | 1 | 5 |" in table
