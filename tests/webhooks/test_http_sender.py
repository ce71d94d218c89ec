"""One call to a receiver, against real servers on loopback."""

from __future__ import annotations

import asyncio
import contextlib
import gzip
import socket
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager

import pytest
from aiohttp import web
from aiohttp.abc import AbstractResolver, ResolveResult

from webhooks.http_sender import Attempt, HttpSender, open_sender
from webhooks.signing import headers_for
from webhooks.ssrf_guard import SsrfGuard

BODY = b'{"intentId":"order-1"}'
HEADERS = headers_for(
    event_id="evt_1", event_type="payment.confirmed", delivery_id="order-1", body=BODY, secret="s", timestamp=1
)
ANYWHERE = SsrfGuard(frozenset(), production=False)
PRODUCTION = SsrfGuard(frozenset(), production=True)

Handler = Callable[[web.Request], Awaitable[web.StreamResponse]]


@asynccontextmanager
async def serving(handler: Handler, host: str = "127.0.0.1") -> AsyncIterator[int]:
    """Serve on a free port of loopback; yield the port."""
    app = web.Application()
    app.router.add_route("*", "/{path:.*}", handler)
    runner = web.AppRunner(app, access_log=None, shutdown_timeout=0.1, handler_cancellation=True)
    await runner.setup()
    try:
        await web.TCPSite(runner, host, 0).start()
        yield runner.addresses[0][1]
    finally:
        await runner.cleanup()


class FakeNames(AbstractResolver):
    """Resolves every name to what it is given: a DNS server in the attacker's hands."""

    def __init__(self, *ips: str) -> None:
        self._ips = ips

    async def resolve(
        self, host: str, port: int = 0, family: socket.AddressFamily = socket.AF_INET
    ) -> list[ResolveResult]:
        return [
            ResolveResult(
                hostname=host, host=ip, port=port, family=socket.AF_INET, proto=0, flags=socket.AI_NUMERICHOST
            )
            for ip in self._ips
        ]

    async def close(self) -> None:
        """Nothing is open."""


@pytest.fixture
async def client() -> AsyncIterator[HttpSender]:
    async with open_sender(ANYWHERE, timeout_s=5) as opened:
        yield opened


def answering(status: int = 200, body: bytes = b"", **headers: str) -> Handler:
    async def handle(request: web.Request) -> web.Response:
        await request.read()
        return web.Response(status=status, body=body, headers={k.replace("_", "-"): v for k, v in headers.items()})

    return handle


async def attempt(client: HttpSender, handler: Handler, path: str = "/hook") -> Attempt:
    async with serving(handler) as port:
        return await client.send(f"http://127.0.0.1:{port}{path}", BODY, HEADERS)


async def free_port() -> int:
    async with serving(answering()) as port:
        return port


@pytest.mark.parametrize("status", [200, 201, 202, 204, 299])
async def test_a_2xx_is_a_success(client, status):
    outcome = await attempt(client, answering(status))
    assert (outcome.ok, outcome.status, outcome.error, outcome.gone) == (True, status, None, False)


async def test_the_receiver_gets_the_body_and_exactly_the_promised_headers(client):
    got: list[tuple[str, dict[str, str], bytes]] = []

    async def handle(request: web.Request) -> web.Response:
        got.append((request.method, dict(request.headers), await request.read()))
        return web.Response()

    async with serving(handle) as port:
        await client.send(f"http://127.0.0.1:{port}/hook", BODY, HEADERS)
    transport = {
        "Host": f"127.0.0.1:{port}",
        "Accept": "*/*",
        "User-Agent": "AMN-Pay-Scanner",
        "Content-Length": str(len(BODY)),
    }
    assert got == [("POST", HEADERS | transport, BODY)]


@pytest.mark.parametrize("status", [301, 302, 303, 307, 308])
async def test_a_redirect_is_a_failure_and_not_followed(client, status):
    paths: list[str] = []

    async def handle(request: web.Request) -> web.Response:
        paths.append(request.path)
        return web.Response(status=status, headers={"Location": "/elsewhere"})

    outcome = await attempt(client, handle)
    assert not outcome.ok
    assert (outcome.status, outcome.error) == (status, f"HTTP {status}: redirect not followed")
    assert paths == ["/hook"]


@pytest.mark.parametrize("status", [400, 401, 404, 429, 500, 503])
async def test_another_status_is_a_failure_with_its_answer(client, status):
    outcome = await attempt(client, answering(status, b"no thanks"))
    assert outcome.ok is False
    assert (outcome.status, outcome.error, outcome.response) == (status, f"HTTP {status}", "no thanks")
    assert not outcome.gone


async def test_410_is_told_apart(client):
    outcome = await attempt(client, answering(410))
    assert (outcome.ok, outcome.gone) == (False, True)


@pytest.mark.parametrize(("value", "seconds"), [("120", 120), ("garbage", None), ("-1", 0)])
async def test_retry_after_of_a_failure_is_reported(client, value, seconds):
    outcome = await attempt(client, answering(429, Retry_After=value))
    assert outcome.retry_after == seconds


async def test_retry_after_of_a_success_is_ignored(client):
    assert (await attempt(client, answering(200, Retry_After="120"))).retry_after is None


async def test_a_receiver_that_hangs_times_out():
    async def handle(_: web.Request) -> web.Response:
        await asyncio.Event().wait()
        raise AssertionError

    async with asyncio.timeout(3), open_sender(ANYWHERE, timeout_s=0.2) as client:
        outcome = await attempt(client, handle)
    assert (outcome.ok, outcome.status, outcome.error) == (False, None, "timeout")
    assert 150 <= outcome.latency_ms < 3000


@pytest.mark.parametrize(("status", "ok"), [(200, True), (500, False)])
async def test_a_body_that_never_ends_is_left_at_the_timeout_and_the_status_counts(status, ok):
    async def drip(request: web.Request) -> web.StreamResponse:
        response = web.StreamResponse(status=status)
        await response.prepare(request)
        with contextlib.suppress(ConnectionError):
            while True:
                await response.write(b".")
                await asyncio.sleep(0.02)  # an answer that drips is what is tested
        return response

    async with asyncio.timeout(3), open_sender(ANYWHERE, timeout_s=0.2) as client:
        outcome = await attempt(client, drip)
    assert (outcome.ok, outcome.status) == (ok, status)
    assert outcome.response.startswith("..")


async def test_of_a_huge_body_only_1_kb_is_read():
    """The server cannot push its endless body: the connection is closed under it."""
    closed = asyncio.Event()

    async def flood(request: web.Request) -> web.StreamResponse:
        response = web.StreamResponse()
        await response.prepare(request)
        try:
            while True:
                await response.write(b"x" * 65536)
        finally:
            closed.set()

    async with open_sender(ANYWHERE, timeout_s=30) as client, asyncio.timeout(10), serving(flood) as port:
        outcome = await client.send(f"http://127.0.0.1:{port}/", BODY, HEADERS)
        await closed.wait()
    assert outcome.ok
    assert outcome.response == "x" * 1024


async def test_a_compressed_bomb_is_not_unpacked(client):
    bomb = gzip.compress(b"0" * 10_000_000)
    outcome = await attempt(client, answering(200, bomb, Content_Encoding="gzip"))
    assert outcome.ok
    assert "0000" not in outcome.response


async def test_an_answer_in_any_bytes_becomes_text_a_database_takes(client):
    outcome = await attempt(client, answering(500, b"a\0\xff\xc3"))
    assert outcome.response == "a\ufffd\ufffd\ufffd"


async def test_a_connection_refused_is_said(client):
    outcome = await client.send(f"http://127.0.0.1:{await free_port()}/?token=s3cret", BODY, HEADERS)
    assert (outcome.ok, outcome.status, outcome.error) == (False, None, "connection refused")


async def test_a_connection_cut_before_the_answer_is_a_failure(client):
    async def cut(request: web.Request) -> web.Response:
        assert request.transport is not None
        request.transport.abort()
        return web.Response()

    outcome = await attempt(client, cut)
    assert (outcome.ok, outcome.status, outcome.error) == (False, None, "the connection was closed")


@pytest.mark.parametrize(
    "answer", [b"SSH-2.0-OpenSSH_9\r\n\r\n", b"HTTP/1.1 abc\r\n\r\n", b"HTTP/1.1 200 OK\r\nA: " + b"x" * 99999]
)
async def test_what_is_not_http_is_a_failure_and_never_an_exception(client, answer):
    async def handle(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.readuntil(b"\r\n\r\n")
        writer.write(answer)
        with contextlib.suppress(ConnectionError):
            await writer.drain()
        writer.close()

    server = await asyncio.start_server(handle, "127.0.0.1", 0)
    async with server:
        port = server.sockets[0].getsockname()[1]
        outcome = await client.send(f"http://127.0.0.1:{port}/?token=s3cret", BODY, HEADERS)
    assert not outcome.ok
    assert outcome.error
    assert "s3cret" not in outcome.error


async def test_tls_against_a_plain_server_is_a_failure(client):
    async with serving(answering()) as port:
        outcome = await client.send(f"https://127.0.0.1:{port}/", BODY, HEADERS)
    assert (outcome.ok, outcome.error) == (False, "TLS failed")


@pytest.mark.parametrize(
    "url", ["", "nonsense", "ftp://a.example/", "http://u:s3cret@a.example/", "http://a.example:99999"]
)
async def test_a_bad_url_is_a_failure_and_never_an_exception(client, url):
    outcome = await client.send(url, BODY, HEADERS)
    assert not outcome.ok
    assert outcome.error is not None
    assert outcome.error.startswith("forbidden target: ")
    assert "s3cret" not in outcome.error


async def test_cookies_are_not_kept(client):
    sent: list[str | None] = []

    async def handle(request: web.Request) -> web.Response:
        sent.append(request.headers.get("Cookie"))
        return web.Response(headers={"Set-Cookie": "a=b"})

    async with open_sender(ANYWHERE, timeout_s=5, resolver=FakeNames("127.0.0.1")) as named, serving(handle) as port:
        for _ in range(2):  # by name: cookies of addresses are not kept by default anyway
            await named.send(f"http://shop.example:{port}/", BODY, HEADERS)
    assert sent == [None, None]


async def test_a_proxy_from_the_environment_is_not_used(client, monkeypatch):
    proxied: list[str] = []

    async def proxy(request: web.Request) -> web.Response:
        proxied.append(request.path)
        return web.Response(status=502)

    async with serving(proxy) as proxy_port:
        monkeypatch.setenv("http_proxy", f"http://127.0.0.1:{proxy_port}")
        outcome = await attempt(client, answering(204))
    assert (outcome.status, proxied) == (204, [])


async def test_a_slow_receiver_does_not_hold_up_others(client):
    """No limit on connections: two hundred calls hang and one more goes through."""
    released = asyncio.Event()
    arrived = asyncio.Semaphore(0)

    async def hang(_: web.Request) -> web.Response:
        arrived.release()
        await released.wait()
        return web.Response()

    async with asyncio.timeout(20), serving(hang) as port, asyncio.TaskGroup() as group:
        for _ in range(200):
            group.create_task(client.send(f"http://127.0.0.1:{port}/", BODY, HEADERS))
        for _ in range(200):
            await arrived.acquire()
        outcome = await attempt(client, answering())
        released.set()
    assert outcome.ok


async def test_cancellation_passes(client):
    started = asyncio.Event()

    async def hang(_: web.Request) -> web.Response:
        started.set()
        await asyncio.Event().wait()
        raise AssertionError

    async with serving(hang) as port:
        task = asyncio.create_task(client.send(f"http://127.0.0.1:{port}/", BODY, HEADERS))
        await started.wait()
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task


@asynccontextmanager
async def counting() -> AsyncIterator[tuple[int, list[str]]]:
    """A server on loopback that nothing may reach, and the connections it saw all the same."""
    seen: list[str] = []

    async def handle(_: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        seen.append("connected")
        writer.close()

    server = await asyncio.start_server(handle, "127.0.0.1", 0)
    async with server:
        yield server.sockets[0].getsockname()[1], seen


@pytest.mark.parametrize("ips", [("127.0.0.1",), ("127.0.0.1", "127.0.0.2")])
async def test_a_name_that_resolves_to_a_private_address_is_refused_before_dialling(ips):
    """DNS rebinding: the name was fine at registration, and the dial tells."""
    async with counting() as (port, seen), open_sender(PRODUCTION, timeout_s=5, resolver=FakeNames(*ips)) as client:
        url = f"http://shop.example:{port}/?token=s3cret"
        PRODUCTION.check_url(url)
        outcome = await client.send(url, BODY, HEADERS)
    assert not outcome.ok
    assert outcome.error == "forbidden target: the host resolves to an address that is not public"
    assert seen == []


async def test_of_several_addresses_the_forbidden_one_is_never_dialled(monkeypatch):
    """The other is tried: here a public one that nothing answers on, seen as the guard lets it pass."""
    asked: list[str] = []
    guard = SsrfGuard(frozenset(), production=True)

    def judge(ip: str) -> None:
        asked.append(ip)
        if ip != "127.0.0.2":  # stands for a public address
            PRODUCTION.check_address(ip)

    monkeypatch.setattr(guard, "check_address", judge)
    async with serving(answering(), "127.0.0.2") as port:
        resolver = FakeNames("127.0.0.1", "127.0.0.2")
        async with open_sender(guard, timeout_s=5, resolver=resolver) as client:
            outcome = await client.send(f"http://shop.example:{port}/", BODY, HEADERS)
    assert outcome.ok
    assert asked == ["127.0.0.1", "127.0.0.2"]


async def test_a_private_address_in_the_url_is_refused_without_a_connection():
    async with counting() as (port, seen), open_sender(PRODUCTION, timeout_s=5) as client:
        outcome = await client.send(f"http://127.0.0.1:{port}/", BODY, HEADERS)
    assert outcome.error == "forbidden target: host is not a public address"
    assert seen == []


async def test_the_dial_guard_also_judges_addresses_that_stand_in_the_url(monkeypatch):
    """Should the two ever read a URL differently, the dial decides."""
    guard = SsrfGuard(frozenset(), production=True)
    monkeypatch.setattr(guard, "check_url", lambda url: url)
    async with counting() as (port, seen), open_sender(guard, timeout_s=5) as client:
        outcome = await client.send(f"http://127.0.0.1:{port}/", BODY, HEADERS)
    assert outcome.error == "forbidden target: the host resolves to an address that is not public"
    assert seen == []


async def test_a_listed_host_may_resolve_to_a_private_address():
    listed = SsrfGuard(frozenset({"shop.example"}), production=True)
    async with (
        serving(answering()) as port,
        open_sender(listed, timeout_s=5, resolver=FakeNames("127.0.0.1")) as client,
    ):
        assert (await client.send(f"http://shop.example:{port}/", BODY, HEADERS)).ok
        refused = await client.send(f"http://other.example:{port}/", BODY, HEADERS)
    assert refused.error == "forbidden target: host is not in SCANNER_CALLBACK_ALLOWED_HOSTS"
