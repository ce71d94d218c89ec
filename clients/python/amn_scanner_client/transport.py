"""Calls over HTTP: the key, the time limit, what is repeated, and what an answer that is no good one means."""

from __future__ import annotations

import random
import re
from collections.abc import Awaitable, Callable, Mapping, Sequence
from http import HTTPStatus
from typing import Any, TypeVar
from urllib.parse import quote

import aiohttp
from yarl import URL

from protocol import codec, routes
from protocol.http_limits import HEADER_LIMITS
from protocol.routes import Route

from .errors import BrokenAnswer, Conflict, NotFound, ScannerRefused, ScannerUnavailable

A = TypeVar("A")

MAX_PROOF = 64 * 2**20  # characters of one text in a proof: a receipt may hold very many logs

_ID = re.compile(r"[A-Za-z0-9._:-]{1,128}")


class Transport:
    """One scanner over one session. A call that may be repeated is, after `delays`, each varied."""

    def __init__(
        self,
        url: str,
        api_key: str | None,
        session: aiohttp.ClientSession,
        *,
        timeout_s: float,
        delays: Sequence[float],
        patience_s: float,
        sleep: Callable[[float], Awaitable[None]],
    ) -> None:
        self._url = url.rstrip("/")
        self._headers = {"Authorization": f"Bearer {api_key}"} if api_key else {}
        self._session = session
        self._timeout = aiohttp.ClientTimeout(total=timeout_s)
        self._delays = delays
        self._patience_s = patience_s
        self._sleep = sleep

    async def call(
        self,
        route: Route[A],
        *ids: str,
        body: Mapping[str, Any] | None = None,
        query: Mapping[str, Any] | None = None,
        repeat: bool = True,
    ) -> A:
        """
        Return a good answer; `ids` are the variable parts of the path.

        Raises:
            ScannerUnavailable, ScannerRefused: there was none, or another one.
        """
        path = route.at(*map(path_segment, ids))
        url = URL(self._url + path, encoded=True).with_query(dict(query or {}))
        for delay in self._delays if repeat else ():
            try:
                return await self._once(route, url, body)
            except ScannerUnavailable as exc:
                pause = max(delay * random.uniform(0.8, 1.2), exc.retry_after or 0)  # noqa: S311 - no secret
                if pause > self._patience_s:
                    raise
            await self._sleep(pause)
        return await self._once(route, url, body)

    async def _once(self, route: Route[A], url: URL, body: Mapping[str, Any] | None) -> A:
        data = None if body is None else codec.encode(body)
        headers = self._headers | ({} if data is None else {"Content-Type": "application/json"})
        try:
            async with self._session.request(
                route.method,
                url,
                data=data,
                headers=headers,
                timeout=self._timeout,
                allow_redirects=False,
                **HEADER_LIMITS,
            ) as response:
                return decode(route, response, await response.read())
        except (aiohttp.ClientError, TimeoutError) as exc:
            raise ScannerUnavailable(f"{route.method} {url.path}: no answer ({type(exc).__name__})") from exc


def decode(route: Route[A], response: aiohttp.ClientResponse, raw: bytes) -> A:
    """Return a good answer of a call, or raise what any other means."""
    body = codec.as_object(raw)
    expected: Any = {int(HTTPStatus.OK): route.answer, **route.also}.get(response.status)
    if body is None or expected is None or (response.status != HTTPStatus.OK and "error" in body):
        raise _refusal(f"{route.method} {response.url.path}", response, body)
    try:
        found: A = codec.read(expected, body, max_text=MAX_PROOF if route is routes.SHOW_PROOF else codec.MAX_TEXT)
    except codec.Unreadable as exc:
        raise BrokenAnswer(f"the scanner's answer cannot be understood: {exc}") from exc
    return found


def _refusal(
    call: str, response: aiohttp.ClientResponse, body: Mapping[str, Any] | None
) -> ScannerUnavailable | ScannerRefused:
    """Return what it means that there was no good answer."""
    told = body or {}
    message = str(told.get("error", f"{call}: answered {response.status}"))
    if response.status not in range(400, 500) or response.status == HTTPStatus.TOO_MANY_REQUESTS:
        # Good answers that are not JSON, too: something else than the scanner sits at its address.
        return ScannerUnavailable(message, _seconds(response.headers.get("Retry-After")))
    kinds: dict[int, type[ScannerRefused]] = {HTTPStatus.CONFLICT: Conflict}
    if body is not None:  # a proxy's 404 says nothing about an intent
        kinds[HTTPStatus.NOT_FOUND] = NotFound
    details = told.get("details")
    return kinds.get(response.status, ScannerRefused)(
        response.status, str(told.get("code", "")), message, details if isinstance(details, dict) else {}
    )


def _seconds(retry_after: str | None) -> float | None:
    """Read `Retry-After`; its other form, a date, depends on two clocks and is not used."""
    given = (retry_after or "").strip()
    return float(given) if given.isascii() and given.isdigit() and len(given) < 7 else None  # noqa: PLR2004 - 11 days


def path_segment(identity: str) -> str:
    """Return an id as part of a path, where `..` would be somewhere else."""
    if _ID.fullmatch(identity) is None or not identity.strip("."):
        raise ValueError(f"{identity!r} is not a valid id")
    return quote(identity, safe="")


def drop_none(**values: Any) -> dict[str, Any]:
    """Leave out what was not given."""
    return {name: value for name, value in values.items() if value is not None}
