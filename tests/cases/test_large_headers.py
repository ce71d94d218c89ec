"""Answers with long or many headers are read, from nodes and receivers alike, up to a bound."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager

import pytest

from chains.errors import ChainError
from chains.rpc.http_client import open_http
from clients.python.amn_scanner_client import ScannerClient, ScannerUnavailable
from protocol.http_limits import MAX_HEADERS
from webhooks.http_sender import Attempt, open_sender
from webhooks.ssrf_guard import SsrfGuard

FINE: dict[str, Mapping[str, str]] = {
    "one header of 9,000 bytes": {"X-Large": "x" * 9_000},
    "one header of 60,000 bytes": {"Set-Cookie": "x" * 60_000},
    "two hundred headers": {f"X-{number}": "x" for number in range(200)},
    "many long headers": {f"X-{number}": "x" * 9_000 for number in range(20)},
}
TOO_MUCH: dict[str, Mapping[str, str]] = {
    "one header of 70,000 bytes": {"X-Large": "x" * 70_000},
    "more headers than we read": {f"X-{number}": "x" for number in range(MAX_HEADERS + 10)},
}


@asynccontextmanager
async def answering(body: bytes, headers: Mapping[str, str]) -> AsyncIterator[str]:
    """Answer every request with 200, this body and these headers, byte for byte; give the URL."""
    lines = [f"{name}: {value}" for name, value in headers.items()]
    head = "\r\n".join(["HTTP/1.1 200 OK", f"Content-Length: {len(body)}", "Connection: close", *lines])

    async def answer(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.readuntil(b"\r\n\r\n")
        writer.write(head.encode() + b"\r\n\r\n" + body)
        try:
            await writer.drain()
        finally:
            writer.close()

    server = await asyncio.start_server(answer, "127.0.0.1", 0)
    async with server:
        yield f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}"


async def ask(url: str) -> bytes:
    async with open_http(timeout_s=5) as http:
        return bytes((await http.request("GET", url, headers={})).body)


async def deliver(url: str) -> Attempt:
    async with open_sender(SsrfGuard(frozenset(), production=False), timeout_s=5) as client:
        return await client.send(url, b"{}", {})


@pytest.mark.parametrize("headers", FINE.values(), ids=FINE)
async def test_a_node_that_sends_them_is_read(headers: Mapping[str, str]) -> None:
    async with answering(b"[]", headers) as url:
        assert await ask(url) == b"[]"


@pytest.mark.parametrize("headers", FINE.values(), ids=FINE)
async def test_a_receiver_that_sends_them_has_been_notified(headers: Mapping[str, str]) -> None:
    async with answering(b"ok", headers) as url:
        attempt = await deliver(url)
    assert (attempt.ok, attempt.status, attempt.error) == (True, 200, None)


@pytest.mark.parametrize("headers", FINE.values(), ids=FINE)
async def test_a_scanner_behind_a_proxy_that_sends_them_is_read(headers: Mapping[str, str]) -> None:
    async with (
        answering(b'{"status":"ready","reasons":[]}', headers) as url,
        ScannerClient.open(url, None, retry_delays=()) as client,
    ):
        await client.ready()


@pytest.mark.parametrize("headers", TOO_MUCH.values(), ids=TOO_MUCH)
async def test_there_is_an_end_to_what_is_read(headers: Mapping[str, str]) -> None:
    async with answering(b"[]", headers) as url:
        with pytest.raises(ChainError):
            await ask(url)
        assert not (await deliver(url)).ok
        async with ScannerClient.open(url, None, retry_delays=()) as client:
            with pytest.raises(ScannerUnavailable):
                await client.ready()
