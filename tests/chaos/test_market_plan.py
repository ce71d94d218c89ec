"""A seed is a run of the marketplace's laboratory, too."""

from __future__ import annotations

import pytest

from tests.chaos.market_plan import (
    CALLS,
    EVERY,
    HOOKS,
    KINDS,
    ON_DATABASE,
    PROCESS,
    REORGS,
    STRANGERS,
    market_plan,
    on_database,
)
from tests.chaos.schedule import TRANSIENT

MANY = [market_plan(seed) for seed in range(1, 41)]


def test_a_seed_gives_the_same_plan_and_another_one_another() -> None:
    assert market_plan(7) == market_plan(7)
    assert market_plan(7) != market_plan(8)


def test_every_kind_of_buyer_and_of_stranger_is_in_every_run_and_a_whole_purchase_on_every_rail() -> None:
    for one in MANY:
        assert {planned.kind for planned in one.scenarios} == set(KINDS)
        assert {planned.rail for planned in one.scenarios if planned.kind == "exact"} == set(EVERY)


def test_every_kind_of_buyer_comes_on_every_rail_it_can() -> None:
    seen = {(planned.kind, planned.rail) for one in MANY for planned in one.scenarios}
    assert seen == {(kind, rail) for kind, rails in KINDS.items() for rail in rails}


def test_every_kind_of_fault_is_in_some_run() -> None:
    kinds = {
        "rpc": TRANSIENT,
        "chain": REORGS,
        "hooks": HOOKS,
        "calls": CALLS,
        "scanner": PROCESS,
        "marketplace": PROCESS,
    }
    wanted = {(area, kind) for area, known in kinds.items() for kind in known}
    injected = {(fault.area, fault.kind) for one in MANY for fault in one.faults}
    assert injected == wanted | {("clock", "off"), ("forged", "webhook")}


def test_no_reorganisation_reaches_what_is_deep_enough() -> None:
    for one in MANY:
        assert all(0 < t.size < one.confirmations for t in one.faults if t.area == "chain")


@pytest.mark.parametrize("seed", range(1, 11))
def test_a_short_run_has_few_stories_and_pays_at_least_one_of_them_whole(seed: int) -> None:
    kinds = [planned.kind for planned in market_plan(seed, span_s=6).scenarios]
    assert len(kinds) <= 4
    assert "exact" in kinds
    assert set(kinds) & set(STRANGERS)


def test_several_marketplaces_have_the_same_story_and_every_fault_of_theirs_in_some_run() -> None:
    together = [on_database(one) for one in MANY]

    assert [one.scenarios for one in together] == [one.scenarios for one in MANY]
    injected = {fault.kind for one in together for fault in one.faults if fault.area == "marketplace"}
    assert injected == {*ON_DATABASE, "promote"}
    assert {fault.size for one in together for fault in one.faults if fault.area == "marketplace"} == {0, 1}
    for one, alone in zip(together, MANY, strict=True):
        assert [f.kind for f in one.faults].count("promote") == 1
        assert [f for f in one.faults if f.area != "marketplace"] == [
            f for f in alone.faults if f.area != "marketplace"
        ]
