"""Fixtures: sources of prices, and a backend that asks them."""

from __future__ import annotations

from collections.abc import AsyncIterator, Mapping
from pathlib import Path

import pytest

from devnet.price_publisher import PricePublisher, publishing
from tests.harness import FakeClock
from tests.marketplace.fake_scanner import FakeScanner
from tests.marketplace.harness import Running, environment, running
from tests.marketplace.pricing.stand_ins import FeedNode, feeding


@pytest.fixture
async def publisher(clock: FakeClock) -> AsyncIterator[PricePublisher]:
    async with publishing(clock.wall_ms) as found:
        yield found


@pytest.fixture
async def node(clock: FakeClock) -> AsyncIterator[FeedNode]:
    async with feeding(clock) as found:
        yield found


@pytest.fixture
async def quoting_market(
    tmp_path: Path, clock: FakeClock, fake_scanner: FakeScanner, publisher: PricePublisher, place: Mapping[str, str]
) -> AsyncIterator[Running]:
    """A backend with a scanner, a signed list of prices, and exchange rates."""
    env = environment(tmp_path, fake_scanner.url, ORACLE_QUOTE_TTL_S="600", **publisher.settings, **place)
    async with running(env, clock=clock) as found:
        yield found
