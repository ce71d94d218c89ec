"""A TonCenter v3 in this process: the real routes, limits and row shapes, and every fault the real one has."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import orjson
from aiohttp import web
from multidict import MultiDict

from devnet.fault_server import Fault, FaultServer, json_response
from devnet.ton.index import Query, Refused, TonIndex
from devnet.ton.ledger import Json, TonLedger

MAINNET = -239
RATE_BODY: Json = {"ok": False, "result": "Ratelimit exceed", "code": 429}
PREFIX = "/api/v3/"


class TonCenter(FaultServer):
    """
    One endpoint over a ledger. Attributes are lasting defects, `fail` adds passing ones, `heal` ends all.

    Several endpoints may share a ledger. Open as a context manager.
    """

    max_line = 1 << 20

    def __init__(self, ledger: TonLedger | None = None) -> None:
        super().__init__()
        self.ledger = ledger or TonLedger()
        self.asked: list[tuple[str, list[tuple[str, str]]]] = []  # route and parameters, in order
        self.keys: list[str | None] = []  # what came in X-API-Key
        self.longest_url = 0
        self.before: Callable[[str], None] | None = None  # called with the route before it is answered
        self._index = TonIndex(self)
        self.heal()

    def heal(self) -> None:
        """Behave from now on; what hangs is let go."""
        self.network = MAINNET
        self.behind_s = 0  # the whole index stands this far below the chain, and says so
        self.frozen_at: int | None = None  # unix seconds of the newest block this index will ever hold
        self.begins_at = 0  # unix seconds of the oldest block this index has, and of the oldest transfer
        self.lt_ahead = 0  # added to the logical time of the newest block it claims
        self.headers: dict[str, str] = {}  # of every answer
        self.unknown: Json = {}  # put into every answer
        self.stale_s = 0  # transfers and transactions of the last seconds are missing though the blocks are there
        self.unlisted: set[str] = set()  # payments by `tx_hash` that are not in the index yet though later ones are
        self.late_rows: set[str] = set()  # payments by `tx_hash` without a row, whose transactions are there
        self.wrong_order = False  # `sort` is ignored: newest first
        self.repeats = False  # every row is answered twice
        self.spoilt: Json = {}  # put into every transfer row
        self.spoilt_rows: dict[str, Json] = {}  # put into the rows of payments by `tx_hash`
        self.strange_masters: dict[str, Json] = {}  # masters that answer get_wallet_address with this
        self.most_owners: int | None = None  # addresses of one question; more are refused with `refusal`
        self.refusal: tuple[int, Any] = (500, {"code": 500, "error": "context deadline exceeded"})
        self.cuts_long = False  # more are answered by cutting the connection instead
        self.unreadable_owners: set[str] = set()  # questions that name one of these are refused as well
        self.most_rows: int | None = None  # rows of one answer; more are refused
        self.hides_aborted = False  # as the newest indexer does
        self.max_url: int | None = None  # bytes; longer questions are refused
        self.too_long_status = 414
        self.ignored: set[str] = set()  # parameters this endpoint does not know
        self.wrong_wallets: dict[str, str] = {}  # owner: wallet a dishonest index claims the credit went to
        self.strangers: list[Json] = []  # rows of /jetton/wallets that contracts of strangers put there
        self.non_final = False  # transactions are shown before they are final
        self.clear_faults()

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
        except Refused as exc:
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
            raise Refused(404, "Cannot find the route")
        return answers[route](_without(request.query, self.ignored))


def _without(query: Query, ignored: set[str]) -> Query:
    return MultiDict((name, value) for name, value in query.items() if name not in ignored)


def _framed(key: str, rows: list[Json]) -> Json:
    return {key: rows, "address_book": {}, "metadata": {}}
