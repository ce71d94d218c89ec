"""A small webhook receiver: keeps what it gets, verifies it, and misbehaves on request."""

from __future__ import annotations

import argparse
import asyncio
import os
import signal
import time
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, BinaryIO

import orjson
from aiohttp import web

from devnet.fault_server import serving
from webhooks.signing import verify_amn, verify_standard


@dataclass(frozen=True, slots=True)
class Delivery:
    """One request as it came in."""

    path: str
    headers: dict[str, str]
    body: bytes
    at: float

    @property
    def event_id(self) -> str:
        return self.headers.get("webhook-id", "")

    @property
    def json(self) -> dict[str, Any]:
        parsed: dict[str, Any] = orjson.loads(self.body)
        return parsed

    def verified(self, secret: str) -> bool:
        """Say whether both signatures are right."""
        amn = verify_amn(self.body, self.headers.get("x-amn-signature", ""), secret)
        return amn and verify_standard(self.headers, self.body, secret, now=int(self.at))


@dataclass(slots=True)
class Behaviour:
    """How one path answers: the statuses in turn (the last one stays), after a pause, with headers."""

    statuses: Sequence[int] = (200,)
    pause_s: float = 0.0
    hold: asyncio.Event | None = None  # nothing is answered before it is set
    hang: bool = False
    headers: dict[str, str] | None = None  # such as Retry-After, or Location for a redirect
    drop: bool = False  # the connection is cut instead of an answer


class Receiver:
    """Open with `receiver`."""

    def __init__(self, base: str) -> None:
        self.base = base
        self.deliveries: list[Delivery] = []
        self.on_delivery: Callable[[Delivery], None] = lambda _: None
        self._default = Behaviour()
        self._behaviours: dict[str, Behaviour] = {}
        self._answered: dict[str, int] = {}
        self._changed = asyncio.Condition()

    def url(self, path: str = "/hook") -> str:
        return self.base + path

    def behave(self, path: str = "/hook", **how: Any) -> None:
        """Change how a path answers from now on."""
        self._behaviours[path] = Behaviour(**how)
        self._answered[path] = 0

    def behave_everywhere(self, **how: Any) -> None:
        """Change how all paths answer that were not told otherwise."""
        self._default = Behaviour(**how)

    def of(self, path: str) -> list[Delivery]:
        return [delivery for delivery in self.deliveries if delivery.path == path]

    @property
    def distinct(self) -> dict[str, Delivery]:
        """What a receiver that dedupes by event id would see."""
        return {delivery.event_id: delivery for delivery in self.deliveries}

    async def wait_until(self, condition: Callable[[], bool], timeout_s: float = 20) -> None:
        """Wait until a condition over what came in holds."""
        async with asyncio.timeout(timeout_s), self._changed:
            await self._changed.wait_for(condition)

    async def wait_for(self, count: int, timeout_s: float = 20) -> list[Delivery]:
        """Wait until so many requests came in."""
        await self.wait_until(lambda: len(self.deliveries) >= count, timeout_s)
        return list(self.deliveries)

    async def handle(self, request: web.Request) -> web.StreamResponse:
        """Take one request."""
        headers = {name.lower(): value for name, value in request.headers.items()}
        delivery = Delivery(request.path, headers, await request.read(), time.time())
        self.on_delivery(delivery)
        async with self._changed:
            self.deliveries.append(delivery)
            self._changed.notify_all()
        how = self._behaviours.get(request.path, self._default)
        turn = self._answered.get(request.path, 0)
        self._answered[request.path] = turn + 1
        if how.hang:
            await asyncio.Event().wait()
        if how.hold is not None:
            await how.hold.wait()
        if how.pause_s:
            await asyncio.sleep(how.pause_s)
        if how.drop and request.transport is not None:
            request.transport.abort()
        status = how.statuses[min(turn, len(how.statuses) - 1)]
        return web.Response(status=status, headers=how.headers, text="" if status < 300 else f"status {status}")


@asynccontextmanager
async def receiver(port: int = 0) -> AsyncIterator[Receiver]:
    """Listen on loopback."""
    app = web.Application()
    taken = Receiver("")
    app.router.add_route("*", "/{path:.*}", taken.handle)
    async with serving(app, port) as taken.base:
        yield taken


def _recorder(file: BinaryIO) -> Callable[[Delivery], None]:
    """Write one JSON object a delivery, before it is answered: whoever counts them must not miss one."""

    def write(delivery: Delivery) -> None:
        row = {
            "id": delivery.event_id,
            "path": delivery.path,
            "at": delivery.at,
            "headers": delivery.headers,
            "body": delivery.body.decode(errors="replace"),
        }
        file.write(orjson.dumps(row) + b"\n")

    return write


async def _main(port: int, record: Path | None) -> None:
    stop = asyncio.Event()
    for number in (signal.SIGINT, signal.SIGTERM):
        asyncio.get_running_loop().add_signal_handler(number, stop.set)
    async with receiver(port) as taken:
        with (record or Path(os.devnull)).open("ab", buffering=0) as file:
            taken.on_delivery = _recorder(file)
            print(taken.base, flush=True)  # noqa: T201 - whoever started us reads it
            await stop.wait()


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--port", type=int, default=0)
    parser.add_argument("--record", type=Path, help="a file to append what comes in to, one JSON object a line")
    arguments = parser.parse_args()
    asyncio.run(_main(arguments.port, arguments.record))
