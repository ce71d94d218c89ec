"""Browsers at the pages: nobody's, an admin's, and a resolver's."""

from __future__ import annotations

from collections.abc import AsyncIterator

import pytest

from tests.marketplace.harness import ADMIN, PASSWORD, Running
from tests.plain_browser import Browser, Page, browser

LOGIN = "/admin/login"
RESOLVER = "resolver@example.test"


async def sign_in(visitor: Browser, email: str, password: str) -> Page:
    return await visitor.sign_in(LOGIN, email=email, password=password)


@pytest.fixture
async def visitor(market: Running) -> AsyncIterator[Browser]:
    async with browser(market.nobody.url) as found:
        yield found


@pytest.fixture
async def admin(market: Running) -> AsyncIterator[Browser]:
    async with browser(market.nobody.url) as found:
        assert (await sign_in(found, *ADMIN)).status == 303
        yield found


@pytest.fixture
async def resolver(market: Running) -> AsyncIterator[Browser]:
    await market.user("resolver", email=RESOLVER, name="Ruth")
    async with browser(market.nobody.url) as found:
        assert (await sign_in(found, RESOLVER, PASSWORD)).status == 303
        yield found
