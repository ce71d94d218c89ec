"""Connections without a network: in order, refused where nobody listens, broken off when a process dies."""

from __future__ import annotations

import asyncio
import socket
from collections.abc import Coroutine
from contextvars import copy_context
from typing import Any

import pytest

from tests.simulation.loop import PROCESS, SimLoop, SimProcess
from tests.simulation.network import VirtualSocket


def play(coroutine: Coroutine[Any, Any, Any], seed: int = 1) -> Any:
    loop = SimLoop(seed)
    try:
        return loop.run_until_complete(coroutine)
    finally:
        for task in loop._dead:
            if isinstance(task, asyncio.Task):
                task._log_destroy_pending = False
                task.get_coro().close()
        loop.close()


class Kept(asyncio.Protocol):
    """Keeps what comes in, and how it ends."""

    def __init__(self, *, echo: bool = False) -> None:
        self.received = b""
        self.ended = asyncio.get_running_loop().create_future()
        self.transport: Any = None
        self._echo = echo

    def connection_made(self, transport: Any) -> None:
        self.transport = transport

    def data_received(self, data: bytes) -> None:
        self.received += data
        if self._echo:
            self.transport.write(data)

    def connection_lost(self, exc: Exception | None) -> None:
        self.ended.set_result(exc)


async def connected(port: int) -> Kept:
    sock = VirtualSocket()
    loop = asyncio.get_running_loop()
    await loop.sock_connect(sock, ("127.0.0.1", port))  # type: ignore[arg-type]
    _, protocol = await loop.create_connection(Kept, sock=sock)  # type: ignore[call-overload]
    return protocol  # type: ignore[no-any-return]


async def listening(factory: Any) -> Any:
    return await asyncio.get_running_loop().create_server(factory, "127.0.0.1", 0)


@pytest.mark.parametrize("seed", range(5))
def test_bytes_arrive_in_the_order_they_were_sent(seed: int) -> None:
    async def talk() -> bytes:
        server = await listening(lambda: Kept(echo=True))
        mine = await connected(server.sockets[0].getsockname()[1])
        for number in range(100):
            mine.transport.write(b"%d " % number)
            await asyncio.sleep(0)
        await asyncio.sleep(5)
        return mine.received

    assert play(talk(), seed).split() == [b"%d" % number for number in range(100)]


def test_what_was_sent_before_the_end_arrives_before_it() -> None:
    async def talk() -> tuple[bytes, Any]:
        made: list[Kept] = []
        server = await listening(lambda: made.append(Kept()) or made[-1])  # type: ignore[func-returns-value]
        mine = await connected(server.sockets[0].getsockname()[1])
        mine.transport.write(b"last words")
        mine.transport.close()
        await asyncio.sleep(5)
        return made[0].received, made[0].ended.result()

    assert play(talk()) == (b"last words", None)


def test_a_connection_is_refused_where_nobody_listens() -> None:
    async def knock() -> None:
        server = await listening(Kept)
        port = server.sockets[0].getsockname()[1]
        server.close()
        with pytest.raises(ConnectionRefusedError):
            await connected(port)

    play(knock())


def test_a_port_is_taken_once() -> None:
    async def bind() -> None:
        server = await listening(Kept)
        with pytest.raises(OSError, match="in use"):
            VirtualSocket(socket.AF_INET).bind(("127.0.0.1", server.sockets[0].getsockname()[1]))

    play(bind())


def test_a_process_that_dies_breaks_its_connections_off_and_frees_its_port() -> None:
    async def die() -> Any:
        process = SimProcess("daemon")
        context = copy_context()
        context.run(PROCESS.set, process)
        loop: Any = asyncio.get_running_loop()
        server = await loop.create_task(listening(Kept), context=context)
        port = server.sockets[0].getsockname()[1]
        mine = await connected(port)
        loop.kill(process)
        with pytest.raises(ConnectionRefusedError):
            await connected(port)
        return await mine.ended

    assert isinstance(play(die()), ConnectionResetError)


@pytest.mark.parametrize("how", ["dies", "closes"])
def test_a_connection_that_was_accepted_and_never_used_breaks_off(how: str) -> None:
    """A process that died in between left whoever had connected waiting until its own patience ended."""

    async def accept() -> Any:
        process = SimProcess("daemon")
        context = copy_context()
        context.run(PROCESS.set, process)
        loop: Any = asyncio.get_running_loop()
        listening = context.run(VirtualSocket)
        context.run(listening.bind, ("127.0.0.1", 0))
        mine = await connected(listening.getsockname()[1])
        accepted, _ = context.run(listening.accept)
        if how == "dies":
            loop.kill(process)
        else:
            accepted.close()
        return await mine.ended

    assert isinstance(play(accept()), ConnectionResetError)
