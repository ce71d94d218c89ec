"""
Wakes the poll when a socket announces a block that no poll has read.

Polling stays the truth: a socket is believed nothing but that it is worth to ask now. So one that is silent, lags,
repeats, lies, serves another chain or dies costs speed, and a bounded number of polls.
"""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass
from typing import NamedTuple

from chains.errors import ChainError, ChainProtocolError
from chains.evm.push.head_socket import HeadSocket, SocketLimits
from chains.rpc.endpoint import Endpoint, backoff_s, label_of
from chains.rpc.http_client import HttpClient
from chains.types import SocketEvent, SocketReport, SocketState

log = logging.getLogger(__name__)

Count = Callable[[str, SocketEvent], None]
Wake = Callable[[], Awaitable[bool]]  # says whether a poll follows


class Pace(NamedTuple):
    """How often a poll may be woken."""

    gap_s: float = 0.5  # between two wakes
    longest_gap_s: float = 15.0  # as often as polls are made without any push
    tries: int = 3  # for one announcement: endpoints may have a block a moment later than the socket
    fruitless: int = 10  # tries in a row for which nobody showed a newer block; then the socket is closed
    most_ahead: int = 10_000  # blocks above what was read that can be true
    trusted_after_s: float = 60.0  # a socket that stood so long starts anew with its back-off


@dataclass(slots=True, eq=False)
class _Socket:
    endpoint: Endpoint
    state: SocketState = SocketState.CONNECTING
    head: int | None = None  # the newest block it announced
    awaited: int | None = None  # one that no poll has read
    tries: int = 0  # for that one
    fruitless: int = 0  # in a row
    since: float = 0.0  # monotonic: when it announced its first block
    last_error: str | None = None


class HeadPush:
    """The sockets of one chain. `clock` counts monotonic seconds."""

    def __init__(
        self,
        http: HttpClient,
        urls: Sequence[str],
        *,
        chain_id: int,
        limits: SocketLimits = SocketLimits(),  # noqa: B008 - frozen
        pace: Pace = Pace(),  # noqa: B008 - frozen
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._http = http
        self._chain_id = chain_id
        self._limits = limits
        self._pace = pace
        self._clock = clock
        self._sockets = [_Socket(Endpoint(url, label_of(url, place))) for place, url in enumerate(urls, 1)]
        self._announced = asyncio.Event()
        self._read: int | None = None  # the newest block a poll has read
        self._gap_s = pace.gap_s

    def note_read(self, position: int) -> None:
        """Take note of the head of a poll: announcements up to it are old."""
        self._read = position

    def report(self) -> tuple[SocketReport, ...]:
        """Return what is known of the sockets."""
        return tuple(SocketReport(s.endpoint.label, s.state, s.head, s.last_error) for s in self._sockets)

    async def run(self, wake: Wake, count: Count) -> None:
        """Follow every socket, and wake, for ever; without sockets, return."""
        if not self._sockets:
            return
        async with asyncio.TaskGroup() as group:
            for socket in self._sockets:
                group.create_task(self._follow(socket, count), name=f"socket {socket.endpoint.label}")
            group.create_task(self._wake(wake, count), name=f"push {self._chain_id}")

    async def _follow(self, socket: _Socket, count: Count) -> None:
        def on_head(number: int) -> None:
            count(socket.endpoint.label, SocketEvent.HEAD)
            self._note_announced(socket, number)

        while True:
            following = HeadSocket(self._http, socket.endpoint.url, chain_id=self._chain_id, limits=self._limits)
            try:
                await following.follow(on_head)
            except ChainError as exc:
                count(socket.endpoint.label, SocketEvent.FAILURE)
                await asyncio.sleep(self._failed(socket, exc))
                socket.state = SocketState.CONNECTING

    def _failed(self, socket: _Socket, error: ChainError) -> float:
        """Take note of a socket's end; return how long it is left alone."""
        endpoint, stood = socket.endpoint, socket.state is SocketState.CONNECTED
        if stood and self._clock() - socket.since >= self._pace.trusted_after_s:
            endpoint.failures = 0
        endpoint.failures += 1
        why = endpoint.redact(str(error))
        level = logging.WARNING if socket.last_error is None else logging.DEBUG
        log.log(level, "socket %s: %s; polls go on", endpoint.label, why)
        socket.state, socket.last_error = SocketState.FAILING, why
        socket.fruitless = 0
        return backoff_s(error, endpoint.failures)

    def _note_announced(self, socket: _Socket, number: int) -> None:
        """
        Take note of an announcement.

        Raises:
            ChainProtocolError: it cannot be true, or nothing that this socket announces is.
        """
        read = self._read
        if read is not None and number > read + self._pace.most_ahead:
            raise ChainProtocolError(f"announces block {number}, and the endpoints are at {read}")
        if socket.fruitless >= self._pace.fruitless:
            raise ChainProtocolError("announces blocks that no endpoint shows")
        if socket.state is not SocketState.CONNECTED:
            socket.state, socket.since = SocketState.CONNECTED, self._clock()
        elif self._clock() - socket.since >= self._pace.trusted_after_s and socket.last_error is not None:
            socket.last_error = None
            log.info("socket %s: recovered", socket.endpoint.label)
        socket.head = number
        # Old, repeated and lower numbers are no reason to ask: a reorganisation shows by its next block.
        if (read is None or number > read) and number > (socket.awaited or -1):
            socket.awaited, socket.tries = number, 0
            self._announced.set()

    async def _wake(self, wake: Wake, count: Count) -> None:
        while True:
            await self._announced.wait()
            self._announced.clear()
            socket = self._next_awaited()
            if socket is None:
                self._gap_s = self._pace.gap_s  # a poll has read what was announced
                continue
            before = self._read
            if not await wake():
                # Nobody will ask for it, and that is no fault of a socket.
                for each in self._sockets:
                    each.awaited, each.tries = None, 0
                await asyncio.sleep(self._pace.gap_s)
                continue
            socket.tries += 1
            count(socket.endpoint.label, SocketEvent.WAKE)
            await asyncio.sleep(self._gap_s)
            if self._read != before:
                self._gap_s = self._pace.gap_s
                socket.fruitless = 0
            else:
                self._gap_s = min(self._pace.longest_gap_s, 2 * self._gap_s)
                socket.fruitless += 1
            if self._next_awaited() is not None:
                self._announced.set()

    def _next_awaited(self) -> _Socket | None:
        """Return a socket that announced what no poll has read, the one with the fewest tries first."""
        for socket in self._sockets:
            done = self._read is not None and socket.awaited is not None and socket.awaited <= self._read
            if done or socket.tries >= self._pace.tries or socket.fruitless >= self._pace.fruitless:
                socket.awaited, socket.tries = None, 0
        waiting = [socket for socket in self._sockets if socket.awaited is not None]
        return min(waiting, key=lambda socket: socket.tries, default=None)
