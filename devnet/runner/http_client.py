"""A measured HTTP client of one service, which may be down for a while."""

from __future__ import annotations

import asyncio
import time
from dataclasses import dataclass
from typing import Any

import aiohttp
import orjson

from devnet.runner.facts import FlowFailed
from devnet.runner.journal import Journal

AWAY = frozenset({502, 503, 504})  # a daemon that is being started again
GOOD = (200, 201, 202)
ANSWER_S = 60.0
PAUSE_S = 0.25
UNAUTHORIZED = 401


@dataclass(frozen=True, slots=True)
class HttpClient:
    """
    A way to one service.

    `patience_s` is how long a service may be down before a scenario fails: 0 lets the first refused
    connection fail it, more is for runs in which the service is killed.
    """

    url: str
    session: aiohttp.ClientSession
    journal: Journal
    max_downtime_s: float = 0.0

    async def request(
        self, operation: str, method: str, path: str, body: Any = None, token: str | None = None
    ) -> tuple[int, Any]:
        """Return status and JSON of an answer; while the service is down, ask again."""
        until = time.monotonic() + self.max_downtime_s
        while True:
            try:
                status, answer = await self._once(operation, method, path, body, token)
            except (aiohttp.ClientError, TimeoutError) as exc:
                if time.monotonic() >= until:
                    raise FlowFailed(f"{operation}: no answer ({type(exc).__name__}: {exc})") from exc
            else:
                if status not in AWAY or time.monotonic() >= until:
                    return status, answer
            await asyncio.sleep(PAUSE_S)

    async def _once(self, operation: str, method: str, path: str, body: Any, token: str | None) -> tuple[int, Any]:
        headers = {"Content-Type": "application/json"}
        if token is not None:
            headers["Authorization"] = f"Bearer {token}"
        data = body if isinstance(body, bytes) or body is None else orjson.dumps(body)
        began, status = time.monotonic(), 0
        try:
            async with (
                asyncio.timeout(ANSWER_S),
                self.session.request(method, self.url + path, data=data, headers=headers) as response,
            ):
                raw = await response.read()
                status = response.status
        finally:
            self.journal.call(operation, time.monotonic() - began, status)
        self.journal.keep(operation, status, str(dict(response.headers)), raw)
        return status, orjson.loads(raw)
