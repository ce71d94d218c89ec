"""Calls over HTTP: the key, the time limit, what is repeated, and what an answer that is no good one means."""

from __future__ import annotations

import random
import re
from collections.abc import Awaitable, Callable, Mapping, Sequence
from http import HTTPStatus
from typing import Any, TypeVar
from urllib.parse import quote

import aiohttp
import orjson
from yarl import URL

from kernel.http_limits import HEADER_LIMITS
from marketplace.scanner_client.errors import BrokenAnswer, Conflict, NotFound, ScannerRefused, ScannerUnavailable
from marketplace.scanner_client.facts import Page
from marketplace.scanner_client.reading import Unreadable, as_object, read

T = TypeVar("T")

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
        method: str,
        path: str,
        body: Mapping[str, Any] | None = None,
        *,
        query: Mapping[str, Any] | None = None,
        repeat: bool = True,
        fine: Sequence[int] = (HTTPStatus.OK,),
    ) -> dict[str, Any]:
        """
        Return the body of a good answer.

        Raises:
            ScannerUnavailable, ScannerRefused: there was none, or another one.
        """
        url = URL(self._url + path, encoded=True).with_query(dict(query or {}))
        for delay in self._delays if repeat else ():
            try:
                return await self._once(method, url, body, fine)
            except ScannerUnavailable as exc:
                pause = max(delay * random.uniform(0.8, 1.2), exc.retry_after or 0)  # noqa: S311 - no secret
                if pause > self._patience_s:
                    raise
            await self._sleep(pause)
        return await self._once(method, url, body, fine)

    async def _once(self, method: str, url: URL, body: Mapping[str, Any] | None, fine: Sequence[int]) -> dict[str, Any]:
        data = None if body is None else orjson.dumps(body)
        headers = self._headers | ({} if data is None else {"Content-Type": "application/json"})
        try:
            async with self._session.request(
                method,
                url,
                data=data,
                headers=headers,
                timeout=self._timeout,
                allow_redirects=False,
                **HEADER_LIMITS,
            ) as response:
                return good_answer(f"{method} {url.path}", response, await response.read(), fine)
        except (aiohttp.ClientError, TimeoutError) as exc:
            raise ScannerUnavailable(f"{method} {url.path}: no answer ({type(exc).__name__})") from exc


def good_answer(call: str, response: aiohttp.ClientResponse, raw: bytes, fine: Sequence[int]) -> dict[str, Any]:
    """Return the body of a good answer, or raise what any other means."""
    body = as_object(raw)
    if response.status in fine and body is not None:
        return body
    told = body or {}
    message = str(told.get("error", f"{call}: answered {response.status}"))
    if response.status not in range(400, 500) or response.status == HTTPStatus.TOO_MANY_REQUESTS:
        # Good answers that are not JSON, too: something else than the scanner sits at its address.
        raise ScannerUnavailable(message, _seconds(response.headers.get("Retry-After")))
    kinds: dict[int, type[ScannerRefused]] = {HTTPStatus.CONFLICT: Conflict}
    if body is not None:  # a proxy's 404 says nothing about an intent
        kinds[HTTPStatus.NOT_FOUND] = NotFound
    details = told.get("details")
    raise kinds.get(response.status, ScannerRefused)(
        response.status, str(told.get("code", "")), message, details if isinstance(details, dict) else {}
    )


def _seconds(retry_after: str | None) -> float | None:
    """Read `Retry-After`; its other form, a date, depends on two clocks and is not used."""
    given = (retry_after or "").strip()
    return float(given) if given.isascii() and given.isdigit() and len(given) < 7 else None  # noqa: PLR2004 - 11 days


def segment(identity: str) -> str:
    """Return an id as part of a path, where `..` would be somewhere else."""
    if _ID.fullmatch(identity) is None or not identity.strip("."):
        raise ValueError(f"{identity!r} cannot be the id of anything")
    return quote(identity, safe="")


def given(**values: Any) -> dict[str, Any]:
    """Leave out what was not given."""
    return {name: value for name, value in values.items() if value is not None}


def understood(kind: type[T] | Any, value: Any) -> T | Any:
    """Return an answer as a type, or say that the scanner cannot be understood."""
    try:
        return read(kind, value)
    except Unreadable as exc:
        raise BrokenAnswer(f"the scanner's answer cannot be understood: {exc}") from exc


def page(kind: type[Any], name: str, answer: Mapping[str, Any]) -> Page:
    """Return a page of rows of one kind."""
    rows = understood(tuple[kind, ...], answer.get(name))  # type: ignore[valid-type]  # a type made at run time
    return Page(rows=rows, next_cursor=understood(str | None, answer.get("nextCursor")))
