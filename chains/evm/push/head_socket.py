"""One socket for new heads, from its connection to its end: every message is bounded in size, number and time."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import NamedTuple, NoReturn

from chains.errors import ChainProtocolError
from chains.evm.push.messages import CHAIN_ID, SUBSCRIBE, Announced, Answered, parse, question, result_of
from chains.evm.rpc.client import OtherChain
from chains.rpc.http_client import HttpClient, TimedOut
from chains.rpc.quantities import quantity
from chains.rpc.websocket import WebSocket, open_websocket


class SocketLimits(NamedTuple):
    """What one socket may do."""

    silent_s: float = 60.0  # without a new block; then it is opened anew
    messages: int = 1_000  # in a window: a node that catches up tells of many blocks at once
    window_s: float = 10.0


class HeadSocket:
    """Follows one URL once. Only what is said of new heads is used, and of that only the number."""

    def __init__(self, http: HttpClient, url: str, *, chain_id: int, limits: SocketLimits) -> None:
        self._http = http
        self._url = url
        self._chain_id = chain_id
        self._limits = limits
        self._messages = 0
        self._window_ends = 0.0

    async def follow(self, on_head: Callable[[int], None]) -> NoReturn:
        """
        Report the number of every block that is announced, until the socket ends.

        Raises:
            ChainError: why it ended.
        """
        async with open_websocket(self._http, self._url, timeout_s=self._http.timeout_s) as socket:
            try:
                async with asyncio.timeout(self._http.timeout_s):
                    subscription = await self._begin(socket)
            except TimeoutError:
                raise TimedOut("no answer in time") from None
            while True:
                on_head(await self._next(socket, subscription))

    async def _begin(self, socket: WebSocket) -> object:
        """Subscribe, once the socket was seen to serve this chain: a balancer may have mixed networks up."""
        await socket.send(question(CHAIN_ID))
        served = quantity(await self._answer(socket, CHAIN_ID))
        if served != self._chain_id:
            raise OtherChain(f"serves chain {served}, expected chain {self._chain_id}")
        await socket.send(question(SUBSCRIBE))
        subscription = await self._answer(socket, SUBSCRIBE)
        if not isinstance(subscription, str) or not subscription:
            raise ChainProtocolError("did not answer the subscription with its name")
        return subscription

    async def _answer(self, socket: WebSocket, call: int) -> object:
        while True:
            message = await self._message(socket, self._http.timeout_s)
            if isinstance(message, Answered) and message.call == call:
                return result_of(message)

    async def _next(self, socket: WebSocket, subscription: object) -> int:
        loop = asyncio.get_running_loop()
        ends = loop.time() + self._limits.silent_s
        while True:
            # What is no head does not count: a socket that only chats would stay for ever.
            left = ends - loop.time()
            if left <= 0:
                raise TimedOut(f"announced no block for {self._limits.silent_s:.0f} s")
            try:
                message = await self._message(socket, left)
            except TimedOut:
                raise TimedOut(f"announced no block for {self._limits.silent_s:.0f} s") from None
            if isinstance(message, Announced) and message.subscription == subscription:
                return message.number

    async def _message(self, socket: WebSocket, timeout_s: float) -> Announced | Answered:
        message = parse(await socket.receive(timeout_s))
        now = asyncio.get_running_loop().time()
        if now > self._window_ends:
            self._messages, self._window_ends = 0, now + self._limits.window_s
        self._messages += 1
        if self._messages > self._limits.messages:
            # Reading what a socket floods us with would take the time of every chain.
            most, window_s = self._limits.messages, self._limits.window_s
            raise ChainProtocolError(f"sent more than {most} messages in {window_s:.0f} s")
        return message
