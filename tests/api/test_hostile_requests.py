"""What no client of ours sends: every byte of it is bounded, nothing is stored, and the API lives on."""

from __future__ import annotations

import asyncio
from urllib.parse import urlsplit

import orjson
import pytest

from kernel.web import middlewares
from tests.api.conftest import KEY
from tests.harness import Running, intent_body

HEAD = f"POST /intents HTTP/1.1\r\nHost: a\r\nAuthorization: Bearer {KEY}\r\n"


async def raw(daemon: Running, request: bytes, *, finish: bool = True) -> str:
    """Send bytes on a connection of their own; return all that comes back until it is closed."""
    parts = urlsplit(daemon.api.url)
    reader, writer = await asyncio.open_connection(parts.hostname, parts.port)
    try:
        writer.write(request)
        if finish:
            writer.write_eof()
        async with asyncio.timeout(20):
            try:
                return (await reader.read()).decode("latin-1")
            except ConnectionResetError:  # closed with bytes of ours unread
                return ""
    finally:
        writer.close()


async def assert_still_serving(daemon: Running) -> None:
    assert (await daemon.api.get("/intents"))["intents"] == []


def with_body(headers: str, body: bytes) -> bytes:
    return (HEAD + headers + "\r\n").encode() + body


BODY = orjson.dumps(intent_body(intentId="smuggled", callbackUrl="http://127.0.0.1:9/"))
SMUGGLED = b"0\r\n\r\nPOST /intents HTTP/1.1\r\nHost: a\r\nContent-Length: %d\r\n\r\n%b" % (len(BODY), BODY)


@pytest.mark.parametrize(
    "headers",
    [
        f"Content-Length: {len(SMUGGLED)}\r\nTransfer-Encoding: chunked\r\n",
        f"Content-Length: 5\r\nContent-Length: {len(SMUGGLED)}\r\n",
        "Content-Length: +5\r\n",
        "Content-Length: 0x5\r\n",
        "Content-Length: -1\r\n",
        "Transfer-Encoding: xchunked\r\n",
        "Transfer-Encoding: chunked\r\nTransfer-Encoding: identity\r\n",
        "Content-Length : 5\r\n",
        " Content-Length: 5\r\n",
        "X: a\nContent-Length: 5\r\n",
        "X: a\0b\r\n",
    ],
)
async def test_a_request_that_two_servers_could_read_differently_is_refused_whole(
    daemon: Running, headers: str
) -> None:
    answer = await raw(daemon, with_body(headers, SMUGGLED))
    assert answer.startswith("HTTP/1.1 400") or answer == ""
    assert answer.count("HTTP/1.1 ") <= 1  # what stands behind it is not another request
    await assert_still_serving(daemon)


@pytest.mark.parametrize(
    "headers",
    [
        pytest.param(f"X: {'a' * 100_000}\r\n", id="one of 100 KB"),
        pytest.param("".join(f"X{i}: a\r\n" for i in range(20_000)), id="20,000 of them"),
    ],
)
async def test_a_flood_of_headers_ends_at_a_limit(daemon: Running, headers: str) -> None:
    answer = await raw(daemon, with_body(headers, b""))
    assert answer == "" or answer.split()[1] in {"400", "431"}
    await assert_still_serving(daemon)


async def test_a_line_that_never_ends_ends_at_a_limit(daemon: Running) -> None:
    answer = await raw(daemon, b"GET /" + b"a" * 1_000_000)
    assert answer == "" or answer.split()[1] in {"400", "414"}
    await assert_still_serving(daemon)


async def test_a_chunked_body_ends_at_64_kb_however_long_it_is(daemon: Running) -> None:
    chunk = b"4000\r\n" + b"a" * 0x4000 + b"\r\n"
    answer = await raw(daemon, with_body("Transfer-Encoding: chunked\r\n", chunk * 64))
    assert answer == "" or answer.startswith("HTTP/1.1 413")
    await assert_still_serving(daemon)


@pytest.mark.parametrize("nest", [b"[", b'{"a":'])
async def test_json_deeper_than_any_of_ours_is_a_400(daemon: Running, nest: bytes) -> None:
    body = nest * 10_000
    answer = await raw(daemon, with_body(f"Content-Length: {len(body)}\r\nConnection: close\r\n", body), finish=False)
    assert answer.startswith("HTTP/1.1 400")
    assert "bad_json" in answer
    await assert_still_serving(daemon)


async def test_a_body_that_drips_is_given_up(daemon: Running, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(middlewares, "BODY_S", 0.3)
    request = with_body("Content-Length: 1000\r\nConnection: close\r\n", b'{"intentId"')
    answer = await raw(daemon, request, finish=False)
    assert answer.startswith("HTTP/1.1 408")
    assert "request_timeout" in answer
    await assert_still_serving(daemon)


async def test_a_body_cut_short_stores_nothing(daemon: Running) -> None:
    await raw(daemon, with_body(f"Content-Length: {len(BODY) + 1}\r\n", BODY))
    await assert_still_serving(daemon)


async def test_without_the_key_a_body_is_not_even_looked_at(daemon: Running) -> None:
    head = "POST /intents HTTP/1.1\r\nHost: a\r\nContent-Length: 1000000\r\nConnection: close\r\n\r\n"
    answer = await raw(daemon, head.encode(), finish=False)
    assert answer.startswith("HTTP/1.1 401")
