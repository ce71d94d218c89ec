"""Notifications over HTTP, and live as Server-Sent Events."""

from __future__ import annotations

import logging
from collections.abc import Iterable

from aiohttp import web

from marketplace.errors import Refused
from marketplace.model import Actor, Notification
from marketplace.notifications.stream_buffer import StreamBuffer
from marketplace.services import Services
from marketplace.web import shapes
from marketplace.web.answers import paged, success
from marketplace.web.bodies import Listing, current_actor, parse_query, path_uuid
from marketplace.web.middlewares import REQUEST_ID
from marketplace.web.state import SERVICES
from protocol.codec import encode, of

log = logging.getLogger(__name__)

HEARTBEAT_S = 15.0
MAX_SEQ = 2**63 - 1


def shown(note: Notification) -> shapes.Notification:
    """Return a notification."""
    return of(shapes.Notification, note, read=note.read_at is not None)


async def listing(request: web.Request) -> web.Response:
    """GET /api/notifications"""
    actor = current_actor(request)
    page = parse_query(request, Listing).part()
    found, total = await request.app[SERVICES].notifications.page(actor, page)
    return paged(shapes.NotificationPage, total, page, notifications=map(shown, found))


async def unread(request: web.Request) -> web.Response:
    """GET /api/notifications/unread-count"""
    return success(shapes.Unread(count=await request.app[SERVICES].notifications.unread(current_actor(request))))


async def read(request: web.Request) -> web.Response:
    """PATCH /api/notifications/{id}/read"""
    actor = current_actor(request)
    note = await request.app[SERVICES].notifications.read(actor, path_uuid(request, "notification"))
    return success(shapes.OneNotification(notification=shown(note)))


async def stream(request: web.Request) -> web.StreamResponse:
    """
    GET /api/events: the caller's own notifications as they are committed.

    `Last-Event-ID` resumes where a broken stream ended, so that nothing is told twice or not at all.
    """
    actor = current_actor(request)
    services = request.app[SERVICES]
    with services.units.subscribers.listening(actor.user_id) as buffer:
        seq = _resume(request)
        if seq is None:
            seq = await services.notifications.latest(actor)
        response = web.StreamResponse(
            headers={
                "Content-Type": "text/event-stream",
                "Cache-Control": "no-store",
                "X-Request-Id": request[REQUEST_ID],
            }
        )
        await response.prepare(request)
        try:
            await _tell(request, response, buffer, seq)
        except ConnectionResetError:
            log.debug("[api] a listener is gone")
        return response


async def _tell(request: web.Request, response: web.StreamResponse, buffer: StreamBuffer, seq: int) -> None:
    """Tell what is newer than `seq`, and what comes, until we close or the token runs out."""
    services, actor = request.app[SERVICES], current_actor(request)
    await response.write(b": hello\n\n")
    fresh: list[Notification] | None = None  # what came before is in the store
    while not services.units.subscribers.closing.is_set() and _still_known(request):
        if fresh is None:
            seq = await _catch_up(response, services, actor, seq)
        else:
            seq = await _write(response, fresh, seq)
        if await buffer.wait(HEARTBEAT_S):
            fresh = buffer.empty()
        else:
            await response.write(b": still here\n\n")  # a dead peer is noticed by writing to it
            fresh = None  # and now and then the store has the last word


async def _catch_up(response: web.StreamResponse, services: Services, actor: Actor, seq: int) -> int:
    """Tell everything that is stored after `seq`; return where that ends."""
    while missed := await services.notifications.since(actor, seq):
        seq = await _write(response, missed, seq)
    return seq


async def _write(response: web.StreamResponse, told: Iterable[Notification], seq: int) -> int:
    """Tell what is newer than `seq`: the store and the buffer may both hold it."""
    newer = [note for note in told if note.seq > seq]
    if newer:
        await response.write(b"".join(_event(note) for note in newer))
    return newer[-1].seq if newer else seq


def _event(note: Notification) -> bytes:
    return b"id: %d\nevent: notification\ndata: %s\n\n" % (note.seq, encode(shown(note)))


def _still_known(request: web.Request) -> bool:
    """Say whether the token is still good: a stream does not outlive it."""
    try:
        current_actor(request)
    except Refused:
        return False
    return True


def _resume(request: web.Request) -> int | None:
    given = request.headers.get("Last-Event-ID", "")
    if given.isascii() and given.isdigit() and int(given[:19]) <= MAX_SEQ:
        return int(given[:19])
    return None
