"""The customer's backend: notes every webhook and how it answered, and can be down, slow or a liar."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Sequence
from typing import Any, Self

import orjson
from aiohttp import web

from tests.chaos.facts import ReceivedWebhook
from tests.harness import SECRET
from webhooks.signing import verify_amn, verify_standard

PATH, TRAP = "/hook", "/trap"
STATUS = {"500": 500, "429": 429, "redirect": 302}
SLOW_S = 0.7
UNDER_WAY_S = 5.0  # a webhook, at most, until it is here


class WebhookReceiver:
    """Open with `async with`; faults are put into `active_faults`, the newest one counts."""

    def __init__(self) -> None:
        self.skew_s = 0  # of the sender's clock, which signs the time
        # And until when: what was signed before a clock jumped may arrive after it.
        self._former_skews_s: list[tuple[float, int]] = []
        self.other_skews_s: tuple[int, ...] = ()  # of the clocks of other hosts that send as well
        self.webhooks: list[ReceivedWebhook] = []
        self.trapped = 0  # requests that followed a redirect
        self.active_faults: list[str] = []
        self.port = 0
        self._site: web.TCPSite | None = None
        app = web.Application()
        app.router.add_post(PATH, self._take)
        app.router.add_route("*", TRAP, self._trap)
        self._runner = web.AppRunner(app, access_log=None, shutdown_timeout=0.1)

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}{PATH}"

    async def __aenter__(self) -> Self:
        await self._runner.setup()
        await self.open()
        return self

    async def __aexit__(self, *_: object) -> None:
        await self._runner.cleanup()

    async def open(self) -> None:
        """Listen; always on the port of the first time."""
        self._site = web.TCPSite(self._runner, "127.0.0.1", self.port, reuse_address=True)
        await self._site.start()
        self.port = self._runner.addresses[-1][1]

    async def close(self) -> None:
        """Refuse connections from now on."""
        if self._site is not None:
            await self._site.stop()
            self._site = None

    def skewed(self, seconds: int) -> None:
        """Expect signatures of a clock that is off by so much from now on."""
        self._former_skews_s.append((asyncio.get_running_loop().time(), self.skew_s))
        self.skew_s = seconds

    def _skews(self) -> tuple[int, ...]:
        """Return what any clock may have been off by when it signed what is here now."""
        began = asyncio.get_running_loop().time() - UNDER_WAY_S
        former = [skew for until, skew in self._former_skews_s if until >= began]
        former += [skew for _, skew in self._former_skews_s[-1:]]  # of several hosts, some may have that clock still
        return (self.skew_s, *former, *self.other_skews_s)

    async def begin(self, kind: str) -> None:
        self.active_faults.append(kind)
        if self.active_faults.count("down") == 1 and kind == "down":
            await self.close()

    async def end(self, kind: str) -> None:
        self.active_faults.remove(kind)
        if kind == "down" and "down" not in self.active_faults:
            await self.open()

    async def _trap(self, _: web.Request) -> web.Response:
        self.trapped += 1
        return web.Response()

    async def _take(self, request: web.Request) -> web.StreamResponse:
        body = await request.read()
        skews = self._skews()  # a clock may be set while we take our time
        kind = self.active_faults[-1] if self.active_faults else "none"
        if kind in {"slow", "silent"}:
            await asyncio.sleep(SLOW_S if kind == "slow" else 3.0)
        status = STATUS.get(kind, 200)
        lost = kind in {"lying", "silent", "down"}  # taken and noted, and the answer never comes
        self.webhooks.append(self._noted(request, body, acknowledged=status == 200 and not lost, skews=skews))
        if lost and request.transport is not None:
            request.transport.abort()
        headers = {"Location": f"http://127.0.0.1:{self.port}{TRAP}", "Retry-After": "1"} if status != 200 else {}
        return web.Response(status=status, headers=headers)

    def _noted(self, request: web.Request, body: bytes, *, acknowledged: bool, skews: Sequence[int]) -> ReceivedWebhook:
        headers = {name.lower(): value for name, value in request.headers.items()}
        message: dict[str, Any] = orjson.loads(body)
        genuine = verify_amn(body, headers.get("x-amn-signature", ""), SECRET) and any(
            verify_standard(headers, body, SECRET, now=int(time.time()) + skew) for skew in skews
        )
        return ReceivedWebhook(
            event_id=headers.get("webhook-id", ""),
            intent_id=message["intentId"],
            event_type=message["eventType"],
            tx=message.get("txHash") or "",
            received=int(message.get("amountReceived") or 0),
            acknowledged=acknowledged,
            genuine=genuine,
        )
