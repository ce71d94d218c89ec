"""Fixtures of the marketplace's tests."""

from __future__ import annotations

from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from tests.harness import FakeClock
from tests.marketplace.accepted_purchase import AcceptedPurchase, accept_purchase
from tests.marketplace.fake_scanner import FakeScanner, run_fake_scanner
from tests.marketplace.harness import Running, environment, running


@pytest.fixture
def clock() -> FakeClock:
    return FakeClock()


@pytest.fixture
async def shop(tmp_path: Path, clock: FakeClock) -> AsyncIterator[Running]:
    """The backend with no scanner to talk to, and a clock of ours."""
    async with running(environment(tmp_path), clock=clock) as found:
        yield found


@pytest.fixture
async def fake_scanner() -> AsyncIterator[FakeScanner]:
    """The scanner, as far as a backend can see it."""
    async with run_fake_scanner() as scanner:
        yield scanner


@pytest.fixture
async def market(tmp_path: Path, clock: FakeClock, fake_scanner: FakeScanner) -> AsyncIterator[Running]:
    """The backend with a scanner to talk to."""
    async with running(environment(tmp_path, fake_scanner.url), clock=clock) as found:
        yield found


@pytest.fixture
async def purchase(market: Running, fake_scanner: FakeScanner, clock: FakeClock) -> AcceptedPurchase:
    """A request whose offer of 10 USDT was accepted."""
    return await accept_purchase(market, fake_scanner, clock)
