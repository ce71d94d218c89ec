"""A browser without a script: it keeps cookies, and sends the forms it finds in pages."""

from __future__ import annotations

import re
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass
from html import unescape
from typing import Any

import aiohttp

TOKEN = re.compile(r'name="csrf" value="([0-9a-f]{64})"')


@dataclass(frozen=True, slots=True)
class Page:
    """What was answered."""

    status: int
    text: str
    headers: Mapping[str, str]

    @property
    def token(self) -> str:
        found = TOKEN.search(self.text)
        assert found, self.text
        return found[1]

    @property
    def said(self) -> str:
        return unescape(re.sub(r"\s+", " ", re.sub(r"<[^>]+>", " ", self.text)))


class Browser:
    """One visitor."""

    def __init__(self, url: str, session: aiohttp.ClientSession) -> None:
        self.url = url
        self.session = session

    async def get(self, path: str, **more: Any) -> Page:
        return await self._ask("GET", path, **more)

    async def post(self, path: str, fields: Mapping[str, str], **more: Any) -> Page:
        return await self._ask("POST", path, data=dict(fields), **more)

    async def submit(self, page: str, path: str, **fields: str) -> Page:
        """Send a form of a page, with the token that stands in it."""
        return await self.post(path, {"csrf": (await self.get(page)).token, **fields})

    async def sign_in(self, path: str, **fields: str) -> Page:
        return await self.submit(path, path, **fields)

    @property
    def cookies(self) -> dict[str, str]:
        return {cookie.key: cookie.value for cookie in self.session.cookie_jar}

    async def _ask(self, method: str, path: str, **more: Any) -> Page:
        more.setdefault("allow_redirects", False)
        async with self.session.request(method, self.url + path, **more) as response:
            return Page(response.status, await response.text(), response.headers.copy())


@asynccontextmanager
async def browser(url: str, **cookies: str) -> AsyncIterator[Browser]:
    async with aiohttp.ClientSession(cookie_jar=aiohttp.CookieJar(unsafe=True), cookies=cookies) as session:
        yield Browser(url, session)
