"""What becomes of a request whose connection breaks off, however it does."""

from __future__ import annotations

import asyncio
import socket
import struct
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager

import pytest

from chains.errors import ChainUnavailable
from chains.rpc.http_client import CutOff, open_http

RESET_AT_CLOSE = struct.pack("ii", 1, 0)


def reset(writer: asyncio.StreamWriter) -> None:
    """Close as a server does that has not read all it was sent: its system answers the rest with a reset."""
    writer.get_extra_info("socket").setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, RESET_AT_CLOSE)
    writer.transport.abort()


def close(writer: asyncio.StreamWriter) -> None:
    writer.transport.abort()


@asynccontextmanager
async def server(end: Callable[[asyncio.StreamWriter], None], *, says: bytes = b"") -> AsyncIterator[str]:
    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.readuntil(b"\r\n\r\n")
        writer.write(says)
        await writer.drain()
        end(writer)

    async with await asyncio.start_server(serve, "127.0.0.1", 0) as listening:
        yield f"http://127.0.0.1:{listening.sockets[0].getsockname()[1]}/"


HALF = b"HTTP/1.1 200 OK\r\nContent-Length: 100\r\n\r\nhalf of it"


@pytest.mark.parametrize("says", [b"", HALF], ids=["nothing", "half an answer"])
@pytest.mark.parametrize("end", [reset, close])
async def test_a_connection_that_is_cut_may_be_a_question_too_large(end, says):
    async with server(end, says=says) as url, open_http(timeout_s=5) as http:
        with pytest.raises(CutOff):
            await http.request("POST", url, headers={}, body=b"[]")


async def test_a_connection_that_never_stood_says_nothing_of_the_question():
    async with server(close) as url:
        pass
    async with open_http(timeout_s=5) as http:
        with pytest.raises(ChainUnavailable) as refused:
            await http.request("POST", url, headers={}, body=b"[]")
    assert not isinstance(refused.value, CutOff)
