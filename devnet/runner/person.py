"""HTTP as one person speaks it, measured."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Collection
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
class Line:
    """
    A way to one service.

    `patience_s` is how long a service may be away before a story fails: 0 lets the first refused
    connection fail it, more is for runs in which the service is killed.
    """

    url: str
    session: aiohttp.ClientSession
    journal: Journal
    patience_s: float = 0.0

    async def ask(
        self, operation: str, method: str, path: str, body: Any = None, token: str | None = None
    ) -> tuple[int, Any]:
        """Return status and JSON of an answer; while the service is away, ask again."""
        until = time.monotonic() + self.patience_s
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
        data = None if body is None else orjson.dumps(body)
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


class Person:
    """Somebody with an account; `user_id` is known from the log-in on."""

    def __init__(self, line: Line, email: str, password: str) -> None:
        self.line = line
        self.email = email
        self.user_id = ""
        self.token = ""
        self.password = password
        self.tokens: list[str] = []  # all that were ever handed out

    async def login(self) -> None:
        body = {"email": self.email, "password": self.password}
        status, answer = await self.line.ask("login", "POST", "/api/auth/login", body)
        if status not in GOOD:
            raise FlowFailed(f"login of {self.email}: {status} {_why(answer)}")
        tokens = answer["data"]["tokens"]
        self.token = tokens["accessToken"]
        self.tokens += [tokens["accessToken"], tokens["refreshToken"]]
        self.user_id = answer["data"]["user"]["id"]

    async def call(self, operation: str, method: str, path: str, body: Any = None) -> tuple[int, Any]:
        """Return status and whole answer; a token that has run out is renewed by logging in again."""
        status, answer = await self.line.ask(operation, method, path, body, self.token)
        if status == UNAUTHORIZED:
            await self.login()
            status, answer = await self.line.ask(operation, method, path, body, self.token)
        return status, answer

    async def ok(
        self, operation: str, method: str, path: str, body: Any = None, expected: Collection[int] = GOOD
    ) -> dict[str, Any]:
        """Return the data of an answer that has to be a success."""
        status, answer = await self.call(operation, method, path, body)
        if status not in expected:
            raise FlowFailed(f"{operation}: {status} {_why(answer)}")
        return dict(answer["data"])


def _why(answer: Any) -> str:
    error = answer.get("error") if isinstance(answer, dict) else None
    return f"{error['code']}: {error['message']}" if isinstance(error, dict) else "without a reason"
