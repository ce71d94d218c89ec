"""The way to a database: its connections are cut, lose the answers, or hold everything back, as a dead network does."""

from __future__ import annotations

import asyncio
import socket
import struct
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager, suppress
from pathlib import Path
from typing import Self

PIECE = 65536


class TcpProxy:
    """
    Forwards each connection to the socket, or the port, that is `target` when it is opened. Open with `async with`.

    What is held back is delivered when the hole ends, also what was said by somebody who has hung up meanwhile.
    """

    def __init__(self, target: Callable[[], Path | int]) -> None:
        self.port = 0
        self.count = 0  # connections so far
        self._target = target
        self._passable = asyncio.Event()
        self._passable.set()
        self._holes = 0
        self._deaf = 0
        self._connections: set[asyncio.Task[None]] = set()
        self._open: set[_Connection] = set()
        self._server: asyncio.Server

    async def __aenter__(self) -> Self:
        self._server = await asyncio.start_server(self._accept, "127.0.0.1", 0)
        self.port = self._server.sockets[0].getsockname()[1]
        return self

    async def __aexit__(self, *_: object) -> None:
        self._server.close()
        self._passable.set()
        self.cut()
        while self._connections:
            await asyncio.wait(self._connections)

    def cut(self) -> None:
        """End every connection at once."""
        for connection in self._open:
            connection.cut()

    @asynccontextmanager
    async def hole(self) -> AsyncIterator[None]:
        """Let nothing through, in either direction and without a word, until the block ends."""
        self._holes += 1
        self._passable.clear()
        try:
            yield
        finally:
            self._holes -= 1
            if not self._holes:
                self._passable.set()

    @asynccontextmanager
    async def deaf(self) -> AsyncIterator[None]:
        """Lose every answer until the block ends; then the connections that lost one are cut."""
        self._deaf += 1
        try:
            yield
        finally:
            self._deaf -= 1
            for connection in self._open:
                if connection.spoilt:
                    connection.cut()

    async def _accept(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.current_task()
        assert task is not None
        self._connections.add(task)
        self.count += 1
        try:
            await self._passable.wait()
            answers, server = await _opened(self._target())
        except OSError:  # there is no server just now
            _reset(writer)
        else:
            await self._forward(_Connection(reader, writer, answers, server))
        finally:
            self._connections.discard(task)

    async def _forward(self, connection: _Connection) -> None:
        self._open.add(connection)
        try:
            await asyncio.gather(
                self._pump(connection.reader, connection.server), self._answer(connection), return_exceptions=True
            )
        finally:
            self._open.discard(connection)
            connection.client.transport.abort()
            connection.server.transport.abort()

    async def _pump(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        with suppress(OSError):
            while data := await reader.read(PIECE):
                await self._passable.wait()
                writer.write(data)
                await writer.drain()
        await self._passable.wait()
        writer.close()

    async def _answer(self, connection: _Connection) -> None:
        with suppress(OSError):
            while data := await connection.answers.read(PIECE):
                await self._passable.wait()
                if self._deaf or connection.spoilt:
                    connection.spoilt = True  # an answer that is missing in the middle would be no protocol any more
                    continue
                connection.client.write(data)
                await connection.client.drain()
        await self._passable.wait()
        connection.client.close()


async def _opened(target: Path | int) -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
    if isinstance(target, int):
        return await asyncio.open_connection("127.0.0.1", target)
    return await asyncio.open_unix_connection(target)


class _Connection:
    """Both ends of one connection."""

    def __init__(
        self,
        reader: asyncio.StreamReader,
        client: asyncio.StreamWriter,
        answers: asyncio.StreamReader,
        server: asyncio.StreamWriter,
    ) -> None:
        self.reader = reader
        self.client = client
        self.answers = answers
        self.server = server
        self.spoilt = False

    def cut(self) -> None:
        _reset(self.client)
        self.server.transport.abort()


def _reset(client: asyncio.StreamWriter) -> None:
    """End a connection as a network does, and not as somebody who has said all."""
    if not client.transport.is_closing():
        client.get_extra_info("socket").setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        client.transport.abort()
