"""
A few runs in the fault laboratory: nothing missed, doubled, invented or left unexplained.

`CHAOS_SEEDS` sets how many, `CHAOS_SEED` the first of them, `CHAOS_SPAN_S` how long each is troubled.
"""

from __future__ import annotations

import os
from pathlib import Path
from typing import get_args

import pytest

from tests import postgres
from tests.chaos.__main__ import line
from tests.chaos.laboratory import cluster_experiment, experiment
from tests.chaos.purchases import Family
from tests.chaos.schedule import cluster_plan, plan

pytestmark = [pytest.mark.anvil, pytest.mark.process, pytest.mark.long]

FIRST = int(os.environ.get("CHAOS_SEED", "1"))
SEEDS = range(FIRST, FIRST + int(os.environ.get("CHAOS_SEEDS", "1")))
SPAN_S = float(os.environ.get("CHAOS_SPAN_S", "6"))


@pytest.mark.timeout(600)
@pytest.mark.parametrize("family", get_args(Family))
@pytest.mark.parametrize("seed", SEEDS)
async def test_through_a_hostile_world_every_promise_is_kept(seed: int, family: Family, tmp_path: Path) -> None:
    report = await experiment(plan(seed, span_s=SPAN_S, family=family), tmp_path)

    assert report.payments >= report.settled > 0
    assert report.verdict.clean, f"{line(report)}\n{report.verdict}\n{report.unexpected_exits}"


@postgres.needed
@pytest.mark.timeout(600)
@pytest.mark.parametrize("seed", SEEDS)
async def test_several_scanners_on_one_database_keep_every_promise_as_well(seed: int, tmp_path: Path) -> None:
    report = await cluster_experiment(cluster_plan(seed, span_s=SPAN_S), tmp_path)

    assert report.payments >= report.settled > 0
    assert report.verdict.clean, f"{line(report)}\n{report.verdict}\n{report.unexpected_exits}\n{report.notes}"
