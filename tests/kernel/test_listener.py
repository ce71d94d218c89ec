"""Connections that say nothing, or say it slowly, take nothing away from anybody else."""

from __future__ import annotations

import asyncio
import errno
import logging
import socket
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager, suppress
from typing import Any
from urllib.parse import urlsplit

import pytest
from aiohttp import web

from kernel.seldom import SeldomLog
from kernel.web import middlewares
from kernel.web.connections import ConnectionLimits, prove
from kernel.web.http_errors import CODES, ERROR_SHAPE, ErrorShape, HttpError
from kernel.web.listener import Listener, listening
from kernel.web.middlewares import counted, whole_body

GET = b"GET / HTTP/1.1\r\nHost: a\r\n\r\n"
LARGE = b"GET /large HTTP/1.1\r\nHost: a\r\n\r\n"
KEY = b"GET /key HTTP/1.1\r\nHost: a\r\n\r\n"


def render(error: HttpError) -> web.Response:
    return web.json_response({"code": error.code, "message": str(error)}, status=CODES[error.code])


def application(**more: Any) -> web.Application:
    app = web.Application(**more)
    app[ERROR_SHAPE] = ErrorShape(render)
    return app


class Served:
    """A web server of a few routes, and raw connections to it."""

    def __init__(self, url: str, stack: AsyncExitStack, slow: asyncio.Event, held: asyncio.Semaphore) -> None:
        self.address = urlsplit(url).hostname, urlsplit(url).port
        self.slow = slow
        self._held = held
        self._stack = stack

    async def connect(self) -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
        reader, writer = await asyncio.open_connection(*self.address)
        self._stack.callback(writer.close)
        return reader, writer

    async def holds(self, requests: int) -> None:
        """Wait until so many more slow requests have reached their handler."""
        async with asyncio.timeout(5):
            for _ in range(requests):
                await self._held.acquire()

    async def ask(self, request: bytes = GET) -> tuple[asyncio.StreamReader, asyncio.StreamWriter, bytes]:
        reader, writer = await self.connect()
        writer.write(request)
        return reader, writer, await said(reader)


async def said(reader: asyncio.StreamReader, within_s: float = 5) -> bytes:
    """Return the next status line and what came with it; empty when the connection was closed."""
    async with asyncio.timeout(within_s):
        with suppress(ConnectionResetError):
            return await reader.read(4096)
        return b""


@asynccontextmanager
async def served(**numbers: float) -> AsyncIterator[Served]:
    slow, held = asyncio.Event(), asyncio.Semaphore(0)

    async def ok(_request: web.Request) -> web.Response:
        return web.Response(text="ok")

    async def key(request: web.Request) -> web.Response:
        prove(request)
        return web.Response(text="known")

    async def wait(_request: web.Request) -> web.Response:
        held.release()
        await slow.wait()
        return web.Response(text="at last")

    async def body(request: web.Request) -> web.Response:
        return web.Response(text=str(len(await request.read())))

    async def large(_request: web.Request) -> web.Response:
        return web.Response(body=b"x" * 20_000_000)

    app = application(client_max_size=1000, middlewares=[counted, whole_body])
    app.router.add_get("/", ok)
    app.router.add_get("/key", key)
    app.router.add_get("/slow", wait)
    app.router.add_post("/body", body)
    app.router.add_get("/large", large)
    limits = ConnectionLimits(**{"connections": 50, **numbers})  # type: ignore[arg-type]
    async with AsyncExitStack() as stack, listening(app, host="127.0.0.1", port=0, limits=limits) as url:
        stack.callback(slow.set)
        yield Served(url, stack, slow, held)
        slow.set()


# -- time --------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "first",
    [
        pytest.param(b"", id="nothing at all"),
        pytest.param(b"GET / HT", id="half a line"),
        pytest.param(b"GET / HTTP/1.1\r\nHost: a\r\nX: ", id="half a header"),
        pytest.param(b"\r\n", id="an empty line"),
    ],
)
async def test_a_header_that_does_not_arrive_closes_the_connection(first: bytes) -> None:
    async with served(header_s=0.2) as server:
        reader, writer = await server.connect()
        writer.write(first)
        assert await said(reader) == b""


async def test_a_header_that_drips_is_not_kept_alive_by_its_drops() -> None:
    async with served(header_s=0.4) as server:
        reader, writer = await server.connect()
        over = asyncio.create_task(said(reader))
        for byte in b"GET / HTTP/1.1\r\nHost: a\r\n" * 10:
            writer.write(bytes([byte]))
            done, _ = await asyncio.wait([over], timeout=0.05)
            if done:
                break
        assert over.done()
        assert over.result() == b""


async def test_the_header_of_a_later_request_has_a_limit_of_its_own() -> None:
    async with served(header_s=0.3, idle_s=60) as server:
        reader, writer, first = await server.ask()
        assert first.startswith(b"HTTP/1.1 200")
        await asyncio.sleep(0.5)  # longer than a header may take: being idle is not asking
        writer.write(GET)
        assert (await said(reader)).startswith(b"HTTP/1.1 200")
        writer.write(b"GET / HTTP/1.1\r\nHost")
        assert await said(reader) == b""


async def test_an_idle_connection_is_closed_after_a_while() -> None:
    async with served(idle_s=0.2) as server:
        reader, _, first = await server.ask()
        assert first.startswith(b"HTTP/1.1 200")
        assert await said(reader) == b""


async def test_an_answer_that_takes_long_is_given() -> None:
    async with served(header_s=0.1, idle_s=0.1) as server:
        reader, writer = await server.connect()
        writer.write(GET.replace(b"/ ", b"/slow "))
        await asyncio.sleep(0.4)  # longer than a header or an idle connection may take: nothing must happen
        server.slow.set()
        assert (await said(reader)).startswith(b"HTTP/1.1 200")


@pytest.mark.parametrize("drops", [b"", b"x"])
async def test_a_body_that_drips_is_given_up(monkeypatch: pytest.MonkeyPatch, drops: bytes) -> None:
    monkeypatch.setattr(middlewares, "BODY_S", 0.3)
    async with served() as server:
        _, _, answer = await server.ask(b"POST /body HTTP/1.1\r\nHost: a\r\nContent-Length: 100\r\n\r\n" + drops)
        assert answer.startswith(b"HTTP/1.1 408")


async def test_an_answer_nobody_reads_is_given_up() -> None:
    async with served(unread_s=0.3, connections=1) as server:
        reader, writer = await server.connect()
        writer.write(LARGE)
        await asyncio.sleep(1.5)  # not reading for so long is what is tested
        assert len(await reader.read()) < 20_000_000  # what the kernel had taken, and then the end


async def test_an_answer_that_is_read_slowly_is_given() -> None:
    async with served(unread_s=0.3) as server:
        reader, writer = await server.connect()
        writer.write(LARGE)
        got = 0
        async with asyncio.timeout(30):
            while got < 20_000_000 and (part := await reader.read(500_000)):
                got += len(part)
                await asyncio.sleep(0.005)  # a slow reader is what is tested
        assert got > 20_000_000


async def test_hanging_up_in_a_body_is_no_failure_of_ours(caplog: pytest.LogCaptureFixture) -> None:
    async with served() as server:
        _, writer = await server.connect()
        writer.write(b"POST /body HTTP/1.1\r\nHost: a\r\nContent-Length: 100\r\n\r\n{")
        await asyncio.sleep(0.1)  # nothing tells that the server is in the middle of the body
        writer.transport.abort()
        assert (await server.ask())[2].startswith(b"HTTP/1.1 200")
    assert [record for record in caplog.records if record.levelno >= logging.WARNING] == []


# -- how many ----------------------------------------------------------------------------------------


async def test_when_all_places_are_taken_the_oldest_without_a_header_goes() -> None:
    async with served(connections=10) as server:
        answered = [await server.ask() for _ in range(3)]
        silent = [await server.connect() for _ in range(20)]
        _, _, heard = await server.ask()

        assert heard.startswith(b"HTTP/1.1 200")
        assert [await said(reader) for reader, _ in silent[:13]] == [b""] * 13
        for reader, writer, _ in answered:  # who was answered keeps its place while others say nothing
            writer.write(GET)
            assert (await said(reader)).startswith(b"HTTP/1.1 200")


@pytest.mark.parametrize("numbers", [{"connections": 5}, {"unproven": 5, "grace_s": 0}], ids=["in all", "of a peer"])
@pytest.mark.parametrize("kind", ["half a body", "an answer not read"])
async def test_whoever_keeps_us_waiting_has_to_go(kind: str, numbers: dict[str, float]) -> None:
    async with served(**numbers) as server:
        waiting = [await server.connect() for _ in range(5)]
        for _, writer in waiting:
            writer.write(LARGE if kind != "half a body" else b"POST /body HTTP/1.1\r\nContent-Length: 9\r\n\r\n{")
        await asyncio.sleep(0.5)  # so long the server has to bear with them; then they may go
        assert (await server.ask())[2].startswith(b"HTTP/1.1 200")


async def test_whoever_has_shown_a_key_may_be_slow_while_others_are_idle() -> None:
    async with served(connections=5, grace_s=0) as server:
        reader, writer, known = await server.ask(KEY)
        assert known.endswith(b"known")
        writer.write(b"POST /body HTTP/1.1\r\nHost: a\r\nContent-Length: 2\r\n\r\n{")
        for _ in range(10):
            assert (await server.ask())[2].startswith(b"HTTP/1.1 200")
        writer.write(b"}")
        assert (await said(reader)).startswith(b"HTTP/1.1 200")


async def test_nobody_who_is_being_answered_has_to_go() -> None:
    async with served(connections=5) as server:
        busy = [await server.connect() for _ in range(5)]
        for _, writer in busy:
            writer.write(GET.replace(b"/ ", b"/slow "))
        await server.holds(5)
        reader, _ = await server.connect()
        assert await said(reader) == b""
        server.slow.set()
        assert [(await said(reader))[:12] for reader, _ in busy] == [b"HTTP/1.1 200"] * 5


async def test_one_peer_without_a_key_has_only_so_many_and_its_newest_is_answered() -> None:
    async with served(unproven=5, grace_s=0) as server:
        silent = [await server.connect() for _ in range(5)]
        for _ in range(3):
            assert (await server.ask())[2].startswith(b"HTTP/1.1 200")
        assert [await said(reader) for reader, _ in silent[:3]] == [b""] * 3


async def test_what_one_peer_has_too_much_of_is_closed_after_a_moment() -> None:
    async with served(unproven=5, grace_s=0.3) as server:
        silent = [await server.connect() for _ in range(30)]
        known = [await server.ask(KEY) for _ in range(5)]
        assert (await server.ask())[2].startswith(b"HTTP/1.1 200")
        assert [await said(reader) for reader, _ in silent[:25]] == [b""] * 25
        for reader, writer, first in known:
            assert first.endswith(b"known")
            writer.write(GET)
            assert (await said(reader)).startswith(b"HTTP/1.1 200")


async def test_whoever_has_shown_a_key_is_not_counted() -> None:
    async with served(unproven=5) as server:
        known = [await server.ask(KEY) for _ in range(20)]
        for reader, writer, first in known:
            assert first.endswith(b"known")
            writer.write(GET)
            assert (await said(reader)).startswith(b"HTTP/1.1 200")


async def test_a_trusted_hop_is_exempt_and_its_clients_are_counted() -> None:
    async with served(unproven=3, trusted_hops=1) as server:

        async def through(client: str) -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
            reader, writer = await server.connect()
            writer.write(b"GET /slow HTTP/1.1\r\nHost: a\r\nX-Forwarded-For: 9.9.9.9, %b\r\n\r\n" % client.encode())
            return reader, writer

        one = [await through("1.1.1.1") for _ in range(3)]
        others = [await through(f"2.2.2.{i}") for i in range(20)]
        await server.holds(23)
        refused = await said((await through("1.1.1.1"))[0])
        server.slow.set()

        assert refused.startswith(b"HTTP/1.1 429")
        assert all([(await said(reader)).startswith(b"HTTP/1.1 200") for reader, _ in [*one, *others]])
        assert (await said((await through("1.1.1.1"))[0])).startswith(b"HTTP/1.1 200")


async def test_of_one_client_behind_a_trusted_hop_only_so_many_connections_stay() -> None:
    async with served(unproven=3, trusted_hops=2) as server:

        def asked(client: str) -> bytes:
            return b"GET / HTTP/1.1\r\nHost: a\r\nX-Forwarded-For: 6.6.6.6, %b, 10.0.0.1\r\n\r\n" % client.encode()

        one = [await server.ask(asked("1.1.1.1")) for _ in range(6)]
        others = [await server.ask(asked(f"2.2.2.{i}")) for i in range(20)]

        assert all(first.startswith(b"HTTP/1.1 200") for _, _, first in [*one, *others])
        assert [await said(reader) for reader, _, _ in one[:3]] == [b""] * 3
        for reader, writer, _ in [*one[3:], *others]:
            writer.write(GET)
            assert (await said(reader)).startswith(b"HTTP/1.1 200")


# -- where -------------------------------------------------------------------------------------------


@pytest.mark.parametrize("host", ["127.0.0.1", "localhost"])
async def test_it_listens_where_it_is_told(host: str) -> None:
    async with listening(application(), host=host, port=0, limits=ConnectionLimits(connections=5)) as url:
        port = urlsplit(url).port
        reader, writer = await asyncio.open_connection(host, port)
        writer.write(GET)
        assert (await said(reader)).startswith(b"HTTP/1.1 404")
        writer.close()


@pytest.mark.parametrize(("host", "why"), [("192.0.2.1", "192.0.2.1"), ("no.such.name.invalid", None)])
async def test_where_it_cannot_listen_is_said(host: str, why: str | None) -> None:
    with pytest.raises(OSError, match=why):
        async with listening(application(), host=host, port=0, limits=ConnectionLimits(connections=5)):
            pass


async def test_a_port_that_is_taken_is_named() -> None:
    limits = ConnectionLimits(connections=5)
    async with listening(application(), host="127.0.0.1", port=0, limits=limits) as url:
        port = urlsplit(url).port
        with pytest.raises(OSError, match=f"cannot listen on 127.0.0.1, port {port}"):
            async with listening(application(), host="127.0.0.1", port=port or 0, limits=limits):
                pass


# -- no descriptors ----------------------------------------------------------------------------------


class NoDescriptors(socket.socket):
    """A listening socket of a process that has no descriptor left."""

    attempts = 0
    free = False

    def accept(self) -> tuple[socket.socket, object]:
        self.attempts += 1
        if not self.free:
            raise OSError(errno.EMFILE, "Too many open files")
        return super().accept()


async def test_without_descriptors_the_log_says_so_once_and_accepting_goes_on(
    caplog: pytest.LogCaptureFixture,
) -> None:
    async def ok(_request: web.BaseRequest) -> web.Response:
        return web.Response(text="ok")

    blocked = NoDescriptors()
    blocked.setblocking(False)
    blocked.bind(("127.0.0.1", 0))
    blocked.listen()
    listener = Listener(web.Server(ok), [blocked], ConnectionLimits(connections=10), render)
    with caplog.at_level(logging.WARNING):
        listener.start()
        reader, writer = await asyncio.open_connection(*blocked.getsockname())
        await asyncio.sleep(0.6)  # how often it tries in this time is what is tested
        assert 3 <= blocked.attempts <= 10
        assert len(caplog.records) == 1
        blocked.free = True
        writer.write(GET)
        assert (await said(reader)).startswith(b"HTTP/1.1 200")
        await listener.stop()
        writer.close()


def test_a_line_strangers_can_cause_comes_once_in_a_while(caplog: pytest.LogCaptureFixture) -> None:
    now = 0.0
    seldom = SeldomLog(logging.getLogger("x"), every_s=1, monotonic=lambda: now)
    for _ in range(1000):
        seldom.warning("%s", "full")
    now = 1.0
    seldom.warning("%s", "full")

    assert [record.getMessage() for record in caplog.records] == [
        "full (0 more since the last such line)",
        "full (999 more since the last such line)",
    ]


async def test_a_burst_of_clients_that_show_a_key_at_once_is_answered_whole() -> None:
    async with served(unproven=20, connections=1000, grace_s=60) as server:

        async def one() -> bytes:
            return (await server.ask(KEY))[2]

        answers = await asyncio.gather(*(one() for _ in range(400)))
        assert [answer[:12] for answer in answers] == [b"HTTP/1.1 200"] * 400


@pytest.mark.parametrize("turns", range(12))
async def test_no_handler_runs_once_the_listener_has_ended_however_lately_its_request_came(turns: int) -> None:
    """What a handler needs is closed next: one that went on then told its caller of a fault of ours."""
    running, ran = 0, asyncio.Event()

    async def slow(_request: web.Request) -> web.Response:
        nonlocal running
        running += 1
        ran.set()
        try:
            for _ in range(30):
                await asyncio.sleep(0)
        finally:
            running -= 1
        return web.Response()

    app = application()
    app.router.add_get("/", slow)
    with socket.socket() as client:
        async with listening(app, host="127.0.0.1", port=0, limits=ConnectionLimits(connections=5)) as url:
            client.connect((urlsplit(url).hostname, urlsplit(url).port))
            client.sendall(GET)
            for _ in range(turns):
                await asyncio.sleep(0)
        assert running == 0
        ran.clear()
        for _ in range(30):
            await asyncio.sleep(0)
        assert not ran.is_set()
