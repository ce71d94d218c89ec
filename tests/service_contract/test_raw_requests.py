"""Bytes no client of ours sends: a 4xx or a closed connection, on both services, and a short log."""

from __future__ import annotations

import gzip
import logging
import zlib
from pathlib import Path

import pytest

from tests.service_contract.services import BOTH, ServiceUnderTest
from tests.service_contract.test_bodies import said

HOST = b"Host: 127.0.0.1\r\nConnection: close\r\n"


def post(extra: bytes, body: bytes) -> bytes:
    return b"POST %PATH HTTP/1.1\r\n" + HOST + extra + b"Content-Length: %d\r\n\r\n" % len(body) + body


def get(path: bytes, extra: bytes = b"") -> bytes:
    return b"GET " + path + b" HTTP/1.1\r\n" + HOST + extra + b"\r\n"


def chunked(rest: bytes) -> bytes:
    return b"POST %PATH HTTP/1.1\r\n" + HOST + b"Transfer-Encoding: chunked\r\n\r\n" + rest


BYTES = {
    "a bomb": post(b"Content-Encoding: gzip\r\n", gzip.compress(b"[" * 3_000_000)),
    "a bomb cut short": post(b"Content-Encoding: gzip\r\n", gzip.compress(b"[" * 50_000_000)[:40_000]),
    "no gzip": post(b"Content-Encoding: gzip\r\n", b"not gzip at all"),
    "no deflate": post(b"Content-Encoding: deflate\r\n", b"\x00\x01zzz"),
    "gzip cut short": post(b"Content-Encoding: gzip\r\n", gzip.compress(b"{}")[:-6]),
    "deflate with a wrong sum": post(b"Content-Encoding: deflate\r\n", zlib.compress(b"{}")[:-1] + b"\0"),
    "brotli": post(b"Content-Encoding: br\r\n", b"\x00\x01zzz"),
    "an unknown encoding": post(b"Content-Encoding: nothing\r\n", b"{}"),
    "no UTF-8": post(b"", b'{"a":"\xff"}'),
    "half a surrogate": post(b"", b'{"email":"\\ud800","intentId":"\\ud800"}'),
    "a long number": post(b"", b'{"chainId":' + b"9" * 60_000 + b"}"),
    "no numbers": post(b"", b'{"chainId":1e999,"amount":NaN}'),
    "deep": post(b"", b"[" * 60_000),
    "a wrong chunk": chunked(b"zz\r\n{}\r\n0\r\n\r\n"),
    "a wrong chunk later": chunked(b"1\r\n{\r\nzz\r\n}\r\n0\r\n\r\n"),
    "a long trailer": chunked(b"2\r\n{}\r\n0\r\nX: " + b"a" * 20_000 + b"\r\n\r\n"),
    "no path": get(b"/a%00b"),
    "a wrong path": get(b"/%zz%ff%c0%80"),
    "a wrong port": get(b"http://x:99999/"),
    "a wrong host": get(b"http://[::/"),
    "a star": b"OPTIONS * HTTP/1.1\r\n" + HOST + b"\r\n",
    "a proxy's": b"CONNECT a:1 HTTP/1.1\r\n" + HOST + b"\r\n",
    "an unknown method": b"FOO / HTTP/1.1\r\n" + HOST + b"\r\n",
    "the next protocol": b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n",
    "TLS": bytes.fromhex("16030100" + "a5" * 40),
    "bytes in headers": get(
        b"/none", b"X-Request-Id: \xff\xfe\r\nAuthorization: Bearer \xff\r\nX-Forwarded-For: \xff,,\r\n"
    ),
    "wrong queries": get(b"/intents?cursor=%ff&limit=99999999999999999999&status=%00"),
    "wrong pages": get(b"/api/marketplace/offers?page=99999999999999999999&limit=%ff"),
}


@BOTH
async def test_bytes_no_client_sends_are_a_4xx_and_the_service_lives_on(
    service: ServiceUnderTest, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    env = service.environment(tmp_path) | {f"{service.prefix}TRUSTED_HOPS": "1"}
    async with service.running(env) as running:
        url = running.api.url if service.name == "scanner" else running.nobody.url
        caplog.clear()
        wrong = {}
        for name, request in BYTES.items():
            answer = await said(url, request.replace(b"%PATH", service.post.encode()))
            if answer and not answer.split(b" ")[1].startswith(b"4"):
                wrong[name] = answer[:200]
        assert wrong == {}
        assert (await said(url, get(b"/health"))).startswith(b"HTTP/1.1 200")
    loud = [record for record in caplog.records if record.levelno >= logging.WARNING]
    assert len(loud) <= 2, [record.getMessage() for record in loud]
    assert not any(record.exc_info for record in loud)
