"""An HTTP service on loopback that misbehaves on request: what the stand-ins of all three families have in common."""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import AsyncIterator, Iterable, Mapping
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass, field
from types import TracebackType
from typing import Any, ClassVar, Self

import orjson
from aiohttp import web

EVERY = "*"  # as a method or route: whatever is asked
MAX_BODY = 64 * 1024 * 1024
_UNSET: Any = object()


@dataclass(slots=True, eq=False)
class Fault:
    """
    What goes wrong with a JSON-RPC method, or with a route of an HTTP API.

    `error` and `result` concern one call of a JSON-RPC batch, everything else the whole HTTP request.
    """

    method: str = EVERY
    times: int | None = None  # None: until healed
    skip: int = 0  # how many calls pass first
    delay_s: float = 0.0
    hang: bool = False  # no answer before `release`; then the right one
    close: bool = False  # the connection is cut instead of an answer
    truncate: bool = False  # half of the right answer, then the connection is cut
    status: int | None = None
    body: Any = None  # sent with status 200 unless one is given: bytes as they are, everything else as JSON
    headers: Mapping[str, str] = field(default_factory=dict)
    error: tuple[int, str] | None = None  # JSON-RPC code and message
    result: Any = _UNSET  # sent as the result of the call; a callable is given its parameters

    def fits(self, method: str) -> bool:
        return self.method in {EVERY, method} and (self.times is None or self.times > 0)

    @property
    def of_one_call(self) -> bool:
        return self.error is not None or self.has_result

    @property
    def has_result(self) -> bool:
        return self.result is not _UNSET

    def use(self) -> None:
        """Count one use; a fault that is used up fits nothing any more."""
        if self.times is not None:
            self.times -= 1


class FaultServer:
    """
    One endpoint. `fail` adds a passing fault, `release` lets go of what hangs.

    A stand-in adds its lasting defects as attributes, and ends them in its `heal`. Open as a context manager;
    faults may be changed at any time.
    """

    max_line: ClassVar[int] = 8190  # bytes of a request line; aiohttp's own limit

    def __init__(self) -> None:
        self.url = ""
        self.calls: Counter[str] = Counter()  # by method or route
        self._changed = asyncio.Condition()
        self._released = asyncio.Event()
        self._open = AsyncExitStack()
        self._faults: list[Fault] = []

    def clear_faults(self) -> None:
        """End every passing fault; what hangs is let go."""
        self._faults = []
        self.release()

    def fail(self, method: str = EVERY, **how: Any) -> Fault:
        """Add a fault, see `Fault`; the oldest one that fits a call is used first."""
        fault = Fault(method, **how)
        self._faults.append(fault)
        return fault

    def release(self) -> None:
        """Let go of what hangs now; what is asked later may hang again."""
        self._released.set()
        self._released = asyncio.Event()

    async def called(self, method: str, times: int = 1, timeout_s: float = 20) -> None:
        """Wait until a method or route was asked so often, counted from the start."""
        async with asyncio.timeout(timeout_s), self._changed:
            await self._changed.wait_for(lambda: self.calls[method] >= times)

    async def __aenter__(self) -> Self:
        app = web.Application(client_max_size=MAX_BODY)
        app.router.add_route("*", "/{path:.*}", self._serve)
        async with AsyncExitStack() as stack:
            await self._opened(stack)
            self.url = await stack.enter_async_context(serving(app, max_line_size=self.max_line))
            self._open = stack.pop_all()
        return self

    async def _opened(self, stack: AsyncExitStack) -> None:
        """Open what a stand-in needs besides; it is closed after the server."""

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.release()
        await self._open.aclose()

    async def _serve(self, request: web.Request) -> web.StreamResponse:
        raise NotImplementedError

    def _fitting(self, names: Iterable[str]) -> Fault | None:
        """Return the oldest fault that fits one of these names, unless it lets this call pass."""
        asked = list(names)
        fault = next((fault for fault in self._faults if any(map(fault.fits, asked))), None)
        if fault is not None and fault.skip > 0:
            fault.skip -= 1
            return None
        return fault

    async def _disturb(self, fault: Fault, request: web.Request) -> web.StreamResponse | None:
        """Do what a fault does to a whole request; None when the request goes on."""
        if fault.delay_s:
            await asyncio.sleep(fault.delay_s)
        if fault.hang:
            await self._released.wait()
        if fault.close:
            return cut(request)
        if fault.status is None and fault.body is None:
            return None
        body = f"status {fault.status}".encode() if fault.body is None else fault.body
        raw = body if isinstance(body, bytes) else orjson.dumps(body)
        return web.Response(
            status=fault.status or 200, body=raw, content_type="application/json", headers=fault.headers
        )


@asynccontextmanager
async def serving(app: web.Application, port: int = 0, **how: Any) -> AsyncIterator[str]:
    """Serve an application on loopback until the block ends; give its URL."""
    runner = web.AppRunner(app, access_log=None, shutdown_timeout=0.1, **how)
    await runner.setup()
    try:
        await web.TCPSite(runner, "127.0.0.1", port).start()
        yield f"http://127.0.0.1:{runner.addresses[0][1]}"
    finally:
        await runner.cleanup()


def json_response(body: Any, status: int = 200) -> web.Response:
    return web.Response(body=orjson.dumps(body), status=status, content_type="application/json")


def cut(request: web.Request) -> web.Response:
    """Cut the connection; nothing of the answer is sent."""
    if request.transport is not None:
        request.transport.abort()
    return web.Response()
