"""An API needs no chain: its endpoint is dead, and everything that does not ask it works."""

from __future__ import annotations

from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from tests.harness import Running, environment, running

KEY = "a-key-for-tests"


@pytest.fixture
async def daemon(tmp_path: Path) -> AsyncIterator[Running]:
    env = environment(tmp_path, "http://127.0.0.1:9", SCANNER_API_KEY=KEY, POLL_INTERVAL_SEC="3600")
    async with running(env) as found:
        yield found
