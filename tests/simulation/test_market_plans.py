"""What is planned for both services: the same for the same seed, in whole and in part."""

from __future__ import annotations

from tests.chaos.market_plan import market_plan
from tests.simulation.market_plans import MOST_SPAN_S, PROCESSES, sim_market_plan
from tests.simulation.plans import drawn_family

SEEDS = range(1, 40)


def test_a_part_of_a_plan_is_that_part() -> None:
    whole = sim_market_plan(9, 20.0)
    part = sim_market_plan(9, 20.0, faults=(0, 3), purchases=(1,))

    assert part.whole.faults == (whole.whole.faults[0], whole.whole.faults[3])
    assert (part.numbers, part.whole.scenarios) == ((1,), whole.whole.scenarios[1:2])
    assert sim_market_plan(9, 20.0) == whole


def test_both_services_die_more_often_than_in_the_laboratory() -> None:
    for area in PROCESSES:
        died, before = (
            sum(fault.area == area and fault.kind == "kill" for plan in plans for fault in plan.faults)
            for plans in (
                [sim_market_plan(seed, 20.0).whole for seed in SEEDS],
                [market_plan(seed, span_s=20.0) for seed in SEEDS],
            )
        )
        assert died > 2 * before > 0


def test_a_run_has_few_buyers_however_long_it_is() -> None:
    assert all(len(sim_market_plan(seed, 2 * MOST_SPAN_S).numbers) == 4 for seed in SEEDS)


def test_seeds_draw_the_marketplace_now_and_then() -> None:
    drawn = [drawn_family(seed) for seed in range(200)]

    assert 20 < drawn.count("market") < 60
