"""Requests as bytes, and the answers to them."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from typing import Any
from urllib.parse import urlsplit

import orjson

HOST = b"Host: 127.0.0.1\r\n"
CLOSE = b"Connection: close\r\n"


@dataclass(frozen=True)
class Answer:
    """One answer; `headers` by their lower-case names."""

    version: str
    status: int
    headers: Mapping[str, str]
    body: bytes

    @property
    def json(self) -> Any:
        assert self.headers.get("content-type", "").startswith("application/json"), self
        return orjson.loads(self.body)


def get(path: bytes, extra: bytes = b"") -> bytes:
    return b"GET " + path + b" HTTP/1.1\r\n" + HOST + CLOSE + extra + b"\r\n"


def post(path: bytes, body: bytes, extra: bytes = b"") -> bytes:
    length = b"Content-Length: %d\r\n" % len(body)
    return b"POST " + path + b" HTTP/1.1\r\n" + HOST + CLOSE + extra + length + b"\r\n" + body


def chunked(path: bytes, rest: bytes, coding: bytes = b"chunked") -> bytes:
    return b"POST " + path + b" HTTP/1.1\r\n" + HOST + CLOSE + b"Transfer-Encoding: " + coding + b"\r\n\r\n" + rest


async def asked(
    url: str, *parts: bytes, finish: bool = False, head: bool = False, within_s: float = 15
) -> list[Answer]:
    """Send what a request is made of, part by part; return every answer until the connection is closed."""
    where = urlsplit(url)
    reader, writer = await asyncio.open_connection(where.hostname, where.port)
    try:
        for part in parts:
            writer.write(part)
            await asyncio.sleep(0)
        if finish:
            writer.write_eof()
        async with asyncio.timeout(within_s):
            return answers(await _all(reader), head=head)
    finally:
        writer.close()


async def _all(reader: asyncio.StreamReader) -> bytes:
    got = bytearray()
    with suppress(ConnectionError):  # closed with bytes of ours unread
        while part := await reader.read(65_536):
            got += part
    return bytes(got)


def answers(raw: bytes, *, head: bool = False) -> list[Answer]:
    """Return the answers that came one after another; whatever is none fails."""
    found: list[Answer] = []
    while raw:
        top, blank, raw = raw.partition(b"\r\n\r\n")
        assert blank, f"an answer breaks off: {top[:200]!r}"
        line, *lines = top.decode("latin-1").split("\r\n")
        version, status, _ = line.split(" ", 2)
        headers = {name.lower(): value for name, value in (line.split(": ", 1) for line in lines)}
        length = 0 if head or status == "100" else int(headers["content-length"])
        assert len(raw) >= length, f"an answer breaks off: {line}"
        found.append(Answer(version, int(status), headers, raw[:length]))
        raw = raw[length:]
    return found


def final(found: Sequence[Answer]) -> Answer:
    """Return the one answer there has to be, without `100 Continue`."""
    (answer,) = [each for each in found if each.status != 100]
    return answer
