"""
How many connections there may be, and how long each may take to say what it wants.

Descriptors are shared with the store, the chains and the webhooks: connections that say nothing must not take
those away (260 of them did, with 256 descriptors). The same holds for those that send half a body or do not read
what they asked for. A connection is in one of five stages; only one in which somebody is answered is never closed to
make room.
"""

from __future__ import annotations

import asyncio
import enum
import logging
import resource
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from http import HTTPStatus
from typing import Any

from aiohttp import web
from aiohttp.http_exceptions import HttpProcessingError

from kernel.seldom import SeldomLog
from kernel.web.clients import client_of, counted_as
from kernel.web.http_errors import MAX_HEADER_BYTES, MAX_HEADERS, MAX_TARGET_BYTES, HttpError, http_error

log = logging.getLogger(__name__)

MAX_CONNECTIONS = 1000
MAX_UNPROVEN = 100  # of one peer address
HEADER_S = 10.0
GRACE_S = 0.5  # a burst of honest clients connects first and asks a moment later
UNREAD_S = 10.0  # in which somebody who reads takes this much of what waits for them:
UNREAD_BYTES = 16 * 1024
IDLE_S = 75.0  # above the 60 s in which usual proxies take an idle connection for usable
LINGERING_S = 2.0  # whoever was refused before all they send was read gets that long to hear it


@dataclass(frozen=True, slots=True, kw_only=True)
class ConnectionLimits:
    """The numbers; times in seconds."""

    connections: int
    unproven: int = MAX_UNPROVEN
    header_s: float = HEADER_S
    grace_s: float = GRACE_S
    unread_s: float = UNREAD_S
    idle_s: float = IDLE_S
    trusted_hops: int = 0


def default_limits(*, trusted_hops: int) -> ConnectionLimits:
    """Return the limits of this process: at most half of its descriptors are connections."""
    soft, _ = resource.getrlimit(resource.RLIMIT_NOFILE)
    most = MAX_CONNECTIONS if soft == resource.RLIM_INFINITY else min(MAX_CONNECTIONS, max(1, soft // 2))
    return ConnectionLimits(connections=most, trusted_hops=trusted_hops)


class Stage(enum.Enum):
    """What a connection is doing."""

    HEADER = enum.auto()  # the header of a request has not arrived whole
    BODY = enum.auto()  # its body has not
    UNREAD = enum.auto()  # the answer is not read by whoever asked
    ANSWERING = enum.auto()
    IDLE = enum.auto()  # was answered, asks nothing


# Those where we wait for the other side, the least promising first.
_SILENT = (Stage.HEADER, Stage.BODY, Stage.UNREAD, Stage.IDLE)


class Connection(web.RequestHandler):
    """One connection, in the book from before it is opened until it is closed."""

    __slots__ = ("_behind", "_book", "_deadline", "_doomed", "_unread", "client", "peer", "proven", "since", "stage")

    def __init__(self, manager: web.Server, book: ConnectionBook, peer: str) -> None:
        super().__init__(
            manager,
            loop=asyncio.get_running_loop(),
            keepalive_timeout=book.limits.idle_s,
            lingering_time=LINGERING_S,
            max_line_size=MAX_TARGET_BYTES,
            max_field_size=MAX_HEADER_BYTES,
            max_headers=MAX_HEADERS,
            access_log=None,  # type: ignore[arg-type]  # documented: none is written
        )
        self._book = book
        self._deadline: asyncio.TimerHandle | None = None
        self._doomed = False
        self._unread: asyncio.TimerHandle | None = None
        self.client: str | None = None
        self.peer = peer
        self.proven = False
        self.stage = self._behind = Stage.HEADER
        self.since = asyncio.get_running_loop().time()

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        super().connection_made(transport)
        if self._doomed:
            self.drop()
        else:
            self._expect_header()

    def connection_lost(self, exc: BaseException | None) -> None:
        self._stop_timer()
        self._stop_unread_timer()
        self._book.remove(self)
        super().connection_lost(exc)

    def data_received(self, data: bytes) -> None:
        asks_again = self._behind is Stage.IDLE and data
        super().data_received(data)
        if asks_again:
            if self._messages:  # the header came whole: nobody has to be waited for
                self._enter(Stage.ANSWERING)
            else:
                self._enter(Stage.HEADER)
                self._expect_header()

    def header_arrived(self) -> None:
        """Note that a whole header is there."""
        self._stop_timer()
        if self._behind is not Stage.ANSWERING:
            self._enter(Stage.ANSWERING)

    def awaits_body(self) -> None:
        """Note that nothing is done here before the rest of a body is there."""
        self._enter(Stage.BODY)

    def body_arrived(self) -> None:
        self._enter(Stage.ANSWERING)

    def pause_writing(self) -> None:
        """Wait for whoever does not read, and not for ever: an answer nobody reads would hold its place for good."""
        super().pause_writing()
        self._expect_reading()
        self._enter(self._behind)

    def resume_writing(self) -> None:
        super().resume_writing()
        self._stop_unread_timer()
        self._enter(self._behind)

    async def finish_response(
        self, request: web.BaseRequest, resp: web.StreamResponse, start_time: float | None
    ) -> tuple[web.StreamResponse, bool]:
        """Send the answer; afterwards the connection is idle."""
        done = await super().finish_response(request, resp, start_time)
        self._enter(Stage.IDLE)
        return done

    def handle_error(
        self,
        request: web.BaseRequest,
        status: int = HTTPStatus.INTERNAL_SERVER_ERROR,  # noqa: ARG002 - the library's; ours is in the table
        exc: BaseException | None = None,
        message: str | None = None,
    ) -> web.StreamResponse:
        """Answer what no route had a part in like everything else, where the web library would answer plain text."""
        if not isinstance(exc, HttpError):
            self.log_exception("[api] %s: %s failed", request.remote, request.method, exc_info=exc)
        if request.writer.output_size > 0:  # an answer has begun, and another one would be read as a part of it
            raise ConnectionError(message or "the answer was broken off")
        answer = self._book.render(http_error(exc) or HttpError("internal", "something went wrong here; it was logged"))
        answer.force_close()  # where the next request begins is not known
        return answer

    def log_exception(self, *args: Any, **kw: Any) -> None:
        """Log what failed here; what is no HTTP is a stranger's doing, and a line in a while, without its trace."""
        if isinstance(kw.get("exc_info"), HttpProcessingError | web.RequestPayloadError):
            self._book.garbage.warning("[api] %s sent what is no request", self.peer)
        else:
            super().log_exception(*args, **kw)

    def drop(self) -> None:
        """Close at once, whatever was not sent yet."""
        self._doomed = True
        self._stop_timer()
        self._stop_unread_timer()
        self._book.remove(self)
        if self.transport is not None:
            self.transport.abort()

    def count(self, request: web.BaseRequest) -> None:
        """
        Count a connection of our own proxies against the client its newest request came from.

        Raises:
            HttpError: that client is being answered so many times already, and has shown no key.
        """
        hops = self._book.limits.trusted_hops
        if hops == 0:
            return
        self._book.forget_client(self)
        self.client = counted_as(client_of(request, hops))
        self.proven = False  # the request before may have been somebody else's
        if not self._book.count_client(self):
            message = "too many requests of yours are being answered: try again later"
            raise HttpError("rate_limited", message, headers={"Retry-After": "1"})

    def prove(self) -> None:
        """Note that whoever asks has shown a key, a session or a token that is good."""
        if not self.proven:
            self.proven = True
            self._book.proved(self)

    def _enter(self, stage: Stage) -> None:
        self._behind = stage
        # Whoever does not read what there is asks for more in vain: answers behind it change nothing.
        self.stage = Stage.UNREAD if self.writing_paused and stage in {Stage.ANSWERING, Stage.IDLE} else stage
        self.since = asyncio.get_running_loop().time()
        self._book.moved(self)

    def _expect_header(self) -> None:
        self._stop_timer()
        self._deadline = asyncio.get_running_loop().call_later(self._book.limits.header_s, self.force_close)

    def _stop_timer(self) -> None:
        if self._deadline is not None:
            self._deadline.cancel()
            self._deadline = None

    def _expect_reading(self) -> None:
        waiting = self.transport.get_write_buffer_size() if isinstance(self.transport, asyncio.WriteTransport) else 0
        self._unread = asyncio.get_running_loop().call_later(self._book.limits.unread_s, self._check_reading, waiting)

    def _check_reading(self, waited: int) -> None:
        left = self.transport.get_write_buffer_size() if isinstance(self.transport, asyncio.WriteTransport) else 0
        if waited - left < UNREAD_BYTES:
            self.drop()
        else:
            self._expect_reading()

    def _stop_unread_timer(self) -> None:
        if self._unread is not None:
            self._unread.cancel()
            self._unread = None


class ConnectionBook:
    """All connections of a listener: who may open one, and who has to go when there are too many."""

    def __init__(self, limits: ConnectionLimits, render: Callable[[HttpError], web.Response]) -> None:
        self.limits = limits
        self.render = render
        self._all: dict[Connection, dict[Connection, None]] = {}  # with those in the same stage
        # By the time they came into that stage: the first is the oldest.
        self._by_stage: dict[Stage, dict[Connection, None]] = {stage: {} for stage in Stage}
        self._unproven: dict[str, dict[Connection, None]] = {}  # by peer, or by client behind our own proxies
        self._trims: dict[str, asyncio.TimerHandle] = {}  # peers that have too many for a moment
        self._closed = SeldomLog(log, every_s=60)
        self._refused = SeldomLog(log, every_s=60)
        self.garbage = SeldomLog(log, every_s=60)

    def __len__(self) -> int:
        return len(self._all)

    def make_room(self, peer: str) -> bool:
        """Say whether this peer may open a connection; close another one for it where one says nothing."""
        room = self._room_among(peer) and (len(self._all) < self.limits.connections or self.drop_one())
        if not room:
            self._refused.warning("[api] %s was not heard: all of %d connections are being answered", peer, len(self))
        return room

    def add(self, connection: Connection) -> None:
        self._list(connection)
        if self.limits.trusted_hops == 0:  # else who connects is a proxy of ours, and its clients are counted
            self._unproven.setdefault(connection.peer, {})[connection] = None

    def remove(self, connection: Connection) -> None:
        self._all.pop(connection, {}).pop(connection, None)
        self._forget(connection.peer, connection)
        self.forget_client(connection)

    def moved(self, connection: Connection) -> None:
        """Put a connection at the end of its new stage."""
        if connection in self._all:
            del self._all[connection][connection]
            self._list(connection)

    def _list(self, connection: Connection) -> None:
        self._all[connection] = same = self._by_stage[connection.stage]
        same[connection] = None

    def proved(self, connection: Connection) -> None:
        """Stop counting a connection against its peer."""
        self._forget(connection.peer, connection)
        self.forget_client(connection)

    def count_client(self, connection: Connection) -> bool:
        """Count a request of a client behind our own proxies; say whether it may be answered."""
        name = connection.client or ""
        known = self._unproven.get(name, {})
        if len(known) >= self.limits.unproven:
            # Those that are idle are the proxy's, which opens others.
            idle = next((c for c in known if c.stage is Stage.IDLE), None)
            if not self._drop(idle, "%s has %d connections without a key", name, len(known)):
                return False
        self._unproven.setdefault(name, {})[connection] = None
        return True

    def forget_client(self, connection: Connection) -> None:
        if connection.client is not None:
            self._forget(connection.client, connection)

    def drop_one(self) -> bool:
        """Close the oldest connection without a whole header, else the next that says or reads nothing; False: none."""
        victim = self._stalled() or next(iter(self._by_stage[Stage.HEADER]), None)
        if victim is None:
            silent = [connection for stage in _SILENT for connection in self._by_stage[stage]]
            victim = next((c for c in silent if not c.proven), None) or next(iter(silent), None)
        return self._drop(victim, "there are %d connections", len(self._all))

    def _stalled(self) -> Connection | None:
        """Return who keeps us waiting for longer than somebody who has just connected and is about to ask."""
        oldest = (
            next((c for c in self._by_stage[stage] if stage is Stage.HEADER or not c.proven), None)
            for stage in (Stage.HEADER, Stage.BODY, Stage.UNREAD)
        )
        return next((c for c in oldest if c is not None and self._age(c) >= self.limits.grace_s), None)

    def _room_among(self, peer: str) -> bool:
        known = self._unproven.get(peer, {})
        if len(known) < self.limits.unproven:
            return True
        # Not refused: whoever shares an address with a flood (a NAT, a probe on this host) is heard all the same.
        victim = self._most_silent(known)
        if victim is None or self._age(victim) >= self.limits.grace_s:
            return self._drop(victim, "%s has %d connections without a key", peer, len(known))
        if peer not in self._trims:
            self._trim_in(peer, self.limits.grace_s - self._age(victim))
        return True

    def _trim(self, peer: str) -> None:
        """Close what is too much of a peer once it had the time to ask for something."""
        del self._trims[peer]
        known = self._unproven.get(peer, {})
        while len(known) > self.limits.unproven and (victim := self._most_silent(known)) is not None:
            if self._age(victim) < self.limits.grace_s:
                self._trim_in(peer, self.limits.grace_s - self._age(victim))
                return
            self._drop(victim, "%s has %d connections without a key", peer, len(known))

    def _trim_in(self, peer: str, seconds: float) -> None:
        self._trims[peer] = asyncio.get_running_loop().call_later(seconds, self._trim, peer)

    @staticmethod
    def _most_silent(known: Mapping[Connection, None]) -> Connection | None:
        return next((c for stage in _SILENT for c in known if c.stage is stage), None)

    @staticmethod
    def _age(connection: Connection) -> float:
        return asyncio.get_running_loop().time() - connection.since

    def _drop(self, victim: Connection | None, why: str, *args: object) -> bool:
        if victim is None:
            return False
        self._closed.warning(f"[api] {why}: closed the oldest", *args)
        victim.drop()
        return True

    def _forget(self, name: str, connection: Connection) -> None:
        known = self._unproven.get(name)
        if known is not None:
            known.pop(connection, None)
            if not known:
                del self._unproven[name]


def prove(request: web.BaseRequest) -> None:
    """Note that whoever asks has shown a key, a session or a token that is good: its connection counts no more."""
    if isinstance(request.protocol, Connection):
        request.protocol.prove()
