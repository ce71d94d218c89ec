"""
A run with the marketplace: whole purchases through a hostile world, and books that say what the chain says.

`CHAOS_SEEDS` sets how many, `CHAOS_SEED` the first of them, `CHAOS_MARKET_SPAN_S` how long each is troubled.
"""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from tests import postgres
from tests.chaos.__main__ import line
from tests.chaos.market import market_experiment
from tests.chaos.market_plan import market_plan, on_database

pytestmark = [pytest.mark.anvil, pytest.mark.process, pytest.mark.long]

FIRST = int(os.environ.get("CHAOS_SEED", "1"))
SEEDS = range(FIRST, FIRST + int(os.environ.get("CHAOS_SEEDS", "1")))
SPAN_S = float(os.environ.get("CHAOS_MARKET_SPAN_S", "5"))


@pytest.mark.timeout(900)
@pytest.mark.parametrize("seed", SEEDS)
async def test_through_a_hostile_world_the_books_say_what_the_chain_says(seed: int, tmp_path: Path) -> None:
    report = await market_experiment(market_plan(seed, span_s=SPAN_S), tmp_path)

    assert report.payments >= report.settled > 0
    assert report.verdict.clean, f"{line(report)}\n{report.verdict}\n{report.unexpected_exits}"


@postgres.needed
@pytest.mark.timeout(900)
@pytest.mark.parametrize("seed", SEEDS)
async def test_with_two_marketplaces_on_a_database_that_fails_over_the_books_say_it_too(
    seed: int, tmp_path: Path
) -> None:
    report = await market_experiment(on_database(market_plan(seed, span_s=SPAN_S)), tmp_path, together=True)

    assert report.payments >= report.settled > 0
    assert report.verdict.clean, f"{line(report)}\n{report.verdict}\n{report.unexpected_exits}"
