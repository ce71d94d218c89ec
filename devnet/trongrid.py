"""A TronGrid in this process: the real routes, limits, paging and row shapes, and its known faults on request."""

from __future__ import annotations

import asyncio
import time
from collections import Counter
from collections.abc import Callable
from contextlib import AsyncExitStack
from dataclasses import dataclass
from types import TracebackType
from typing import Any, Self

import orjson
from aiohttp import web

from addresses.base58 import decode_check
from chains.tron.address import from_hex
from devnet.faulty_rpc import EVERY, Fault
from devnet.tron_index import Index
from devnet.tron_ledger import TronLedger, Tx
from devnet.tron_rpc import MOST_BLOCKS, JsonRpc

Json = dict[str, Any]
SUSPENDED = "The key exceeds the frequency limit(15), and the query server is suspended for {}s"
OVERLOADED = "this node has a lack of computing resources, please try again later"
MOST_ROWS = 200
_TRIGGER_ZERO = "0" * 64


@dataclass(slots=True, eq=False)
class GridFault(Fault):
    """A fault that lets some calls pass first."""

    skip: int = 0


class TronGrid:
    """
    One endpoint over one ledger. Its attributes are its lasting defects, `fail` adds passing ones, `heal` ends all.

    Open as a context manager; faults may be changed at any time.
    """

    def __init__(self, ledger: TronLedger | None = None) -> None:
        self.url = ""
        self.ledger = ledger or TronLedger()
        self.calls: Counter[str] = Counter()  # by route, without the address or id within; and by JSON-RPC method
        self.requests = 0
        self.keys: list[str | None] = []  # what arrived as TRON-PRO-API-KEY, in order
        self.asked: list[tuple[str, Json]] = []  # route and parameters, in order
        self.before: Callable[[str], object] | None = None  # called with the route before it is answered
        self.moments: list[float] = []  # when each request came in, in monotonic seconds
        self._rpc = JsonRpc(self)
        self._index = Index(self)
        self._changed = asyncio.Condition()
        self._released = asyncio.Event()
        self._open = AsyncExitStack()
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
        self._faults: list[GridFault] = []
        self.release()

    def fail(self, route: str = EVERY, **how: Any) -> GridFault:
        """Add a fault, see `GridFault`; `route` is a path without the address or id within, or a JSON-RPC method."""
        fault = GridFault(route, **how)
        self._faults.append(fault)
        return fault

    def suspend(self, seconds: int = 30, *, route: str = EVERY, times: int | None = 1, status: int = 429) -> GridFault:
        """Refuse as the front does when a key asks too often: without Retry-After."""
        body = orjson.dumps({"Success": False, "Error": SUSPENDED.format(seconds), "StatusCode": status})
        return self.fail(route, times=times, status=status, body=body)

    def overload(self, *, route: str = EVERY, times: int | None = 1) -> GridFault:
        """Refuse as a node does that has too much to do: with status 200."""
        return self.fail(route, times=times, body=orjson.dumps({"Error": OVERLOADED}))

    def release(self) -> None:
        """Let go of what hangs now; what is asked later may hang again."""
        self._released.set()
        self._released = asyncio.Event()

    async def called(self, name: str, times: int = 1, timeout_s: float = 20) -> None:
        """Wait until a route or method was asked so often, counted from the start."""
        async with asyncio.timeout(timeout_s), self._changed:
            await self._changed.wait_for(lambda: self.calls[name] >= times)

    async def __aenter__(self) -> Self:
        app = web.Application(client_max_size=64 * 1024 * 1024)
        app.router.add_route("*", "/{path:.*}", self._serve)
        async with AsyncExitStack() as stack:
            runner = web.AppRunner(app, access_log=None, shutdown_timeout=0.1)
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

    # --- HTTP ------------------------------------------------------------------------------------

    async def _serve(self, request: web.Request) -> web.StreamResponse:
        route, name = _route(request.path)
        body = await request.read()
        asked: Any = orjson.loads(body) if body else dict(request.query)
        self.requests += 1
        self.moments.append(time.monotonic())
        self.keys.append(request.headers.get("TRON-PRO-API-KEY"))
        methods = self._note(route, asked)
        async with self._changed:
            self._changed.notify_all()
        if self.before is not None:
            self.before(route)
        fault = self._fault([route, *methods])
        if fault is not None and (disturbed := await self._disturb(fault, request)) is not None:
            return disturbed
        return self._dressed(self._answer(route, name, asked, request))

    def _answer(self, route: str, name: str, asked: Any, request: web.Request) -> web.Response:
        if route == "/jsonrpc":
            return self._rpc.answer(asked) if self.jsonrpc else _json({"error": "not found"}, 404)
        serve = self._routes().get(route)
        if serve is None:
            return _json({"Error": "no such route"}, 404)
        return serve(name, asked | dict(request.query))

    def _dressed(self, answer: web.Response) -> web.Response:
        """Add what nobody asked for."""
        answer.headers.update(self.headers)
        if self.unknown and isinstance(answer.body, bytes):
            told = orjson.loads(answer.body)
            answer.body = orjson.dumps(told | self.unknown) if isinstance(told, dict) and told else answer.body
        return answer

    def _note(self, route: str, asked: Any) -> list[str]:
        self.calls[route] += 1
        methods = []
        if route == "/jsonrpc":
            methods = [call["method"] for call in (asked if isinstance(asked, list) else [asked])]
            self.calls.update(methods)
        self.asked.append((route, asked))
        return methods

    def _fault(self, names: list[str]) -> GridFault | None:
        """Return the oldest fault that fits, unless it lets this call pass."""
        fitting = next((fault for fault in self._faults if any(map(fault.fits, names))), None)
        if fitting is not None and fitting.skip > 0:
            fitting.skip -= 1
            return None
        return fitting

    async def _disturb(self, fault: Fault, request: web.Request) -> web.StreamResponse | None:
        if fault.times is not None:
            fault.times -= 1
        if fault.delay_s:
            await asyncio.sleep(fault.delay_s)
        if fault.hang:
            await self._released.wait()
        if fault.close:
            if request.transport is not None:
                request.transport.abort()
            return web.Response()
        if fault.status is None and fault.body is None:
            return None
        return web.Response(
            status=fault.status or 200, body=fault.body or b"", content_type="application/json", headers=fault.headers
        )

    def _routes(self) -> dict[str, Callable[[str, Json], web.Response]]:
        served: dict[str, Callable[[str, Json], web.Response]] = {
            "/v1/accounts/transactions/trc20": self._index.account_rows,
            "/v1/contracts/events": self._index.contract_events,
            "/v1/transactions/events": self._index.transaction_events,
        }
        for layer, solid in (("/walletsolidity", True), ("/wallet", False)):
            for name, answer in (
                ("getnowblock", self._now),
                ("getblock", self._block_or_header),
                ("getblockbynum", self._block_by_number),
                ("gettransactioninfobyid", self._receipt),
                ("gettransactioninfobyblocknum", self._receipts),
                ("triggerconstantcontract", self._constant),
                ("getaccount", self._account),
            ):
                served[f"{layer}/{name}"] = _bound(answer, solid=solid)
        return served

    # --- the node --------------------------------------------------------------------------------

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

    def _now(self, _name: str, _asked: Json, *, solid: bool) -> web.Response:
        return _json(self._block(self.top(solid=solid)))

    def _block_or_header(self, _name: str, asked: Json, *, solid: bool) -> web.Response:
        number = int(asked["id_or_num"]) if "id_or_num" in asked else self.top(solid=solid)
        block = self._block(number) if 0 <= number <= self.top(solid=solid) and self.holds(number) else {}
        if not asked.get("detail"):
            block.pop("transactions", None)
        return _json(block)

    def _block_by_number(self, _name: str, asked: Json, *, solid: bool) -> web.Response:
        number = int(asked["num"])
        return _json(self._block(number) if 0 <= number <= self.top(solid=solid) and self.holds(number) else {})

    def _block(self, number: int) -> Json:
        ledger = self.ledger
        raw: Json = {
            "number": number,
            "txTrieRoot": "0" * 64,
            "witness_address": "41" + "27" * 20,
            "parentHash": ledger.block_id(number - 1) if number else "0" * 64,
            "version": 31,
            "timestamp": ledger.times[number],
        }
        if number == 0:
            del raw["number"]  # proto3 leaves zeros out
        block: Json = {"blockID": ledger.block_id(number), "block_header": {"raw_data": raw, "witness_signature": ""}}
        if number in ledger.by_block:
            block["transactions"] = [{"txID": tx.id} for tx in ledger.by_block[number]]
        return block

    def _receipt(self, _name: str, asked: Json, *, solid: bool) -> web.Response:
        tx = self.ledger.by_id.get(str(asked["value"]))
        hidden = tx is None or tx.id in self.unindexed or self._lacks(tx) or not 0 <= tx.block <= self.top(solid=solid)
        hidden = hidden or (tx is not None and not self.tells(tx.block))
        return _json({} if hidden or tx is None else self._shown(tx))

    def _receipts(self, _name: str, asked: Json, *, solid: bool) -> web.Response:
        number = int(asked["num"])
        if number > self.top(solid=solid) or number in self.unindexed_blocks or not self.tells(number):
            return _json([])
        return _json([self._shown(tx) for tx in self.ledger.by_block.get(number, []) if not self._lacks(tx)])

    def _lacks(self, tx: Tx) -> bool:
        return self.without_receipt is not None and self.without_receipt(tx.id)

    def _shown(self, tx: Tx) -> Any:
        """Return a receipt, or what this node makes of it."""
        if tx.id not in self.strange_receipts:
            return self._info(tx)
        strange = self.strange_receipts[tx.id]
        return self._info(tx) | strange if isinstance(strange, dict) and strange else strange

    def _info(self, tx: Tx) -> Json:
        """Return a receipt; like every proto3 message, without what is empty."""
        info: Json = {
            "id": tx.id,
            "fee": 345_000,
            "blockNumber": tx.block,
            "blockTimeStamp": self.ledger.times[tx.block],
            "contractResult": ["" if tx.result is None else _TRIGGER_ZERO],
            "receipt": {"net_usage": 345},
        }
        if tx.result is not None:
            info["receipt"]["result"] = tx.result
        if tx.failed:
            info |= {"result": "FAILED", "resMessage": b"REVERT opcode executed".hex()}
        if tx.logs:
            info["log"] = [{"address": log.address, "topics": list(log.topics), "data": log.data} for log in tx.logs]
        return info

    def _constant(self, _name: str, asked: Json, *, solid: bool) -> web.Response:
        token = _spelt(asked["contract_address"])
        if token not in self.ledger.tokens:
            text = b"Smart contract is not exist.".hex()
            return _json({"result": {"code": "CONTRACT_VALIDATE_ERROR", "message": text}})
        selector, parameter = str(asked["function_selector"]), str(asked.get("parameter", ""))
        result = self.call(token, selector, parameter, at=self.top(solid=solid))
        outcome: Json = {"result": True}
        if result is None:
            outcome["message"] = b"REVERT opcode executed".hex()
        return _json({"result": outcome, "energy_used": 541, "constant_result": [result or ""]})

    def call(self, token: str, selector: str, parameter: str, *, at: int) -> str | None:
        """Return what a token contract answers; None when it reverts."""
        facts = self.ledger.tokens[token]
        match selector:
            case "decimals()":
                return f"{facts.decimals:064x}"
            case "symbol()":
                text = facts.symbol.encode()
                return f"{32:064x}{len(text):064x}" + text.hex().ljust(-(-len(text) // 32) * 64, "0")
            case "balanceOf(address)" if not facts.broken:
                return f"{self.ledger.balance(from_hex(parameter[-40:]), token, at):064x}"
        return None

    def _account(self, _name: str, asked: Json, *, solid: bool) -> web.Response:
        address = _spelt(asked["address"])
        moves = [m for tx in self.ledger.between(0, self.top(solid=solid)) for m in tx.moves if m.token is None]
        if not any(address in {move.source, move.to} for move in moves):
            return _json({})  # never activated
        balance = self.ledger.balance(address, None, self.top(solid=solid))
        return _json({"address": asked["address"], "create_time": 1} | ({"balance": balance} if balance else {}))


def _bound(answer: Callable[..., web.Response], *, solid: bool) -> Callable[[str, Json], web.Response]:
    return lambda name, asked: answer(name, asked, solid=solid)


def _route(path: str) -> tuple[str, str]:
    """Return a path without the address or id within, and that."""
    parts = path.strip("/").split("/")
    if parts[0] == "v1" and len(parts) > 2:
        return "/" + "/".join(parts[:2] + parts[3:]), parts[2]
    return "/" + "/".join(parts), ""


def _spelt(address: str) -> str:
    """Return an address of a request, in hex or base58, in base58."""
    return from_hex(address[2:]) if address.startswith("41") else from_hex(decode_check(address)[1:].hex())


def _json(body: Any, status: int = 200) -> web.Response:
    return web.Response(body=orjson.dumps(body), status=status, content_type="application/json")
