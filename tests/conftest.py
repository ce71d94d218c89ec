"""Fixtures every test may use."""

from __future__ import annotations

import os
from collections.abc import AsyncIterator
from pathlib import Path

import hypothesis
import pytest

from devnet.anvil import Anvil, anvil
from devnet.receiver import Receiver, receiver
from tests.harness import Running, environment, prepared, running

# The same examples on every run and machine: a property that fails, fails for everybody, and at once.
# Whoever goes looking for more sets HYPOTHESIS_PROFILE=explore.
hypothesis.settings.register_profile("steady", derandomize=True, database=None, deadline=None)
hypothesis.settings.register_profile("explore", deadline=None, max_examples=1000)
hypothesis.settings.load_profile(os.environ.get("HYPOTHESIS_PROFILE", "steady"))


@pytest.fixture
async def chain() -> AsyncIterator[Anvil]:
    """A fresh local chain with the real proxy and the registry's tokens."""
    async with anvil() as fresh:
        yield await prepared(fresh)


@pytest.fixture
async def hooks() -> AsyncIterator[Receiver]:
    """A webhook receiver."""
    async with receiver() as listening:
        yield listening


@pytest.fixture
async def scanner(chain: Anvil, tmp_path: Path) -> AsyncIterator[Running]:
    """The daemon on the local chain, in this process."""
    async with running(environment(tmp_path, chain.url)) as daemon:
        yield daemon
