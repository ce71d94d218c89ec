"""What happens to a payment, told to its open pages as Server-Sent Events."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator

import orjson
from aiohttp import web

from api.keys import SERVICES
from api.pay.doors import PAY, client_of, payment_of
from api.pay.view import PayView, language_of
from kernel.pages.languages import Language
from kernel.web.streams import send
from scanner.checkout.live import LOOK_S, Watcher
from scanner.checkout.state import Payment

HEARTBEAT_S = 15.0
LONGEST_S = 1800.0  # then the page connects again: what a proxy has forgotten is not held for ever


async def stream(request: web.Request) -> web.StreamResponse:
    """GET /pay/{payToken}/events"""
    payment = await payment_of(request, "events")
    language = language_of(request, payment.texts.locale)
    live = request.app[SERVICES].payments.live
    with (
        request.app[PAY].open_pages.opened(payment.intent.intent_id, client_of(request)),
        live.watching(payment) as watcher,
    ):
        headers = {
            "Content-Type": "text/event-stream",
            "Cache-Control": "no-store",
            "X-Accel-Buffering": "no",
            "X-Robots-Tag": "noindex",
        }
        return await send(request, headers, _told(request, payment, watcher, language))


async def _told(request: web.Request, payment: Payment, watcher: Watcher, language: Language) -> AsyncIterator[bytes]:
    """Tell where a payment stands, and what changes until we close, or it has lasted for long."""
    live, loop = request.app[SERVICES].payments.live, asyncio.get_running_loop()
    yield b"retry: 3000\n\n" + _event(request, payment, language)
    until = loop.time() + LONGEST_S
    written = loop.time()
    # Whoever has closed the page makes room for its next one at once.
    while not live.closing and loop.time() < until and request.transport is not None:
        news = await watcher.news(min(LOOK_S, HEARTBEAT_S))
        if news is not None:
            yield _event(request, news, language)
        elif loop.time() - written >= HEARTBEAT_S:  # a dead peer is noticed by writing to it
            yield b": still here\n\n"
        else:
            continue
        written = loop.time()


def _event(request: web.Request, payment: Payment, language: Language) -> bytes:
    told = orjson.dumps(PayView(request, payment, language).news())
    return b"event: payment\ndata: " + told + b"\n\n"
