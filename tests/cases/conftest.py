"""The worlds the cases are played in."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import AsyncExitStack

import pytest

from tests.chains.conftest import tron, world
from tests.chains.ton_world import TonWorld
from tests.marketplace.conftest import clock, engine, fake_scanner, market, place, purchase

__all__ = ["clock", "engine", "fake_scanner", "market", "place", "purchase", "ton", "tron", "world"]


@pytest.fixture
async def ton() -> AsyncIterator[TonWorld]:
    """TonCenters over one ledger, and adapters that read them; all of it is gone after the test."""
    async with AsyncExitStack() as stack:
        yield TonWorld(stack)
