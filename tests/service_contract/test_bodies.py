"""A body arrives in time and in bounds, on both services."""

from __future__ import annotations

import asyncio
from pathlib import Path
from urllib.parse import urlsplit

import pytest

from kernel.web import middlewares
from tests.service_contract.services import BOTH, ServiceUnderTest


async def said(url: str, request: bytes) -> bytes:
    parts = urlsplit(url)
    reader, writer = await asyncio.open_connection(parts.hostname, parts.port)
    try:
        writer.write(request)
        async with asyncio.timeout(15):
            return await reader.read(4096)
    finally:
        writer.close()


@BOTH
@pytest.mark.parametrize("more", [b"Content-Length: 100\r\n\r\n{", b"Transfer-Encoding: chunked\r\n\r\n5\r\n{"])
async def test_a_body_that_drips_is_answered_408(
    service: ServiceUnderTest, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, more: bytes
) -> None:
    monkeypatch.setattr(middlewares, "BODY_S", 0.3)
    async with service.running(service.environment(tmp_path)) as running:
        url = running.api.url if service.name == "scanner" else running.nobody.url
        answer = await said(url, b"POST %b HTTP/1.1\r\nHost: 127.0.0.1\r\n%b" % (service.post.encode(), more))
    assert answer.startswith(b"HTTP/1.1 408")
    assert b"request_timeout" in answer


@BOTH
async def test_a_body_over_64_kb_is_answered_413(service: ServiceUnderTest, tmp_path: Path) -> None:
    async with service.running(service.environment(tmp_path)) as running:
        url = running.api.url if service.name == "scanner" else running.nobody.url
        head = b"POST %b HTTP/1.1\r\nHost: 127.0.0.1\r\nContent-Length: 70000\r\n\r\n" % service.post.encode()
        answer = await said(url, head + b"a" * 70_000)
    assert answer.startswith(b"HTTP/1.1 413")
