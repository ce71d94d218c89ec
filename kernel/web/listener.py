"""
Accepting connections.

The event loop's own loop of accepts writes a line with a trace for each of 128 attempts whenever descriptors run
out, and starts that many more attempts a second later: 100 MB of log in 45 s. This one makes room, waits, and says so
once a second.
"""

from __future__ import annotations

import asyncio
import errno
import logging
import socket
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import asynccontextmanager, suppress

from aiohttp import web
from aiohttp.abc import AbstractStreamWriter
from aiohttp.http_parser import RawRequestMessage
from aiohttp.streams import StreamReader
from aiohttp.web_protocol import RequestHandler

from kernel.seldom import SeldomLog
from kernel.web import expectations
from kernel.web.clients import client_ip, counted_as
from kernel.web.connections import Connection, ConnectionBook, ConnectionLimits
from kernel.web.http_errors import ERROR_SHAPE, HttpError

log = logging.getLogger(__name__)

# In one go. What was accepted is read a few turns of the loop later: with many in one go, a burst of honest clients
# would count as a hundred that say nothing.
ACCEPTS = 8
BACKLOG = 128
RETRY_S = 0.1
SHUTDOWN_S = 5.0
_NOT_HERE = {errno.EADDRNOTAVAIL, errno.EAFNOSUPPORT}
_GONE = (BlockingIOError, InterruptedError, ConnectionAbortedError)


class Listener:
    """Accepts connections for one web server."""

    def __init__(
        self,
        server: web.Server,
        sockets: Sequence[socket.socket],
        limits: ConnectionLimits,
        render: Callable[[HttpError], web.Response],
    ) -> None:
        self.book = ConnectionBook(limits, render)
        self._server = server
        self._sockets = sockets
        self._loop = asyncio.get_running_loop()
        self._opening: set[asyncio.Task[None]] = set()
        self._failed = SeldomLog(log)
        self._paused: dict[socket.socket, asyncio.TimerHandle] = {}

    def start(self) -> None:
        for listening in self._sockets:
            self._loop.add_reader(listening, self._accept, listening)

    async def stop(self) -> None:
        """Accept nobody any more; those who are connected stay."""
        for timer in self._paused.values():
            timer.cancel()
        for listening in self._sockets:
            self._loop.remove_reader(listening)
            listening.close()
        # One that opens after the server has ended would be served by nobody who still has what it takes.
        if self._opening:
            await asyncio.wait(self._opening)

    def _accept(self, listening: socket.socket) -> None:
        for _ in range(ACCEPTS):
            try:
                accepted, address = listening.accept()
            except _GONE:
                return
            except OSError as exc:
                self._pause(listening, exc)
                return
            self._take(accepted, counted_as(client_ip(str(address[0]), "", 0)))

    def _take(self, accepted: socket.socket, peer: str) -> None:
        if not self.book.make_room(peer):
            accepted.close()
            return
        accepted.setblocking(False)
        connection = Connection(self._server, self.book, peer)
        self.book.add(connection)
        task = self._loop.create_task(self._open(accepted, connection))
        self._opening.add(task)
        task.add_done_callback(self._opening.discard)

    async def _open(self, accepted: socket.socket, connection: Connection) -> None:
        try:
            await self._loop.connect_accepted_socket(lambda: connection, accepted)
        except OSError as exc:  # it was closed in between
            self.book.remove(connection)
            accepted.close()
            log.debug("[api] a connection could not be opened: %s", exc)

    def _pause(self, listening: socket.socket, exc: OSError) -> None:
        """Make room and come back: whoever waits in the kernel's queue goes nowhere."""
        self._failed.warning("[api] no connection can be accepted: %s", exc.strerror)
        if exc.errno in {errno.EMFILE, errno.ENFILE}:
            self.book.drop_one()
        self._loop.remove_reader(listening)
        self._paused[listening] = self._loop.call_later(RETRY_S, self._resume, listening)

    def _resume(self, listening: socket.socket) -> None:
        self._paused.pop(listening, None)
        self._loop.add_reader(listening, self._accept, listening)


@asynccontextmanager
async def listening(app: web.Application, *, host: str, port: int, limits: ConnectionLimits) -> AsyncIterator[str]:
    """
    Serve an application, which has its `ERROR_SHAPE`, until the block ends; yield its base URL.

    Raises:
        OSError: the address cannot be listened on.
    """
    runner = web.AppRunner(app, handle_signals=False, access_log=None, shutdown_timeout=SHUTDOWN_S)
    await runner.setup()
    try:
        server = runner.server
        if server is None:
            raise RuntimeError("a runner that was set up has no server")
        _prepare_requests(server)
        sockets = await _bind(host, port)
        listener = Listener(server, sockets, limits, app[ERROR_SHAPE].render)
        listener.start()
        try:
            yield _url(sockets[0])
        finally:
            await listener.stop()
    finally:
        await runner.cleanup()


def _prepare_requests(server: web.Server) -> None:
    """
    Do what belongs to the moment when the header of a request is whole: a request is made of it then.

    Its connection is told so, and its `Expect` is kept for `whole_body`.
    """
    make = server.request_factory

    def prepared(
        message: RawRequestMessage,
        payload: StreamReader,
        protocol: RequestHandler,
        writer: AbstractStreamWriter,
        task: asyncio.Task[None],
    ) -> web.BaseRequest:
        if isinstance(protocol, Connection):
            protocol.header_arrived()
        message, expected = expectations.set_aside(message)
        request = make(message, payload, protocol, writer, task)
        if expected:
            request[expectations.EXPECTATION] = expected
        return request

    server.request_factory = prepared


async def _bind(host: str, port: int) -> list[socket.socket]:
    found = await asyncio.get_running_loop().getaddrinfo(host, port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE)
    bound: list[socket.socket] = []
    missing: list[OSError] = []
    try:
        for family, kind, protocol, _, address in dict.fromkeys(found):
            try:
                bound.append(_bound(family, kind, protocol, address))
            except OSError as exc:
                if exc.errno not in _NOT_HERE:
                    raise
                missing.append(exc)  # `localhost` names ::1 on machines that have no IPv6
        if not bound:
            raise missing[0]
    except OSError:
        for each in bound:
            each.close()
        raise
    return bound


def _bound(family: int, kind: int, protocol: int, address: tuple[object, ...]) -> socket.socket:
    made = socket.socket(family, kind, protocol)
    try:
        made.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        if family == socket.AF_INET6:
            with suppress(OSError):
                made.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 1)
        made.setblocking(False)
        made.bind(address)
        made.listen(BACKLOG)
    except OSError as exc:
        made.close()
        raise OSError(exc.errno, f"cannot listen on {address[0]}, port {address[1]}: {exc.strerror}") from exc
    return made


def _url(listening: socket.socket) -> str:
    host, port = listening.getsockname()[:2]
    return f"http://[{host}]:{port}" if ":" in host else f"http://{host}:{port}"
