"""A TonCenter v3 in this process: the real routes, limits and row shapes, and every fault the real one has."""

from __future__ import annotations

import asyncio
import base64
from collections import Counter
from collections.abc import Callable
from contextlib import AsyncExitStack
from dataclasses import dataclass, field
from types import TracebackType
from typing import Any, Self

import orjson
from aiohttp import web
from multidict import MultiDict, MultiMapping

from devnet.ton_cells import Bits, address_of, first_bits
from devnet.ton_ledger import Json, Payment, TonLedger

EVERY = "*"
MAINNET = -239
MOST_ROWS = 1_000
MOST_ADDRESSES = 1_000
DEFAULT_ROWS = 10
RATE_BODY: Json = {"ok": False, "result": "Ratelimit exceed", "code": 429}
_LONGEST_LINE = 1 << 20

Query = MultiMapping[str]


class Refused(Exception):
    """What the service answers instead of rows."""

    def __init__(self, status: int, message: str) -> None:
        super().__init__(message)
        self.status = status


@dataclass(slots=True, eq=False)
class Fault:
    """What goes wrong with a route."""

    route: str = EVERY
    times: int | None = None  # None: until healed
    hang: bool = False  # no answer before `release`; then the right one
    close: bool = False  # the connection is cut instead of an answer
    status: int | None = None
    body: Any = None  # sent as JSON instead of the answer; bytes are sent as they are
    headers: dict[str, str] = field(default_factory=dict)

    def fits(self, route: str) -> bool:
        return self.route in {EVERY, route} and (self.times is None or self.times > 0)


class TonCenter:
    """
    One endpoint over a ledger. Attributes are lasting defects, `fail` adds passing ones, `heal` ends all.

    Several endpoints may share a ledger. Open as a context manager.
    """

    def __init__(self, ledger: TonLedger | None = None) -> None:
        self.ledger = ledger or TonLedger()
        self.url = ""
        self.calls: Counter[str] = Counter()  # by route
        self.asked: list[tuple[str, list[tuple[str, str]]]] = []  # route and parameters, in order
        self.keys: list[str | None] = []  # what came in X-API-Key
        self.longest_url = 0
        self.before: Callable[[str], None] | None = None  # called with the route before it is answered
        self._changed = asyncio.Condition()
        self._released = asyncio.Event()
        self._open = AsyncExitStack()
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
        self._faults: list[Fault] = []
        self.release()

    def fail(self, route: str = EVERY, **how: Any) -> Fault:
        """Add a fault, see `Fault`; the oldest one that fits a call is used first."""
        fault = Fault(route, **how)
        self._faults.append(fault)
        return fault

    def limit_rate(self, times: int | None = None, headers: dict[str, str] | None = None) -> Fault:
        """Answer 429 as the real service does: without saying for how long."""
        return self.fail(times=times, status=429, body=RATE_BODY, headers=headers or {})

    def release(self) -> None:
        """Let go of what hangs now; what is asked later may hang again."""
        self._released.set()
        self._released = asyncio.Event()

    async def called(self, route: str, times: int = 1, timeout_s: float = 20) -> None:
        """Wait until a route was asked so often, counted from the start."""
        async with asyncio.timeout(timeout_s), self._changed:
            await self._changed.wait_for(lambda: self.calls[route] >= times)

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

    async def __aenter__(self) -> Self:
        app = web.Application(client_max_size=4 * 1024 * 1024)
        app.router.add_route("*", "/api/v3/{route:.*}", self._serve)
        async with AsyncExitStack() as stack:
            runner = web.AppRunner(app, access_log=None, shutdown_timeout=0.1, max_line_size=_LONGEST_LINE)
            stack.push_async_callback(runner.cleanup)
            await runner.setup()
            await web.TCPSite(runner, "127.0.0.1", 0).start()
            self.url = f"http://127.0.0.1:{runner.addresses[0][1]}"
            self._open = stack.pop_all()
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.release()
        await self._open.aclose()

    # --- one request -----------------------------------------------------------------------------

    async def _serve(self, request: web.Request) -> web.StreamResponse:
        route = request.match_info["route"]
        await self._note(request, route)
        fault = next((fault for fault in self._faults if fault.fits(route)), None)
        if fault is not None and (answer := await self._disturb(fault, request)) is not None:
            return answer
        if self._too_much(request):
            return self._refused(request)
        if self.max_url is not None and len(request.raw_path) > self.max_url:
            return _json({"error": "Request-URI Too Large"}, status=self.too_long_status)
        try:
            answer = _json(await self._answer(request, route) | self.unknown)
            answer.headers.update(self.headers)
            return answer
        except Refused as exc:
            return _json({"code": exc.status, "error": str(exc)}, status=exc.status)

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

    async def _note(self, request: web.Request, route: str) -> None:
        async with self._changed:
            self.calls[route] += 1
            self.asked.append((route, list(request.query.items())))
            self.keys.append(request.headers.get("X-API-Key"))
            self.longest_url = max(self.longest_url, len(request.raw_path))
            self._changed.notify_all()
        if self.before is not None:
            self.before(route)

    async def _disturb(self, fault: Fault, request: web.Request) -> web.StreamResponse | None:
        """Do what a fault does; None when the request goes on."""
        if fault.times is not None:
            fault.times -= 1
        if fault.hang:
            await self._released.wait()
        if fault.close:
            if request.transport is not None:
                request.transport.abort()
            return web.Response()
        if fault.status is None and fault.body is None:
            return None
        body = fault.body if isinstance(fault.body, bytes) else orjson.dumps(fault.body)
        return web.Response(
            status=fault.status or 200, body=body, headers=fault.headers, content_type="application/json"
        )

    async def _answer(self, request: web.Request, route: str) -> Json:
        if route == "runGetMethod":
            return self._run(orjson.loads(await request.read()))
        answers: dict[str, Callable[[Query], Json]] = {
            "masterchainInfo": self._info,
            "blocks": lambda query: {"blocks": self._blocks(query)},
            "jetton/transfers": lambda query: _framed("jetton_transfers", self._transfers(query)),
            "jetton/wallets": lambda query: _framed("jetton_wallets", self._wallets(query)),
            "jetton/masters": self._masters,
            "accountStates": lambda query: _framed("accounts", self._accounts(query)),
            "transactions": lambda query: _framed("transactions", self._transactions(query)),
            "adjacentTransactions": lambda query: _framed("transactions", self._adjacent(query)),
            "traces": lambda query: _framed("traces", self._traces(query)),
            "actions": lambda query: _framed("actions", self._actions(query)),
        }
        if route not in answers:
            raise Refused(404, "Cannot find the route")
        return answers[route](_without(request.query, self.ignored))

    # --- blocks ----------------------------------------------------------------------------------

    def _newest(self) -> int:
        return min(self.ledger.now - self.behind_s, self.ledger.now if self.frozen_at is None else self.frozen_at)

    def _known_blocks(self) -> list[tuple[int, int]]:
        newest = self._newest()
        return [b for b in self.ledger.blocks if self.begins_at <= b[0] <= newest] or self.ledger.blocks[:1]

    def _info(self, _: Query) -> Json:
        return {"first": self._block(*self._known_blocks()[0]), "last": self._last_block()}

    def _last_block(self) -> Json:
        time, lt = self._known_blocks()[-1]
        return self._block(time, lt + self.lt_ahead)

    def _block(self, time: int, lt: int) -> Json:
        return {
            "workchain": -1,
            "shard": "8000000000000000",
            "seqno": lt // 1_000_000,
            "global_id": self.network,
            "gen_utime": str(time),
            "start_lt": str(lt),
            "end_lt": str(lt + 4),
        }

    def _blocks(self, query: Query) -> list[Json]:
        found = [
            self._block(time, lt)
            for time, lt in self._known_blocks()
            if time <= _int(query, "end_utime", time) and time >= _int(query, "start_utime", 0)
        ]
        return _page(found if query.get("sort") == "asc" else found[::-1], query)

    # --- transfers -------------------------------------------------------------------------------

    def _indexed(self) -> list[Payment]:
        newest = self._newest() - self.stale_s
        told = (payment for payment in self.ledger.payments if payment.tx_hash not in self.unlisted)
        return [payment for payment in told if self.begins_at <= payment.row["transaction_now"] <= newest]

    def _transfers(self, query: Query) -> list[Json]:
        rows = [payment.row for payment in self._indexed() if payment.tx_hash not in self.late_rows]
        if self.hides_aborted:
            rows = [row for row in rows if not row["transaction_aborted"]]
        owners = _addresses(query, "owner_address")
        if owners:
            sides = {"in": ["destination"], "out": ["source"]}.get(
                query.get("direction", ""), ["source", "destination"]
            )
            rows = [row for row in rows if any(row[side] in owners for side in sides)]
        masters = _addresses(query, "jetton_master")
        rows = [row for row in rows if not masters or row["jetton_master"] in masters]
        by_time = "start_utime" in query or "end_utime" in query
        rows = [row for row in rows if _within(query, "utime", row["transaction_now"])]
        rows = [row for row in rows if _within(query, "lt", int(row["transaction_lt"]))]
        # Sorting by time has no tie-break upstream, and rows of one second come in any order.
        rows.sort(key=lambda row: row["transaction_now"] if by_time else int(row["transaction_lt"]))
        if query.get("sort", "desc") == "desc" or self.wrong_order:
            rows.reverse()
        spoilt = {base64.b64encode(bytes.fromhex(key)).decode(): how for key, how in self.spoilt_rows.items()}
        page = [{**row, **self.spoilt, **spoilt.get(row["transaction_hash"], {})} for row in _page(rows, query)]
        return [row for row in page for _ in range(2)][: max(len(page), MOST_ROWS)] if self.repeats else page

    # --- transactions ----------------------------------------------------------------------------

    def _happened(self) -> list[Json]:
        return [self._shown(tx, payment) for payment in self._indexed() for tx in payment.happened]

    def _shown(self, transaction: Json, payment: Payment) -> Json:
        claimed = self.wrong_wallets.get(payment.row["destination"])
        row = {**transaction, "finality": "pending"} if self.non_final else transaction
        if claimed is None or transaction["account"] != payment.wallet:
            return row
        return {**row, "account": claimed}

    def _transactions(self, query: Query) -> list[Json]:
        accounts = _addresses(query, "account")
        rows = [tx for tx in self._happened() if not accounts or tx["account"] in accounts]
        if "hash" in query:
            rows = [tx for tx in rows if _same_hash(tx["hash"], query["hash"])]
        rows = [tx for tx in rows if _within(query, "lt", int(tx["lt"]))]
        rows.sort(key=lambda tx: int(tx["lt"]), reverse=query.get("sort", "desc") == "desc")
        return _page(rows, query)

    def _adjacent(self, query: Query) -> list[Json]:
        rows = self._happened()
        asked = next((tx for tx in rows if _same_hash(tx["hash"], query.get("hash", ""))), None)
        if asked is None:
            raise Refused(404, "transaction not found")
        sent = {message["hash"] for message in asked["out_msgs"]}
        if query.get("direction", "out") == "out":
            found = [tx for tx in rows if tx["in_msg"]["hash"] in sent]
        else:
            found = [tx for tx in rows if asked["in_msg"]["hash"] in {message["hash"] for message in tx["out_msgs"]}]
        if not found:
            raise Refused(404, "adjacent transactions not found")
        return found

    def _traces(self, query: Query) -> list[Json]:
        wanted, ids = query.getall("tx_hash", []), query.getall("trace_id", [])
        traces: dict[str, list[Payment]] = {}
        for payment in self._indexed():
            traces.setdefault(payment.row["trace_id"], []).append(payment)
        found = []
        for trace_id, payments in traces.items():
            rows = [tx for payment in payments for tx in payment.happened]
            hit = any(_same_hash(tx["hash"], text) for tx in rows for text in wanted)
            if hit or any(_same_hash(trace_id, text) for text in ids):
                lts = [int(tx["lt"]) for tx in rows]
                found.append(
                    {
                        "trace_id": trace_id,
                        "start_lt": str(min(lts)),
                        "end_lt": str(max(lts)),
                        "is_incomplete": any(payment.pending for payment in payments),
                        "transactions": {tx["hash"]: tx for tx in rows},
                    }
                )
        return _page(found, query)

    def _actions(self, query: Query) -> list[Json]:
        """Like the real one, `trace_id` switches every other filter off and keeps the default limit."""
        ids = query.getall("trace_id", [])
        found = [
            {
                "trace_id": payment.row["trace_id"],
                "type": "jetton_transfer",
                "success": payment.credited > 0,
                "transactions": [tx["hash"] for tx in payment.happened],
            }
            for payment in self._indexed()
            if any(_same_hash(payment.row["trace_id"], text) for text in ids)
        ]
        return _page(found, query)

    # --- states ----------------------------------------------------------------------------------

    def _wallets(self, query: Query) -> list[Json]:
        owners, masters = _addresses(query, "owner_address"), _addresses(query, "jetton_address")
        found = [
            {"address": self.ledger.wallet(master, owner), "owner": owner, "jetton": master, "balance": str(balance)}
            for master, paid in self.ledger.owners().items()
            for owner in sorted(paid)
            if (balance := self.ledger.balance(master, owner)) is not None
        ]
        rows = [row for row in [*self.strangers, *found] if not owners or row["owner"] in owners]
        return _page([row for row in rows if not masters or row["jetton"] in masters], query)

    def _masters(self, query: Query) -> Json:
        wanted = _addresses(query, "address")
        told = {a: content for a, content in self.ledger.masters.items() if not wanted or a in wanted}
        # As for USDT: decimals are on chain, the symbol is in a file the indexer has fetched.
        rows = [
            {"address": address, "mintable": True, "jetton_content": {"decimals": content["decimals"]}}
            for address, content in told.items()
        ]
        about = {
            address: {"is_indexed": True, "token_info": [{"type": "jetton_masters", "symbol": content["symbol"]}]}
            for address, content in told.items()
        }
        return {"jetton_masters": _page(rows, query), "address_book": {}, "metadata": about}

    def _accounts(self, query: Query) -> list[Json]:
        wanted = _addresses(query, "address")
        if not wanted:
            raise Refused(422, "address of account is required")
        coins = {address: amount for address, amount in self.ledger.coins.items() if address in wanted}
        return _page([{"address": a, "balance": str(n), "status": "active"} for a, n in coins.items()], query)

    def _run(self, question: Json) -> Json:
        master, method = str(question["address"]).upper(), question["method"]
        if master not in self.ledger.masters:
            return {"gas_used": 0, "exit_code": -13, "stack": []}
        if method == "get_wallet_address":
            if master in self.strange_masters:
                return self.strange_masters[master]
            owner = address_of(first_bits(question["stack"][0]["value"]))
            boc = Bits().address(self.ledger.wallet(master, owner)).boc()
            return {"gas_used": 1500, "exit_code": 0, "stack": [{"type": "cell", "value": boc}]}
        if method == "get_jetton_data":
            numbers = [{"type": "num", "value": "0x0"}, {"type": "num", "value": "-0x1"}]
            empty = {"type": "cell", "value": Bits().boc()}
            code = {"type": "cell", "value": self.ledger.recorded["wallet_code"]["boc"]}
            return {"gas_used": 900, "exit_code": 0, "stack": [*numbers, empty, empty, code]}
        return {"gas_used": 0, "exit_code": 11, "stack": []}


def _without(query: Query, ignored: set[str]) -> Query:
    return MultiDict((name, value) for name, value in query.items() if name not in ignored)


def _framed(key: str, rows: list[Json]) -> Json:
    return {key: rows, "address_book": {}, "metadata": {}}


def _page(rows: list[Json], query: Query) -> list[Json]:
    limit, offset = _int(query, "limit", DEFAULT_ROWS), _int(query, "offset", 0)
    if limit > MOST_ROWS:
        raise Refused(422, f"limit is not allowed: {limit} > {MOST_ROWS}")
    return rows[offset : offset + limit]


def _int(query: Query, name: str, default: int) -> int:
    text = query.get(name)
    if text is None:
        return default
    try:
        return int(text)
    except ValueError as exc:
        raise Refused(422, f"{name}: {text} is not a number") from exc


def _within(query: Query, kind: str, value: int) -> bool:
    """Both ends are included, whatever the documentation says."""
    return _int(query, f"start_{kind}", value) <= value <= _int(query, f"end_{kind}", value)


def _addresses(query: Query, name: str) -> set[str]:
    texts = query.getall(name, [])
    if len(texts) > MOST_ADDRESSES:
        raise Refused(422, f"{name}: at most {MOST_ADDRESSES} values are allowed")
    return {_raw(text) for text in texts}


def _raw(text: str) -> str:
    """Read an address in any form, as the real service does."""
    if ":" in text:
        return text.upper()
    data = base64.b64decode(text, altchars=b"-_")
    return f"{int.from_bytes(data[1:2], 'big', signed=True)}:{data[2:34].hex().upper()}"


def _same_hash(stored: str, text: str) -> bool:
    return text == stored or text.lower() == base64.b64decode(stored).hex()


def _json(answer: Json, status: int = 200) -> web.Response:
    return web.Response(status=status, body=orjson.dumps(answer), content_type="application/json")
