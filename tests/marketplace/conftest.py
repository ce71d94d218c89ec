"""Fixtures of the marketplace's tests."""

from __future__ import annotations

from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from tests.harness import FakeClock
from tests.marketplace.harness import Running, environment, running


@pytest.fixture
def clock() -> FakeClock:
    return FakeClock()


@pytest.fixture
async def shop(tmp_path: Path, clock: FakeClock) -> AsyncIterator[Running]:
    """The backend with no scanner to talk to, and a clock of ours."""
    async with running(environment(tmp_path), clock=clock) as found:
        yield found
