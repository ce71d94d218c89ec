"""A daemon with a console, and a browser that is signed in."""

from __future__ import annotations

from collections.abc import AsyncIterator

import pytest

from tests.api.conftest import KEY
from tests.harness import Running
from tests.plain_browser import Browser, browser


@pytest.fixture
async def visitor(daemon: Running) -> AsyncIterator[Browser]:
    async with browser(daemon.api.url) as found:
        yield found


@pytest.fixture
async def operator(visitor: Browser) -> Browser:
    assert (await visitor.sign_in("/console/login", key=KEY)).status == 303
    return visitor
