"""What the way to a database does to connections."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from pathlib import Path

import pytest

from tests.chaos.tcp_proxy import TcpProxy

WAIT_S = 0.2


class Echo:
    """A server that notes what it is told and says it back."""

    def __init__(self) -> None:
        self.heard = b""
        self.ended = 0

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        while data := await reader.read(100):
            self.heard += data
            writer.write(data)
        self.ended += 1
        writer.close()


@asynccontextmanager
async def proxied(folder: Path) -> AsyncIterator[tuple[TcpProxy, Echo]]:
    echo = Echo()
    server = await asyncio.start_unix_server(echo.serve, folder / "socket")
    async with TcpProxy(lambda: folder / "socket") as proxy:
        yield proxy, echo
    server.close()


@asynccontextmanager
async def opened(proxy: TcpProxy) -> AsyncIterator[tuple[asyncio.StreamReader, asyncio.StreamWriter]]:
    reader, writer = await asyncio.open_connection("127.0.0.1", proxy.port)
    try:
        yield reader, writer
    finally:
        writer.close()
        with suppress(ConnectionError):
            await writer.wait_closed()


async def answer(reader: asyncio.StreamReader) -> bytes | None:
    """Return what comes soon; None when nothing does."""
    try:
        async with asyncio.timeout(WAIT_S):
            return await reader.read(100)
    except TimeoutError:
        return None


async def test_what_is_said_goes_both_ways(tmp_path: Path) -> None:
    async with proxied(tmp_path) as (proxy, _), opened(proxy) as (reader, writer):
        writer.write(b"hello")
        assert await reader.read(100) == b"hello"


async def test_a_cut_ends_what_is_open_and_nothing_that_follows(tmp_path: Path) -> None:
    async with proxied(tmp_path) as (proxy, _):
        async with opened(proxy) as (reader, writer):
            writer.write(b"hello")
            await reader.read(100)
            proxy.cut()
            with pytest.raises(ConnectionResetError):
                await reader.read(100)
        async with opened(proxy) as (reader, writer):
            writer.write(b"again")
            assert await reader.read(100) == b"again"


async def test_a_hole_holds_back_what_is_said_and_delivers_it_late(tmp_path: Path) -> None:
    async with proxied(tmp_path) as (proxy, echo), opened(proxy) as (reader, writer):
        writer.write(b"hello")
        await reader.read(100)
        async with opened(proxy) as (fresh, said):
            async with proxy.hole():
                writer.write(b"COMMIT")
                writer.close()  # whoever said it has given up
                said.write(b"fresh")
                assert await answer(fresh) is None
                assert (echo.heard, echo.ended) == (b"hello", 0)
            assert await fresh.read(100) == b"fresh"
        assert b"COMMIT" in echo.heard


async def test_who_is_deaf_is_heard_and_hears_nothing_and_is_cut_in_the_end(tmp_path: Path) -> None:
    async with proxied(tmp_path) as (proxy, echo), opened(proxy) as (reader, writer):
        async with proxy.deaf():
            writer.write(b"COMMIT")
            assert await answer(reader) is None
            assert echo.heard == b"COMMIT"
        with pytest.raises(ConnectionResetError):
            await reader.read(100)


async def test_without_a_server_a_connection_is_ended(tmp_path: Path) -> None:
    async with TcpProxy(lambda: tmp_path / "nobody") as proxy, opened(proxy) as (reader, _):
        with pytest.raises(ConnectionResetError):
            await reader.read(100)
