"""Fixtures of the marketplace's tests."""

from __future__ import annotations

import os
from collections.abc import AsyncIterator, Mapping
from pathlib import Path

import pytest

from tests.harness import FakeClock
from tests.marketplace.accepted_purchase import AcceptedPurchase, accept_purchase
from tests.marketplace.fake_scanner import FakeScanner, run_fake_scanner
from tests.marketplace.harness import Running, empty_database, environment, on_postgresql, running


class OwnClock(FakeClock):
    """A clock that only the test sets: where processes share a store they would take over the database's time."""

    def follow(self, step_ms: int) -> None:
        """Stay."""


@pytest.fixture
def engine(request: pytest.FixtureRequest) -> str:
    """What the store is on; a module that is for both asks for each."""
    found: str = getattr(request, "param", os.environ.get("MARKETPLACE_TESTS_ON", "sqlite"))
    return found


@pytest.fixture
async def place(engine: str, request: pytest.FixtureRequest) -> AsyncIterator[Mapping[str, str]]:
    """The settings that name a fresh store, beside those every backend has."""
    if engine == "sqlite":
        yield {}
    else:
        async with empty_database(request.getfixturevalue("postgresql")) as url:
            yield on_postgresql(url)


@pytest.fixture
def clock(engine: str) -> FakeClock:
    return FakeClock() if engine == "sqlite" else OwnClock()


@pytest.fixture
async def shop(tmp_path: Path, clock: FakeClock, place: Mapping[str, str]) -> AsyncIterator[Running]:
    """The backend with no scanner to talk to, and a clock of ours."""
    async with running(environment(tmp_path, **place), clock=clock) as found:
        yield found


@pytest.fixture
async def fake_scanner() -> AsyncIterator[FakeScanner]:
    """The scanner, as far as a backend can see it."""
    async with run_fake_scanner() as scanner:
        yield scanner


@pytest.fixture
async def market(
    tmp_path: Path, clock: FakeClock, fake_scanner: FakeScanner, place: Mapping[str, str]
) -> AsyncIterator[Running]:
    """The backend with a scanner to talk to."""
    async with running(environment(tmp_path, fake_scanner.url, **place), clock=clock) as found:
        yield found


@pytest.fixture
async def purchase(market: Running, fake_scanner: FakeScanner, clock: FakeClock) -> AcceptedPurchase:
    """A request whose offer of 10 USDT was accepted."""
    return await accept_purchase(market, fake_scanner, clock)
