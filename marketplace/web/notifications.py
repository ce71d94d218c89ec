"""Notifications over HTTP, and live as Server-Sent Events."""

from __future__ import annotations

from collections.abc import AsyncIterator

from aiohttp import web

from kernel.web.streams import send
from marketplace.errors import Refused
from marketplace.model import Notification
from marketplace.notifications.stream_buffer import StreamBuffer
from marketplace.web import shapes
from marketplace.web.answers import paged, success
from marketplace.web.bodies import Listing, current_actor, look_up_session, parse_query, path_uuid
from marketplace.web.middlewares import REQUEST_ID
from marketplace.web.state import SERVICES
from protocol.codec import encode, of

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


async def read_all(request: web.Request) -> web.Response:
    """POST /api/notifications/read"""
    return success(shapes.Unread(count=await request.app[SERVICES].notifications.read_all(current_actor(request))))


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
        headers = {
            "Content-Type": "text/event-stream",
            "Cache-Control": "no-store",
            "X-Request-Id": request[REQUEST_ID],
        }
        return await send(request, headers, _told(request, buffer, seq))


async def _told(request: web.Request, buffer: StreamBuffer, seq: int) -> AsyncIterator[bytes]:
    """Tell what is newer than `seq`, and what comes, until we close or the token runs out."""
    services, actor = request.app[SERVICES], current_actor(request)
    yield b": hello\n\n"
    fresh: list[Notification] | None = None  # what came before is in the store
    while not services.units.subscribers.closing.is_set() and await _still_known(request):
        if fresh is None:
            while missed := await services.notifications.since(actor, seq):
                yield b"".join(map(_event, missed))
                seq = missed[-1].seq
        elif newer := [note for note in fresh if note.seq > seq]:  # the store and the buffer may both hold it
            yield b"".join(map(_event, newer))
            seq = newer[-1].seq
        if await buffer.wait(HEARTBEAT_S):
            fresh = buffer.empty()
        else:
            yield b": still here\n\n"  # a dead peer is noticed by writing to it
            fresh = None  # and now and then the store has the last word


def _event(note: Notification) -> bytes:
    return b"id: %d\nevent: notification\ndata: %s\n\n" % (note.seq, encode(shown(note)))


async def _still_known(request: web.Request) -> bool:
    """Say whether the token is still good: a stream does not outlive it, nor the session it is of."""
    try:
        await look_up_session(request)
        current_actor(request)
    except Refused:
        return False
    return True


def _resume(request: web.Request) -> int | None:
    given = request.headers.get("Last-Event-ID", "")
    if given.isascii() and given.isdigit() and int(given[:19]) <= MAX_SEQ:
        return int(given[:19])
    return None
