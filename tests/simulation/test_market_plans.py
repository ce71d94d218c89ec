"""What is planned for both services: the same for the same seed, in whole and in part."""

from __future__ import annotations

from tests.chaos.market_plan import SELDOM, market_plan
from tests.chaos.market_scenarios import SCREENED
from tests.simulation.market_plans import MOST_SPAN_S, PROCESSES, RAISED, sim_market_plan
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
    assert {len(sim_market_plan(seed, 2 * MOST_SPAN_S).numbers) for seed in SEEDS} == {4, 5}


def test_now_and_then_a_stranger_comes_whom_the_laboratory_does_not_play() -> None:
    plans = {seed: sim_market_plan(seed, 20.0).whole.scenarios for seed in range(100)}
    seldom = {seed: planned[4] for seed, planned in plans.items() if len(planned) > 4}

    assert {(planned.kind, planned.rail) for planned in seldom.values()} == {
        (kind, rail) for kind, rails in SELDOM.items() for rail in rails
    }
    assert 10 < len(seldom) < 45
    assert set(SELDOM) <= SCREENED
    assert all(planned[:4] == market_plan(seed, span_s=20.0).scenarios for seed, planned in plans.items())


def test_now_and_then_an_admin_asks_for_more_than_the_floor() -> None:
    raised = [plan.raised for plan in (sim_market_plan(seed, 20.0) for seed in range(100)) if plan.raised]

    assert 10 < len(raised) < 45
    assert all(RAISED[0] <= more <= RAISED[1] for more in raised)


def test_seeds_draw_the_marketplace_now_and_then() -> None:
    drawn = [drawn_family(seed) for seed in range(200)]

    assert 20 < drawn.count("market") < 60
