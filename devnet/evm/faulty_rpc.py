"""A reverse proxy in front of a JSON-RPC node that misbehaves the way real endpoints do, on request."""

from __future__ import annotations

import asyncio
import time
from collections import Counter
from collections.abc import Callable, Collection, Mapping
from contextlib import AsyncExitStack
from dataclasses import dataclass, field
from types import TracebackType
from typing import Any, NamedTuple, Self

import aiohttp
import orjson
from aiohttp import web

Json = dict[str, Any]
EVERY = "*"  # as a method: whatever is asked
_TAGS = {"latest", "pending", "safe", "finalized"}
_BLOCK_PARAMETER = {"eth_call": 1, "eth_getBalance": 1, "eth_getCode": 1, "eth_getTransactionCount": 1}
_HEIGHT_OF = {
    "eth_getBlockByNumber": "number",
    "eth_getBlockByHash": "number",
    "eth_getTransactionReceipt": "blockNumber",
    "eth_getTransactionByHash": "blockNumber",
}
_UNSET = object()


@dataclass(slots=True, eq=False)
class Fault:
    """
    What goes wrong with a method.

    `error` and `result` concern one call of a batch, everything else the whole HTTP request.
    """

    method: str = EVERY
    times: int | None = None  # None: until healed
    hang: bool = False  # no answer before `release`; then the right one
    delay_s: float = 0.0
    close: bool = False  # the connection is cut instead of an answer
    truncate: bool = False  # half of the right answer, then the connection is cut
    status: int | None = None
    body: bytes | None = None  # sent instead of the answer, with status 200 unless one is given
    headers: Mapping[str, str] = field(default_factory=dict)
    error: tuple[int, str] | None = None  # JSON-RPC code and message
    result: Any = _UNSET  # sent as the result of the call; a callable is given its parameters

    def fits(self, method: str) -> bool:
        return self.method in {EVERY, method} and (self.times is None or self.times > 0)

    @property
    def of_one_call(self) -> bool:
        return self.error is not None or self.result is not _UNSET


class _Manners(NamedTuple):
    """The lasting defects at one moment: a request is answered by one node, not by what it becomes meanwhile."""

    stale_at: int | None
    max_range: int | None
    range_error: tuple[int, str]
    chain_id: int | None
    loses: Callable[[Json], bool] | None
    repeats_logs: bool
    reorders_logs: bool
    reorders_batches: bool
    needs_address: bool
    most_topics: int | None
    most_rows: int | None
    knows_finalized: bool
    without_receipt: Callable[[str], bool] | None
    unserved: frozenset[str]
    renumbers: int
    odd_fields: bool
    lies_ahead: int

    def own_answer(self, call: Json) -> Json | None:
        """Return what is answered without asking the node; None when the node is asked."""
        method, params = call["method"], call.get("params", [])
        if method in self.unserved:
            return _refusal(call.get("id"), -32601, f"the method {method} does not exist/is not available")
        if method == "eth_chainId" and self.chain_id is not None:
            return _result(call.get("id"), hex(self.chain_id))
        if method == "eth_getBlockByNumber" and params[0] in {"finalized", "safe"} and not self.knows_finalized:
            return _refusal(call.get("id"), -39001, "Unknown block")
        if method == "eth_getTransactionReceipt" and self.without_receipt and self.without_receipt(params[0]):
            return _result(call.get("id"), None)
        if method == "eth_getLogs":
            return self._log_answer(call)
        return None

    def _log_answer(self, call: Json) -> Json | None:
        wanted = call["params"][0]
        if self.needs_address and not wanted.get("address"):
            return _refusal(call.get("id"), -32701, "Please specify an address in your request")
        slots = [slot for slot in wanted.get("topics", []) if isinstance(slot, list)]
        if self.most_topics is not None and any(len(slot) > self.most_topics for slot in slots):
            return _refusal(call.get("id"), -32602, "exceed max addresses or topics per search position")
        if "blockHash" in wanted:
            return None
        first, last = (_height(wanted.get(name)) for name in ("fromBlock", "toBlock"))
        too_long = first is not None and last is not None and self.max_range is not None
        if too_long and last - first + 1 > (self.max_range or 0):  # type: ignore[operator]  # `too_long` says so
            code, text = self.range_error
            return _refusal(call.get("id"), code, text.format(limit=self.max_range))
        if self.stale_at is not None and first is not None and first > self.stale_at:
            return _result(call.get("id"), [])  # as real nodes do: no error
        return None

    def capped(self, call: Json) -> Json:
        """Return the call as a node would understand it that has not seen the newest blocks."""
        cap, method, params = self.stale_at, call["method"], list(call.get("params", []))
        if cap is None:
            return {**call, "params": params}
        if method == "eth_getLogs" and "blockHash" not in params[0]:
            last = _height(params[0].get("toBlock"))
            params[0] = {**params[0], "toBlock": hex(cap if last is None else min(last, cap))}
        elif method == "eth_getBlockByNumber" and params[0] == "latest":
            params[0] = hex(cap)
        elif (place := _BLOCK_PARAMETER.get(method)) is not None and params[place:] == ["latest"]:
            params[place] = hex(cap)
        return {**call, "params": params}

    def spoilt(self, call: Json, answer: Json) -> Json:
        """Return the node's answer as this endpoint gives it."""
        result = answer.get("result")
        if result is None:
            asked = call.get("params", [None])[0]
            above = self.lies_ahead and call["method"] == "eth_getBlockByNumber" and asked not in _TAGS
            return {**answer, "result": _made_up_block(int(asked, 16), _UNKNOWN_BLOCK)} if above else answer
        method = call["method"]
        if method in _HEIGHT_OF and _above(result.get(_HEIGHT_OF[method]), self.stale_at):
            return {**answer, "result": None}
        match method:
            case "eth_getLogs" if self.most_rows is not None and len(result) > self.most_rows:
                return _refusal(call.get("id"), -32005, f"query returned more than {self.most_rows} results")
            case "eth_getLogs":
                result = self._spoilt_logs(result)
            case "eth_blockNumber":
                result = hex(min(int(result, 16), self.stale_at or int(result, 16)) + self.lies_ahead)
            case "eth_getBlockByNumber" if call["params"][0] == "latest" and self.lies_ahead:
                result = _made_up_block(int(result["number"], 16) + self.lies_ahead, result)
            case "eth_getTransactionReceipt":
                result = {**result, "logs": [self._dressed(log) for log in result["logs"]]}
            case "eth_getBlockReceipts":
                result = [{**each, "logs": [self._dressed(log) for log in each["logs"]]} for each in result]
            case _:
                pass  # as it is
        return {**answer, "result": result}

    def _dressed(self, log: Json) -> Json:
        """Return a log as this node would show it: numbered its own way, with fields nobody asked for."""
        shown = {**log, "logIndex": hex(int(log["logIndex"], 16) + self.renumbers)} if self.renumbers else log
        if not self.odd_fields:
            return shown
        return {**shown, "blockTimestamp": 1_751_284_607, "l1BlockNumber": None, "extra": {"nested": [1, "two"]}}

    def _spoilt_logs(self, logs: list[Json]) -> list[Json]:
        kept = [
            log
            for log in logs
            if not _above(log["blockNumber"], self.stale_at) and not (self.loses and self.loses(log))
        ]
        if self.repeats_logs:
            kept = [log for log in kept for _ in range(2)]
        kept = [self._dressed(log) for log in kept]
        return kept[::-1] if self.reorders_logs else kept


class FaultyRpc:
    """
    One endpoint. Its attributes are its lasting defects, `fail` adds passing ones, `heal` ends all.

    Open as a context manager; faults may be changed at any time. What a request is answered with
    follows from the defects at one moment, when the endpoint begins to answer it.
    """

    def __init__(self, target: str) -> None:
        self.url = ""
        self.target = target
        self.calls: Counter[str] = Counter()  # by method
        self.requests = 0  # HTTP requests; a batch is one
        self.asked: list[tuple[str, list[Any]]] = []  # method and parameters, in order
        self._changed = asyncio.Condition()
        self._released = asyncio.Event()
        self._open = AsyncExitStack()
        self._session: aiohttp.ClientSession  # while open
        self.heal()

    def heal(self) -> None:
        """Behave from now on; what hangs is let go."""
        self.stale_at: int | None = None  # the newest block it has seen; logs above are silently missing
        self.max_range: int | None = None  # most blocks of one eth_getLogs; 0 refuses even a single one
        self.range_error: tuple[int, str] = (-32005, "exceed maximum block range: {limit}")
        self.chain_id: int | None = None  # the chain it claims to be
        self.batches = True  # False: a batch is answered with one error
        self.most_calls: int | None = None  # of one batch; more are refused as `batch_refusal` says
        self.batch_refusal = "object"  # see `BATCH_REFUSALS`
        self.needs_address = False  # eth_getLogs without `address` is refused
        self.most_topics: int | None = None  # values in one position
        self.most_rows: int | None = None  # logs of one answer
        self.knows_finalized = True  # False: the tag is an unknown block
        self.without_receipt: Callable[[str], bool] | None = None  # transactions whose receipt is null
        self.unserved: frozenset[str] = frozenset()  # methods it does not know
        self.renumbers = 0  # added to every logIndex
        self.odd_fields = False  # numbers where others have text, and keys nobody knows
        self.lies_ahead = 0  # blocks it makes up above the real head
        self.big_headers = False  # one header of 9,000 bytes and two hundred more
        self.loses: Callable[[Json], bool] | None = None  # logs it leaves out
        self.repeats_logs = False
        self.reorders_logs = False
        self.reorders_batches = False
        self._faults: list[Fault] = []
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
        """Wait until a method was asked so often, counted from the start."""
        async with asyncio.timeout(timeout_s), self._changed:
            await self._changed.wait_for(lambda: self.calls[method] >= times)

    async def __aenter__(self) -> Self:
        app = web.Application(client_max_size=64 * 1024 * 1024)
        app.router.add_post("/{path:.*}", self._serve)
        async with AsyncExitStack() as stack:
            self._session = await stack.enter_async_context(aiohttp.ClientSession())
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

    async def _serve(self, request: web.Request) -> web.StreamResponse:
        asked = orjson.loads(await request.read())
        calls: list[Json] = asked if isinstance(asked, list) else [asked]
        faults = await self._note(calls)
        for fault in (fault for fault in faults.values() if not fault.of_one_call):
            if (answer := await self._disturb(fault, request)) is not None:
                return answer
        if isinstance(asked, list) and not self.batches:
            return _answer(_refusal(None, -32600, "batch requests are not supported"))
        if isinstance(asked, list) and self.most_calls is not None and len(asked) > self.most_calls:
            return _batch_refused(request, asked, self.batch_refusal, self.most_calls)
        answers = await self._answers(calls, faults)
        body = orjson.dumps(answers if isinstance(asked, list) else answers[0])
        if any(fault.truncate for fault in faults.values()):
            return await _half(request, body)
        return web.Response(body=body, content_type="application/json", headers=_BIG if self.big_headers else {})

    async def _note(self, calls: list[Json]) -> dict[int, Fault]:
        """Count the calls and return the fault of each that has one, by its place."""
        faults: dict[int, Fault] = {}
        async with self._changed:
            self.requests += 1
            for place, call in enumerate(calls):
                self.calls[call["method"]] += 1
                self.asked.append((call["method"], list(call.get("params", []))))
                if (fault := self._fault_of(call["method"], faults.values())) is not None:
                    faults[place] = fault
            self._changed.notify_all()
        return faults

    def _fault_of(self, method: str, in_this_request: Collection[Fault]) -> Fault | None:
        fault = next((fault for fault in self._faults if fault.fits(method)), None)
        if fault is None or (not fault.of_one_call and any(not other.of_one_call for other in in_this_request)):
            return None  # what happens to a whole request happens once, however many calls are in it
        if fault.times is not None:
            fault.times -= 1
        return fault

    async def _disturb(self, fault: Fault, request: web.Request) -> web.StreamResponse | None:
        """Do what a fault does to a whole request; None when the request goes on."""
        if fault.hang:
            await self._released.wait()
        if fault.delay_s:
            await asyncio.sleep(fault.delay_s)
        if fault.close:
            _cut(request)
            return web.Response()
        if fault.status is not None or fault.body is not None:
            text = fault.body if fault.body is not None else f"status {fault.status}".encode()
            return web.Response(status=fault.status or 200, body=text, headers=fault.headers)
        return None

    async def _answers(self, calls: list[Json], faults: Mapping[int, Fault]) -> list[Json]:
        now = self._manners()  # whatever changes from here on is for the next request
        answers: dict[int, Json] = {}
        forwarded: list[tuple[int, Json]] = []
        for place, call in enumerate(calls):
            own = _made_up(call, faults.get(place)) or now.own_answer(call)
            if own is not None:
                answers[place] = own
            else:
                forwarded.append((place, now.capped(call)))
        if forwarded:
            found = await self._forward([call for _, call in forwarded])
            for (place, _), answer in zip(forwarded, found, strict=True):
                answers[place] = now.spoilt(calls[place], answer)
        ordered = [answers[place] for place in range(len(calls))]
        return ordered[::-1] if now.reorders_batches else ordered

    def _manners(self) -> _Manners:
        return _Manners(*(getattr(self, name) for name in _Manners._fields))

    async def _forward(self, calls: list[Json]) -> list[Json]:
        numbered = [{**call, "id": number} for number, call in enumerate(calls)]
        headers = {"Content-Type": "application/json"}
        async with self._session.post(self.target, data=orjson.dumps(numbered), headers=headers) as response:
            answers = orjson.loads(await response.read())
        by_id = {answer["id"]: answer for answer in answers}
        return [{**by_id[number], "id": call.get("id")} for number, call in enumerate(calls)]


BATCH_REFUSALS = (
    "object",
    "first_id",
    "each",
    "sentence",
    "nothing",
    "400",
    "403",
    "405",
    "413",
    "429",
    "500",
    "502",
    "503",
    "504",
    "cut",
)
"""How an endpoint says that a batch is too large: public endpoints were seen to do each of these."""

_BIG = {"X-Policy": "p" * 9_000, **{f"X-Trace-{number}": "t" * 20 for number in range(200)}}


def _batch_refused(request: web.Request, calls: list[Json], how: str, most: int) -> web.Response:
    text = f"Batch of more than {most} requests are not allowed"
    match how:
        case "object":
            return _answer(_refusal(None, -32600, text))
        case "first_id":
            refusal = _refusal(calls[0].get("id"), -32600, "batch too large")
            return web.Response(body=orjson.dumps([refusal]), content_type="application/json")
        case "each":
            refusals = [_refusal(call.get("id"), 31, text) for call in calls]
            return web.Response(status=500, body=orjson.dumps(refusals), content_type="application/json")
        case "sentence" | "nothing":
            return web.Response(text=text if how == "sentence" else "")
        case "cut":
            _cut(request)
            return web.Response()
        case _:
            return web.Response(status=int(how), text=text)


_UNKNOWN_BLOCK: Json = {"timestamp": hex(int(time.time())), "logsBloom": "0x" + "0" * 512, "transactions": []}


def _made_up_block(number: int, latest: Json) -> Json:
    return {**latest, "number": hex(number), "hash": f"0x{number:064x}", "parentHash": f"0x{number - 1:064x}"}


def _made_up(call: Json, fault: Fault | None) -> Json | None:
    """Return what a fault answers to one call; None when it has nothing to say about it."""
    if fault is not None and fault.error is not None:
        return _refusal(call.get("id"), *fault.error)
    if fault is not None and fault.result is not _UNSET:
        result = fault.result(call.get("params", [])) if callable(fault.result) else fault.result
        return _result(call.get("id"), result)
    return None


def _height(value: Any) -> int | None:
    """Return the number a block parameter names; None for a tag."""
    return None if value is None or value in _TAGS else 0 if value == "earliest" else int(value, 16)


def _above(number: str | None, cap: int | None) -> bool:
    return cap is not None and number is not None and int(number, 16) > cap


def _result(number: Any, result: Any) -> Json:
    return {"jsonrpc": "2.0", "id": number, "result": result}


def _refusal(number: Any, code: int, message: str) -> Json:
    return {"jsonrpc": "2.0", "id": number, "error": {"code": code, "message": message}}


def _answer(body: Json) -> web.Response:
    return web.Response(body=orjson.dumps(body), content_type="application/json")


def _cut(request: web.Request) -> None:
    if request.transport is not None:
        request.transport.abort()


async def _half(request: web.Request, body: bytes) -> web.StreamResponse:
    """Promise the whole body, send half of it and cut the connection."""
    response = web.StreamResponse(headers={"Content-Type": "application/json", "Content-Length": str(len(body))})
    await response.prepare(request)
    await response.write(body[: len(body) // 2])
    if request.transport is not None:
        request.transport.close()  # unlike `abort`, after what was written
    return response
