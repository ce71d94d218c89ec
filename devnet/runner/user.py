"""A user of the marketplace, who logs in and calls it."""

from __future__ import annotations

from collections.abc import Collection
from typing import Any

from devnet.runner.facts import FlowFailed
from devnet.runner.http_client import GOOD, UNAUTHORIZED, HttpClient


class User:
    """A user with an account; `user_id` is known from the log-in on."""

    def __init__(self, http: HttpClient, email: str, password: str) -> None:
        self.http = http
        self.email = email
        self.user_id = ""
        self.token = ""
        self.password = password
        self.tokens: list[str] = []  # all that were ever handed out

    async def login(self) -> None:
        body = {"email": self.email, "password": self.password}
        status, answer = await self.http.request("login", "POST", "/api/auth/login", body)
        if status not in GOOD:
            raise FlowFailed(f"login of {self.email}: {status} {_why(answer)}")
        tokens = answer["data"]["tokens"]
        self.token = tokens["accessToken"]
        self.tokens += [tokens["accessToken"], tokens["refreshToken"]]
        self.user_id = answer["data"]["user"]["id"]

    async def call(self, operation: str, method: str, path: str, body: Any = None) -> tuple[int, Any]:
        """Return status and whole answer; a token that has run out is renewed by logging in again."""
        status, answer = await self.http.request(operation, method, path, body, self.token)
        if status == UNAUTHORIZED:
            await self.login()
            status, answer = await self.http.request(operation, method, path, body, self.token)
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
