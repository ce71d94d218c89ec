"""A TonCenter v3 in this process: the real routes, limits and row shapes, and every fault the real one has."""

from __future__ import annotations

from collections.abc import Callable

import orjson
from aiohttp import web
from multidict import MultiDict

from devnet.fault_server import Fault, json_response
from devnet.ton.defects import TonDefects
from devnet.ton.index import Query, QueryRefused, TonIndex
from devnet.ton.ledger import Json, TonLedger

RATE_BODY: Json = {"ok": False, "result": "Ratelimit exceed", "code": 429}
PREFIX = "/api/v3/"


class TonCenter(TonDefects):
    """
    One endpoint over a ledger. Attributes are lasting defects, `fail` adds passing ones, `heal` ends all.

    Several endpoints may share a ledger. Open as a context manager.
    """

    max_line = 1 << 20

    def __init__(self, ledger: TonLedger | None = None) -> None:
        super().__init__(ledger or TonLedger())
        self.asked: list[tuple[str, list[tuple[str, str]]]] = []  # route and parameters, in order
        self.keys: list[str | None] = []  # what came in X-API-Key
        self.longest_url = 0
        self.before: Callable[[str], None] | None = None  # called with the route before it is answered
        self._index = TonIndex(self)

    def limit_rate(self, times: int | None = None, headers: dict[str, str] | None = None) -> Fault:
        """Answer 429 as the real service does: without saying for how long."""
        return self.fail(times=times, status=429, body=RATE_BODY, headers=headers or {})

    def questions(self, route: str) -> list[dict[str, list[str]]]:
        """Return the parameters of every question to a route, in order."""
        found = []
        for asked, params in self.asked:
            if asked == route:
                grouped: dict[str, list[str]] = {}
                for name, value in params:
                    grouped.setdefault(name, []).append(value)
                found.append(grouped)
        return found

    # --- one request -----------------------------------------------------------------------------

    async def _serve(self, request: web.Request) -> web.StreamResponse:
        route = request.path.removeprefix(PREFIX)
        if route == request.path:
            return json_response({"error": "Cannot find the route"}, 404)
        await self._count(request, route)
        fault = self._fitting([route])
        if fault is not None:
            fault.use()
            if (disturbed := await self._disturb(fault, request)) is not None:
                return disturbed
        if self._too_much(request):
            return self._refused(request)
        if self.max_url is not None and len(request.raw_path) > self.max_url:
            return json_response({"error": "Request-URI Too Large"}, status=self.too_long_status)
        try:
            answer = json_response(await self._answer(request, route) | self.unknown)
            answer.headers.update(self.headers)
            return answer
        except QueryRefused as exc:
            return json_response({"code": exc.status, "error": str(exc)}, status=exc.status)

    def _too_much(self, request: web.Request) -> bool:
        asked = [raw for name in ("owner_address", "account", "address") for raw in request.query.getall(name, [])]
        many = self.most_owners is not None and len(asked) > self.most_owners
        rows = self.most_rows is not None and int(request.query.get("limit", "1")) > self.most_rows
        return many or rows or bool(self.unreadable_owners & set(asked))

    def _refused(self, request: web.Request) -> web.Response:
        if self.cuts_long and request.transport is not None:
            request.transport.abort()
        status, body = self.refusal
        raw = body if isinstance(body, bytes) else orjson.dumps(body)
        return web.Response(status=status, body=raw, content_type="application/json")

    async def _count(self, request: web.Request, route: str) -> None:
        async with self._changed:
            self.calls[route] += 1
            self.asked.append((route, list(request.query.items())))
            self.keys.append(request.headers.get("X-API-Key"))
            self.longest_url = max(self.longest_url, len(request.raw_path))
            self._changed.notify_all()
        if self.before is not None:
            self.before(route)

    async def _answer(self, request: web.Request, route: str) -> Json:
        if route == "runGetMethod":
            return self._index.run(orjson.loads(await request.read()))
        answers: dict[str, Callable[[Query], Json]] = {
            "masterchainInfo": self._index.info,
            "blocks": lambda query: {"blocks": self._index.blocks(query)},
            "jetton/transfers": lambda query: _framed("jetton_transfers", self._index.transfers(query)),
            "jetton/wallets": lambda query: _framed("jetton_wallets", self._index.wallets(query)),
            "jetton/masters": self._index.masters,
            "accountStates": lambda query: _framed("accounts", self._index.accounts(query)),
            "transactions": lambda query: _framed("transactions", self._index.transactions(query)),
            "adjacentTransactions": lambda query: _framed("transactions", self._index.adjacent(query)),
            "traces": lambda query: _framed("traces", self._index.traces(query)),
            "actions": lambda query: _framed("actions", self._index.actions(query)),
        }
        if route not in answers:
            raise QueryRefused(404, "Cannot find the route")
        return answers[route](_without(request.query, self.ignored))


def _without(query: Query, ignored: set[str]) -> Query:
    return MultiDict((name, value) for name, value in query.items() if name not in ignored)


def _framed(key: str, rows: list[Json]) -> Json:
    return {key: rows, "address_book": {}, "metadata": {}}
