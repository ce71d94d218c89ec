"""A TronGrid in this process: the real routes, limits, paging and row shapes, and its known faults on request."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Any

import orjson
from aiohttp import web

from devnet.fault_server import EVERY, Fault, json_response
from devnet.tron.defects import TronDefects
from devnet.tron.index import Index
from devnet.tron.jsonrpc import JsonRpc
from devnet.tron.ledger import TronLedger
from devnet.tron.node import TronNode

Json = dict[str, Any]
SUSPENDED = "The key exceeds the frequency limit(15), and the query server is suspended for {}s"
OVERLOADED = "this node has a lack of computing resources, please try again later"
MOST_ROWS = 200


class TronGrid(TronDefects):
    """
    One endpoint over one ledger. Its attributes are its lasting defects, `fail` adds passing ones, `heal` ends all.

    Open as a context manager; faults may be changed at any time.
    """

    def __init__(self, ledger: TronLedger | None = None) -> None:
        super().__init__(ledger or TronLedger())  # `calls`: by route, without address or id; and by JSON-RPC method
        self.requests = 0
        self.keys: list[str | None] = []  # what arrived as TRON-PRO-API-KEY, in order
        self.asked: list[tuple[str, Json]] = []  # route and parameters, in order
        self.before: Callable[[str], object] | None = None  # called with the route before it is answered
        self.moments: list[float] = []  # when each request came in, in monotonic seconds
        self.node = TronNode(self)
        self._rpc = JsonRpc(self, self.node)
        self._index = Index(self)

    def suspend(self, seconds: int = 30, *, route: str = EVERY, times: int | None = 1, status: int = 429) -> Fault:
        """Refuse as the front does when a key asks too often: without Retry-After."""
        body = orjson.dumps({"Success": False, "Error": SUSPENDED.format(seconds), "StatusCode": status})
        return self.fail(route, times=times, status=status, body=body)

    def overload(self, *, route: str = EVERY, times: int | None = 1) -> Fault:
        """Refuse as a node does that has too much to do: with status 200."""
        return self.fail(route, times=times, body=orjson.dumps({"Error": OVERLOADED}))

    # --- HTTP ------------------------------------------------------------------------------------

    async def _serve(self, request: web.Request) -> web.StreamResponse:
        route, name = _route(request.path)
        body = await request.read()
        asked: Any = orjson.loads(body) if body else dict(request.query)
        self.requests += 1
        self.moments.append(time.monotonic())
        self.keys.append(request.headers.get("TRON-PRO-API-KEY"))
        methods = self._counted(route, asked)
        async with self._changed:
            self._changed.notify_all()
        if self.before is not None:
            self.before(route)
        fault = self._fitting([route, *methods])
        if fault is not None:
            fault.use()
            if (disturbed := await self._disturb(fault, request)) is not None:
                return disturbed
        return self._decorated(self._answer(route, name, asked, request))

    def _answer(self, route: str, name: str, asked: Any, request: web.Request) -> web.Response:
        if route == "/jsonrpc":
            return self._rpc.answer(asked) if self.jsonrpc else json_response({"error": "not found"}, 404)
        serve = self._routes().get(route)
        if serve is None:
            return json_response({"Error": "no such route"}, 404)
        return serve(name, asked | dict(request.query))

    def _decorated(self, answer: web.Response) -> web.Response:
        """Add what nobody asked for."""
        answer.headers.update(self.headers)
        if self.unknown and isinstance(answer.body, bytes):
            reported = orjson.loads(answer.body)
            answer.body = (
                orjson.dumps(reported | self.unknown) if isinstance(reported, dict) and reported else answer.body
            )
        return answer

    def _counted(self, route: str, asked: Any) -> list[str]:
        self.calls[route] += 1
        methods = []
        if route == "/jsonrpc":
            methods = [call["method"] for call in (asked if isinstance(asked, list) else [asked])]
            self.calls.update(methods)
        self.asked.append((route, asked))
        return methods

    def _routes(self) -> dict[str, Callable[[str, Json], web.Response]]:
        served: dict[str, Callable[[str, Json], web.Response]] = {
            "/v1/accounts/transactions/trc20": self._index.account_rows,
            "/v1/contracts/events": self._index.contract_events,
            "/v1/transactions/events": self._index.transaction_events,
        }
        for layer, solid in (("/walletsolidity", True), ("/wallet", False)):
            for name, answer in (
                ("getnowblock", self.node.now),
                ("getblock", self.node.block_or_header),
                ("getblockbynum", self.node.block_by_number),
                ("gettransactioninfobyid", self.node.receipt),
                ("gettransactioninfobyblocknum", self.node.receipts),
                ("triggerconstantcontract", self.node.constant),
                ("getaccount", self.node.account),
            ):
                served[f"{layer}/{name}"] = _bound(answer, solid=solid)
        return served


def _bound(answer: Callable[..., web.Response], *, solid: bool) -> Callable[[str, Json], web.Response]:
    return lambda name, asked: answer(name, asked, solid=solid)


def _route(path: str) -> tuple[str, str]:
    """Return a path without the address or id within, and that."""
    parts = path.strip("/").split("/")
    if parts[0] == "v1" and len(parts) > 2:
        return "/" + "/".join(parts[:2] + parts[3:]), parts[2]
    return "/" + "/".join(parts), ""
