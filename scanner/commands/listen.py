"""`amn-scanner listen`: a receiver that prints, verifies and forwards events, for people who build a backend."""

from __future__ import annotations

import argparse
import asyncio
import logging
import os
import sys
import time
from collections.abc import AsyncIterator, Callable, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import NamedTuple

import aiohttp
from aiohttp import web
from rich.console import Console
from rich.text import Text

from clients.python.amn_scanner_client import (
    BalanceEvent,
    Event,
    InvalidWebhook,
    MalformedWebhook,
    check_secret,
    verify_webhook,
)
from kernel.process import EXIT_FIX, stop_on_signal
from kernel.web.connections import default_limits
from kernel.web.http_errors import CODES, ERROR_SHAPE, ErrorShape
from kernel.web.listener import listening
from protocol.http_limits import HEADER_LIMITS

log = logging.getLogger("listen")

SECRET = "AMN_SCANNER_WEBHOOK_SECRET"  # noqa: S105 - a name, and the one backends read
MAX_BODY = 1 << 20
MAX_SHOWN = 200
MAX_ANSWER = 1 << 16
REMEMBERED = 10_000  # event ids, to say which came before
TIMEOUT_S = 30
SENT_ON = ("content-type", "user-agent", "webhook-", "x-amn-")
OK, UNAUTHORIZED, MALFORMED, BAD_GATEWAY = 200, 401, 400, 502
GREEN, YELLOW, RED = "green", "yellow", "bold red"


class Judged(NamedTuple):
    """What a webhook is, for people, and what it is answered with where nobody else answers."""

    status: int
    style: str
    said: str
    event_id: str = ""


class Forwarded(NamedTuple):
    """What the backend answered."""

    status: int
    body: bytes
    said: str


@dataclass(slots=True)
class Listener:
    """Judges what comes, shows it in a line, and hands it on as it came."""

    secret: str
    show: Callable[[str, str], None]  # a style, and a line
    forward: str | None = None
    session: aiohttp.ClientSession | None = None
    now: Callable[[], float] = time.time
    seen: dict[str, None] = field(default_factory=dict)

    async def handle(self, request: web.Request) -> web.Response:
        """Take one webhook."""
        body = await request.read()
        judged = self._judged(body, request.headers)
        again = " (again)" if self._came_before(judged.event_id) else ""
        if self.forward is None or self.session is None:
            self.show(judged.style, f"{judged.said}{again}")
            return web.Response(status=judged.status)
        # What is forged is handed on as well: whether a backend refuses it is worth seeing.
        answer = await self._handed_on(self.forward, self.session, body, request.headers)
        self.show(judged.style, f"{judged.said}{again} -> {answer.said}")
        return web.Response(status=answer.status, body=answer.body)

    def _judged(self, body: bytes, headers: Mapping[str, str]) -> Judged:
        try:
            event = verify_webhook(body, headers, self.secret, now=int(self.now()))
        except MalformedWebhook as exc:
            return Judged(MALFORMED, YELLOW, f"signed, and no event: {printable(str(exc))}")
        except InvalidWebhook as exc:
            return Judged(UNAUTHORIZED, RED, f"refused: {exc}")
        return Judged(OK, GREEN, printable(_in_a_line(event)), event.event_id)

    def _came_before(self, event_id: str) -> bool:
        if not event_id or event_id in self.seen:
            return bool(event_id)
        self.seen[event_id] = None
        if len(self.seen) > REMEMBERED:
            del self.seen[next(iter(self.seen))]
        return False

    @staticmethod
    async def _handed_on(
        url: str, session: aiohttp.ClientSession, body: bytes, headers: Mapping[str, str]
    ) -> Forwarded:
        kept = {name: value for name, value in headers.items() if name.lower().startswith(SENT_ON)}
        try:
            async with session.post(url, data=body, headers=kept, allow_redirects=False) as response:
                return Forwarded(response.status, await response.content.read(MAX_ANSWER), f"HTTP {response.status}")
        except (aiohttp.ClientError, OSError) as exc:
            # As a gateway would: the scanner tries again, as it would with a backend that is down.
            return Forwarded(BAD_GATEWAY, b"", f"not reached ({type(exc).__name__})")


def _in_a_line(event: Event) -> str:
    if isinstance(event, BalanceEvent):
        subject = f"watch {event.watch_id}: {event.previous_balance} -> {event.current_balance}"
    else:
        tx = f" in {event.tx_hash}" if event.tx_hash else ""
        subject = f"intent {event.intent_id}: {event.amount_received or 0} of {event.amount}{tx}"
    return f"{event.event_type} {subject} [{event.event_id}]"


def printable(text: str) -> str:
    """Return a line of a bounded length that moves no cursor: its parts come from whoever calls."""
    shown = "".join(char if char.isprintable() else "\N{REPLACEMENT CHARACTER}" for char in text[: MAX_SHOWN + 1])
    return shown if len(shown) <= MAX_SHOWN else f"{shown[: MAX_SHOWN - 1]}\N{HORIZONTAL ELLIPSIS}"


@asynccontextmanager
async def open_listener(listener: Listener, *, host: str, port: int) -> AsyncIterator[str]:
    """Listen until the block ends; give the URL."""
    app = web.Application(client_max_size=MAX_BODY)
    app[ERROR_SHAPE] = ErrorShape(lambda error: web.Response(status=CODES[error.code], text=f"{error}\n"))
    app.router.add_post("/{path:.*}", listener.handle)
    timeout = aiohttp.ClientTimeout(total=TIMEOUT_S)
    async with (
        aiohttp.ClientSession(timeout=timeout, **HEADER_LIMITS) as listener.session,
        listening(app, host=host, port=port, limits=default_limits(trusted_hops=0)) as url,
    ):
        yield url


def run(asked: argparse.Namespace, environ: Mapping[str, str]) -> int:
    """Listen until told to stop, and return the exit code."""
    secret = asked.secret or environ.get(SECRET, "")
    try:
        check_secret(secret)
    except ValueError as exc:
        sys.stderr.write(f"--secret, or {SECRET}: {exc}\n")
        return EXIT_FIX
    console = Console(highlight=False)

    def show(style: str, line: str) -> None:
        console.print(Text.assemble(time.strftime("%H:%M:%S "), (line, style)), soft_wrap=True)

    try:
        asyncio.run(_serve(Listener(secret, show, asked.forward), asked.host, asked.port))
    except OSError as exc:
        sys.stderr.write(f"--port: {exc.strerror or os.strerror(exc.errno or 0)}\n")
        return EXIT_FIX
    return 0


async def _serve(listener: Listener, host: str, port: int) -> None:
    stop = asyncio.Event()
    with stop_on_signal(stop, log):
        async with open_listener(listener, host=host, port=port) as url:
            to = f", forwarding to {listener.forward}" if listener.forward else ""
            listener.show("", f"listening on {url}{to}: any path, until Ctrl-C")
            await stop.wait()
