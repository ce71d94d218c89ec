"""A TronGrid in this process: the real routes, limits, paging and row shapes, and its known faults on request."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Any

import orjson
from aiohttp import web

from devnet.fault_server import EVERY, Fault, FaultServer, json_response
from devnet.tron.index import Index
from devnet.tron.jsonrpc import MOST_BLOCKS, JsonRpc
from devnet.tron.ledger import TronLedger
from devnet.tron.node import TronNode

Json = dict[str, Any]
SUSPENDED = "The key exceeds the frequency limit(15), and the query server is suspended for {}s"
OVERLOADED = "this node has a lack of computing resources, please try again later"
MOST_ROWS = 200


class TronGrid(FaultServer):
    """
    One endpoint over one ledger. Its attributes are its lasting defects, `fail` adds passing ones, `heal` ends all.

    Open as a context manager; faults may be changed at any time.
    """

    def __init__(self, ledger: TronLedger | None = None) -> None:
        super().__init__()  # `calls`: by route, without the address or id within; and by JSON-RPC method
        self.ledger = ledger or TronLedger()
        self.requests = 0
        self.keys: list[str | None] = []  # what arrived as TRON-PRO-API-KEY, in order
        self.asked: list[tuple[str, Json]] = []  # route and parameters, in order
        self.before: Callable[[str], object] | None = None  # called with the route before it is answered
        self.moments: list[float] = []  # when each request came in, in monotonic seconds
        self._rpc = JsonRpc(self)
        self.node = TronNode(self)
        self._index = Index(self)
        self.heal()

    def heal(self) -> None:
        """Behave from now on; what hangs is let go."""
        self.jsonrpc = True  # False: the route is not there
        self.most_blocks = MOST_BLOCKS  # of one eth_getLogs
        self.batches = True  # False: a batch is answered with one error
        self.blind_below: int | None = None  # filtered logs of blocks below are silently missing (section bloom)
        self.behind = 0  # blocks the JSON-RPC node lags behind the rest
        self.logs_behind = 0  # blocks its index of logs lags behind its own tip, without a word
        self.unlogged: set[str] = set()  # transactions eth_getLogs never shows
        self.most_topics: int | None = None  # values of one position of eth_getLogs; more are refused
        self.most_logs: int | None = None  # rows of one eth_getLogs; more are refused
        self.most_calls: int | None = None  # of one batch; more are refused
        self.rpc_refusals: dict[str, tuple[int, Any]] = {}  # status and body for `topics`, `logs`, `calls`, `blocks`
        self.frozen_at: int | None = None  # the number of the newest block this node will ever hold
        self.keeps: int | None = None  # newest blocks; older ones but the first of all are gone, logs and receipts too
        self.told_from = 0  # number of the oldest block with receipts and logs, as after a start from a snapshot
        self.shows_genesis = True
        self.solid_behind = 0  # blocks its irreversible side lags behind what the producers have made so
        self.headers: dict[str, str] = {}  # of every answer
        self.unknown: Json = {}  # put into every answer that is an object
        self.claims_chain: int | None = None  # the chain JSON-RPC claims to be
        self.drops_fingerprint = False
        self.ignores_confirmed = False  # unconfirmed rows, whatever is asked
        self.reverses_rows = False  # newest first, whatever is asked
        self.repeats_rows = False  # every further page begins with the last row of the one before
        self.most_rows: int | None = None  # rows of one window of time, however many pages are asked for
        self.stale_at: int | None = None  # ms: rows of younger blocks are not in the v1 index yet
        self.unlisted: set[str] = set()  # transactions the v1 index does not show yet
        self.unreadable_accounts: set[str] = set()  # whose histories are answered with an error
        self.unindexed: set[str] = set()  # transactions whose receipts are not there yet
        self.unindexed_blocks: set[int] = set()
        self.without_receipt: Callable[[str], bool] | None = None  # transactions whose receipts it has nowhere
        self.strange_receipts: dict[str, Any] = {}  # transactions whose receipt is this, or has this put into it
        self.spoilt_rows: dict[str, Json] = {}  # put into the rows of histories about these transactions
        self.spoilt_logs: Json = {}  # put into every log of eth_getLogs
        self.logs_answer: bytes | None = None  # eth_getLogs for several destinations or blocks answers this
        self.renumbers = 0  # added to every `logIndex` and `event_index`: nodes count differently
        self.clear_faults()

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
            told = orjson.loads(answer.body)
            answer.body = orjson.dumps(told | self.unknown) if isinstance(told, dict) and told else answer.body
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

    def top(self, *, solid: bool) -> int:
        """Return the newest block one side of the node holds."""
        head = self.ledger.head if self.frozen_at is None else min(self.ledger.head, self.frozen_at)
        if not solid:
            return head
        return max(0, min(self.ledger.solid, head - self.ledger.solid_depth) - self.solid_behind)

    def holds(self, number: int) -> bool:
        """Say whether this node has a block."""
        if number == 0:
            return self.shows_genesis
        return self.keeps is None or number > self.top(solid=False) - self.keeps

    def tells(self, number: int) -> bool:
        """Say whether this node has the receipts of a block, and its logs."""
        return self.holds(number) and number >= self.told_from


def _bound(answer: Callable[..., web.Response], *, solid: bool) -> Callable[[str, Json], web.Response]:
    return lambda name, asked: answer(name, asked, solid=solid)


def _route(path: str) -> tuple[str, str]:
    """Return a path without the address or id within, and that."""
    parts = path.strip("/").split("/")
    if parts[0] == "v1" and len(parts) > 2:
        return "/" + "/".join(parts[:2] + parts[3:]), parts[2]
    return "/" + "/".join(parts), ""
