"""A WebSocket that announces new heads, by hand or as a node does, and misbehaves on request."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from enum import StrEnum
from typing import Any

import aiohttp
from aiohttp import web

SUBSCRIPTION = "0x5ab"
OTHER_CHAIN = 1_000_007
LAG_S = 3.0
FLOOD = 3_000  # messages


class SocketFault(StrEnum):
    """What is wrong with the socket."""

    SILENT = "silent"  # announces nothing
    LAGS = "lags"  # announces late
    REPEATS = "repeats"  # announces everything several times, and old blocks again
    LIES = "lies"  # announces blocks that nobody made
    FLOODS = "floods"  # sends thousands of messages for one block
    OTHER_CHAIN = "other_chain"  # serves another network
    DIES = "dies"  # breaks the connection at each block
    REFUSES = "refuses"  # takes no connection
    BABBLES = "babbles"  # sends what is no announcement


class HeadServer:
    """Serves any number of subscribers. `made` holds the numbers it was told to announce."""

    def __init__(self, chain_id: int) -> None:
        self.chain_id = chain_id
        self.fault: SocketFault | None = None
        self.url = ""
        self.connections = 0  # so far
        self.subscribed = asyncio.Event()
        self._sockets: set[web.WebSocketResponse] = set()
        self._later: set[asyncio.Task[None]] = set()

    def app(self) -> web.Application:
        app = web.Application()
        app.router.add_get("/", self._serve)
        return app

    async def announce(self, number: int) -> None:
        """Tell every subscriber of a block, as the fault has it."""
        for message in self._messages(number):
            for socket in tuple(self._sockets):
                if self.fault is SocketFault.LAGS:
                    task = asyncio.create_task(_send_later(socket, message))
                    self._later.add(task)
                    task.add_done_callback(self._later.discard)
                else:
                    await _send(socket, message)
        if self.fault is SocketFault.DIES:
            await self.drop()

    async def drop(self) -> None:
        """Break every connection."""
        for socket in tuple(self._sockets):
            await socket.close()

    def _messages(self, number: int) -> list[str]:
        match self.fault:
            case SocketFault.SILENT:
                return []
            case SocketFault.REPEATS:
                return [_head(each) for each in (number, number, max(0, number - 5), number, number)]
            case SocketFault.LIES:
                return [_head(number + 50), _head(number + 51)]
            case SocketFault.FLOODS:
                return [_head(number)] * FLOOD
            case SocketFault.BABBLES:
                return ["[", "{}", json.dumps({"method": "eth_subscription", "params": {"result": {"number": "x"}}})]
            case _:
                return [_head(number)]

    async def _serve(self, request: web.Request) -> web.StreamResponse:
        if self.fault is SocketFault.REFUSES:
            raise web.HTTPServiceUnavailable
        socket = web.WebSocketResponse()
        await socket.prepare(request)
        self.connections += 1
        try:
            async for message in socket:
                call: dict[str, Any] = json.loads(message.data)
                served = OTHER_CHAIN if self.fault is SocketFault.OTHER_CHAIN else self.chain_id
                answer = hex(served) if call["method"] == "eth_chainId" else SUBSCRIPTION
                await _send(socket, json.dumps({"jsonrpc": "2.0", "id": call["id"], "result": answer}))
                if call["method"] == "eth_subscribe":
                    self._sockets.add(socket)
                    self.subscribed.set()
        finally:
            self._sockets.discard(socket)
        return socket


@asynccontextmanager
async def head_server(chain_id: int, *, node: str | None = None) -> AsyncIterator[HeadServer]:
    """Serve until the block ends; with the URL of a node's socket, announce what that one does."""
    server = HeadServer(chain_id)
    runner = web.AppRunner(server.app(), shutdown_timeout=0)
    await runner.setup()
    try:
        site = web.TCPSite(runner, "127.0.0.1", 0)
        await site.start()
        host, port = runner.addresses[0][:2]
        server.url = f"ws://{host}:{port}/"
        if node is None:
            yield server
        else:
            relay = asyncio.create_task(_relay(server, node), name="heads of the node")
            try:
                yield server
            finally:
                relay.cancel()
    finally:
        await server.drop()
        await runner.cleanup()


async def _relay(server: HeadServer, node: str) -> None:
    async with aiohttp.ClientSession() as session, session.ws_connect(node) as heads:
        await heads.send_json({"jsonrpc": "2.0", "id": 1, "method": "eth_subscribe", "params": ["newHeads"]})
        async for message in heads:
            head = json.loads(message.data).get("params")
            if head is not None:
                await server.announce(int(head["result"]["number"], 16))


def _head(number: int) -> str:
    result = {"number": hex(number), "hash": f"0x{number:064x}"}
    params = {"subscription": SUBSCRIPTION, "result": result}
    return json.dumps({"jsonrpc": "2.0", "method": "eth_subscription", "params": params})


async def _send(socket: web.WebSocketResponse, message: str) -> None:
    try:
        await socket.send_str(message)
    except ConnectionError:
        return  # it is gone, and whoever follows comes back


async def _send_later(socket: web.WebSocketResponse, message: str) -> None:
    await asyncio.sleep(LAG_S)
    await _send(socket, message)
