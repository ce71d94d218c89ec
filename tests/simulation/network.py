"""
Sockets and connections without a network: bytes take their time, in order, and break off when an end dies.

Everything above a socket runs as it is: the web server, its limits, the HTTP client, the guard that looks at the
address that is dialled.
"""

from __future__ import annotations

import asyncio
import errno
import itertools
import socket
from collections import deque
from collections.abc import Callable
from contextvars import Context, copy_context
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from tests.simulation.loop import SimLoop, SimProcess

FIRST_PORT = 20_000
USUAL_S = (0.0002, 0.004)  # one way
SLOW = 0.01  # of what is sent takes longer:
SLOW_S = (0.02, 0.3)
GAP_S = 1e-9  # between what arrives one after the other


class VirtualSocket:
    """What `socket.socket` is in a simulation: enough of it for a listener and for a client."""

    def __init__(self, family: int = socket.AF_INET, type: int = socket.SOCK_STREAM, proto: int = 0, **_: Any) -> None:  # noqa: A002
        self.family, self.type, self.proto = family, type, proto
        self.network: Network = asyncio.get_running_loop().network  # type: ignore[attr-defined]
        self.number = next(self.network.numbers)
        self.owner = self.network.owner()
        self.address: tuple[str, int] = ("127.0.0.1", 0)
        self.waiting: deque[VirtualSocket] = deque()  # who connected and was not accepted
        self.end: End | None = None
        self.closed = False

    def fileno(self) -> int:
        return -1 if self.closed else self.number

    def setblocking(self, _: bool) -> None: ...

    def setsockopt(self, *_: Any) -> None: ...

    def bind(self, address: tuple[Any, ...]) -> None:
        self.network.bind(self, address)

    def listen(self, _: int = 0) -> None: ...

    def accept(self) -> tuple[VirtualSocket, tuple[str, int]]:
        if not self.waiting:
            raise BlockingIOError(errno.EAGAIN, "nobody is waiting")
        accepted = self.waiting.popleft()
        accepted.owner = self.network.owner()
        self.network.bare[accepted] = None
        return accepted, ("127.0.0.1", accepted.number)

    def getsockname(self) -> tuple[str, int]:
        return self.address

    def close(self) -> None:
        if not self.closed:
            self.closed = True
            self.network.unbind(self)


class End:
    """One end of a connection."""

    def __init__(self, network: Network) -> None:
        self.network = network
        self.peer: End
        self.transport: VirtualTransport | None = None
        self.early: list[tuple[str, bytes]] = []  # what arrived before anybody listened
        self.arrives = 0.0  # when the last of what was sent to this end does

    def send(self, kind: str, data: bytes = b"") -> None:
        """Let something arrive at the other end."""
        self.peer.arrives = max(self.peer.arrives + GAP_S, self.network.loop.time() + self.network.latency())
        self.network.loop.call_at(self.peer.arrives, self.peer.arrive, kind, data, context=WORLD)

    def arrive(self, kind: str, data: bytes) -> None:
        if self.transport is None:
            self.early.append((kind, data))
        elif self.transport.owner is not None and self.transport.owner.paused:
            again = asyncio.Handle(self.arrive, (kind, data), self.network.loop, WORLD)
            self.transport.owner.held.append(again)
        elif self.transport.owner is None or self.transport.owner.alive:
            self.transport.context.run(self.transport.arrive, kind, data)


class VirtualTransport(asyncio.Transport):
    """What a protocol writes to."""

    def __init__(self, network: Network, protocol: Any, end: End) -> None:
        super().__init__()
        self.owner = network.owner()
        self.context = copy_context()
        self._network = network
        self._protocol = protocol
        self._end = end
        self._closing = False
        self._lost = False
        self._reading = True
        self._held: deque[tuple[str, bytes]] = deque()

    def start(self) -> None:
        self._protocol.connection_made(self)
        for what in self._end.early:
            self._network.loop.call_soon(self.arrive, *what)
        self._end.early = []

    def arrive(self, kind: str, data: bytes) -> None:
        if self._lost or (self._closing and kind != "reset"):
            return
        if not self._reading or self._held:
            self._held.append((kind, data))
            return
        self._take(kind, data)

    def _take(self, kind: str, data: bytes) -> None:
        match kind:
            case "data":
                self._protocol.data_received(data)
            case "eof":
                if not self._protocol.eof_received():
                    self.close()
            case _:
                self._lose(ConnectionResetError(errno.ECONNRESET, "the other end is gone"))

    def _lose(self, exc: Exception | None) -> None:
        if not self._lost:
            self._lost = self._closing = True
            self._network.transports.pop(self, None)
            self._protocol.connection_lost(exc)

    def write(self, data: Any) -> None:
        if not self._closing and data:
            self._end.send("data", bytes(data))

    def writelines(self, parts: Any) -> None:
        self.write(b"".join(parts))

    def can_write_eof(self) -> bool:
        return True

    def write_eof(self) -> None:
        self._end.send("eof")

    def close(self) -> None:
        if not self._closing:
            self._closing = True
            self._end.send("eof")
            self._network.loop.call_soon(self._lose, None)

    def abort(self) -> None:
        if not self._lost:
            self._closing = True
            self._end.send("reset")
            self._network.loop.call_soon(self._lose, None)

    def is_closing(self) -> bool:
        return self._closing

    def is_reading(self) -> bool:
        return self._reading

    def pause_reading(self) -> None:
        self._reading = False

    def resume_reading(self) -> None:
        if not self._reading:
            self._reading = True
            self._network.loop.call_soon(self._drain)

    def _drain(self) -> None:
        while self._held and self._reading and not self._lost:
            self._take(*self._held.popleft())

    def set_write_buffer_limits(self, high: Any = None, low: Any = None) -> None: ...

    def get_write_buffer_size(self) -> int:
        return 0

    def get_protocol(self) -> Any:
        return self._protocol

    def set_protocol(self, protocol: Any) -> None:
        self._protocol = protocol

    def get_extra_info(self, name: str, default: Any = None) -> Any:
        return ("127.0.0.1", 40_000) if name in {"peername", "sockname"} else default

    def cut(self) -> None:
        """Break off because the process is gone: nobody is told here."""
        self._lost = self._closing = True
        self._end.send("reset")


class VirtualServer(asyncio.AbstractServer):
    """What `create_server` returns."""

    def __init__(self, listening: VirtualSocket) -> None:
        self.sockets = [listening]

    def close(self) -> None:
        for listening in self.sockets:
            listening.close()

    async def wait_closed(self) -> None: ...

    def is_serving(self) -> bool:
        return not self.sockets[0].closed


WORLD = Context()


class Network:
    """All sockets of a run."""

    def __init__(self, loop: SimLoop) -> None:
        self.loop = loop
        self.numbers = itertools.count(40_000)
        self.transports: dict[VirtualTransport, None] = {}
        self.bare: dict[VirtualSocket, None] = {}  # accepted, and nothing writes to them yet
        self._ports = itertools.count(FIRST_PORT)
        self._bound: dict[int, VirtualSocket] = {}
        self._readers: dict[VirtualSocket, tuple[Callable[..., Any], tuple[Any, ...], Context]] = {}

    def owner(self) -> SimProcess | None:
        from tests.simulation.loop import PROCESS  # noqa: PLC0415 - the loop has a network

        return PROCESS.get()

    def latency(self) -> float:
        chance = self.loop.rng.random
        shortest, longest = SLOW_S if chance() < SLOW else USUAL_S
        return shortest + (longest - shortest) * chance()

    def addresses(self, host: Any, port: Any, **_: Any) -> list[Any]:
        numeric = host if host and host[0].isdigit() else "127.0.0.1"
        return [(socket.AF_INET, socket.SOCK_STREAM, 6, "", (numeric, int(port or 0)))]

    def bind(self, sock: VirtualSocket, address: tuple[Any, ...]) -> None:
        port = int(address[1]) or next(self._ports)
        if port in self._bound:
            raise OSError(errno.EADDRINUSE, "Address already in use")
        self._bound[port] = sock
        sock.address = (str(address[0]), port)

    def unbind(self, sock: VirtualSocket) -> None:
        if self._bound.get(sock.address[1]) is sock:
            del self._bound[sock.address[1]]
        for waiting in sock.waiting:
            if waiting.end is not None:
                waiting.end.send("reset")
        sock.waiting.clear()
        self._readers.pop(sock, None)
        if sock in self.bare:
            self._cut(sock)

    def watch(self, sock: VirtualSocket, callback: Callable[..., Any], *args: Any) -> None:
        self._readers[sock] = (callback, args, copy_context())
        self._wake(sock)

    def unwatch(self, sock: VirtualSocket) -> bool:
        return self._readers.pop(sock, None) is not None

    def _wake(self, sock: VirtualSocket) -> None:
        if sock.waiting and sock in self._readers:
            callback, args, context = self._readers[sock]
            self.loop.call_soon(self._read, sock, callback, args, context=context)

    def _read(self, sock: VirtualSocket, callback: Callable[..., Any], args: tuple[Any, ...]) -> None:
        if sock.waiting and sock in self._readers:
            callback(*args)
            self._wake(sock)

    async def connect(self, sock: VirtualSocket, address: Any) -> None:
        await asyncio.sleep(self.latency())
        listening = self._bound.get(int(address[1]))
        if listening is None or sock.closed:
            raise ConnectionRefusedError(errno.ECONNREFUSED, f"nobody listens on port {address[1]}")
        mine, theirs = End(self), End(self)
        mine.peer, theirs.peer = theirs, mine
        sock.end = mine
        accepted = VirtualSocket()
        accepted.end = theirs
        accepted.address = listening.address
        listening.waiting.append(accepted)
        self._wake(listening)

    def open(self, factory: Callable[[], Any], sock: VirtualSocket) -> tuple[VirtualTransport, Any]:
        if sock.end is None:
            raise OSError(errno.ENOTCONN, "not connected")
        protocol = factory()
        transport = VirtualTransport(self, protocol, sock.end)
        sock.end.transport = transport
        self.bare.pop(sock, None)
        self.transports[transport] = None
        transport.start()
        return transport, protocol

    def serve(self, factory: Callable[[], Any], host: Any, port: Any) -> VirtualServer:
        listening = VirtualSocket()
        listening.bind((host or "127.0.0.1", port or 0))
        self.watch(listening, lambda: self.open(factory, listening.accept()[0]))
        return VirtualServer(listening)

    def forget(self, process: SimProcess) -> None:
        """Do what the system does when a process is gone: close what it listened on, cut its connections."""
        for sock in [sock for sock in self._bound.values() if sock.owner is process]:
            sock.close()
        for transport in [transport for transport in self.transports if transport.owner is process]:
            del self.transports[transport]
            transport.cut()
        for sock in [sock for sock in self.bare if sock.owner is process]:
            self._cut(sock)

    def _cut(self, sock: VirtualSocket) -> None:
        """Break a connection off that was accepted and never used: else whoever connected waits for ever."""
        del self.bare[sock]
        if sock.end is not None:
            sock.end.send("reset")
