"""Fixtures of the marketplace's tests."""

from __future__ import annotations

from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from tests.harness import FakeClock
from tests.marketplace.deals import Deal, make_deal
from tests.marketplace.harness import Running, environment, running
from tests.marketplace.stand_in import StandIn, stand_in


@pytest.fixture
def clock() -> FakeClock:
    return FakeClock()


@pytest.fixture
async def shop(tmp_path: Path, clock: FakeClock) -> AsyncIterator[Running]:
    """The backend with no scanner to talk to, and a clock of ours."""
    async with running(environment(tmp_path), clock=clock) as found:
        yield found


@pytest.fixture
async def chain_side() -> AsyncIterator[StandIn]:
    """The scanner, as far as a backend can see it."""
    async with stand_in() as scanner:
        yield scanner


@pytest.fixture
async def market(tmp_path: Path, clock: FakeClock, chain_side: StandIn) -> AsyncIterator[Running]:
    """The backend with a scanner to talk to."""
    async with running(environment(tmp_path, chain_side.url), clock=clock) as found:
        yield found


@pytest.fixture
async def deal(market: Running, chain_side: StandIn, clock: FakeClock) -> Deal:
    """A request whose offer of 10 USDT was accepted."""
    return await make_deal(market, chain_side, clock)
