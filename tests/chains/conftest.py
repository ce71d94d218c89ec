"""Fixtures of the chain tests."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import AsyncExitStack

import pytest

from tests.chains.evm_world import World
from tests.chains.tron_world import TronWorld


@pytest.fixture
async def world() -> AsyncIterator[World]:
    """Nodes to talk to, and adapters that talk to them; all of it is gone after the test."""
    async with AsyncExitStack() as stack:
        yield World(stack)


@pytest.fixture
async def tron() -> AsyncIterator[TronWorld]:
    """A Tron chain, services that show it, and adapters that read them; all of it is gone after the test."""
    async with AsyncExitStack() as stack:
        yield TronWorld(stack)
