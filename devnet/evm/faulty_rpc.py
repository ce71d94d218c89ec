"""A reverse proxy in front of a JSON-RPC node that misbehaves the way real endpoints do, on request."""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping
from contextlib import AsyncExitStack
from typing import Any

import aiohttp
import orjson
from aiohttp import web

from devnet.evm.batch_refusals import refuse_batch
from devnet.evm.rpc_defects import Defects, Json, rpc_error, rpc_result
from devnet.fault_server import Fault, FaultServer, json_response

LARGE_HEADERS = {"X-Policy": "p" * 9_000, **{f"X-Trace-{number}": "t" * 20 for number in range(200)}}


class FaultyRpc(FaultServer):
    """
    One endpoint. Its attributes are its lasting defects, `fail` adds passing ones, `heal` ends all.

    Open as a context manager; faults may be changed at any time. What a request is answered with
    follows from the defects at one moment, when the endpoint begins to answer it.
    """

    def __init__(self, target: str) -> None:
        super().__init__()
        self.target = target
        self.requests = 0  # HTTP requests; a batch is one
        self.asked: list[tuple[str, list[Any]]] = []  # method and parameters, in order
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
        self.clear_faults()

    async def _opened(self, stack: AsyncExitStack) -> None:
        self._session = await stack.enter_async_context(aiohttp.ClientSession())

    async def _serve(self, request: web.Request) -> web.StreamResponse:
        asked = orjson.loads(await request.read())
        calls: list[Json] = asked if isinstance(asked, list) else [asked]
        faults = await self._counted(calls)
        for fault in (fault for fault in faults.values() if not fault.of_one_call):
            if (answer := await self._disturb(fault, request)) is not None:
                return answer
        if isinstance(asked, list) and not self.batches:
            return json_response(rpc_error(None, -32600, "batch requests are not supported"))
        if isinstance(asked, list) and self.most_calls is not None and len(asked) > self.most_calls:
            return refuse_batch(request, asked, self.batch_refusal, self.most_calls)
        answers = await self._answers(calls, faults)
        body = orjson.dumps(answers if isinstance(asked, list) else answers[0])
        if any(fault.truncate for fault in faults.values()):
            return await _half(request, body)
        return web.Response(
            body=body, content_type="application/json", headers=LARGE_HEADERS if self.big_headers else {}
        )

    async def _counted(self, calls: list[Json]) -> dict[int, Fault]:
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
        fault = self._fitting([method])
        if fault is None or (not fault.of_one_call and any(not other.of_one_call for other in in_this_request)):
            return None  # what happens to a whole request happens once, however many calls are in it
        fault.use()
        return fault

    async def _answers(self, calls: list[Json], faults: Mapping[int, Fault]) -> list[Json]:
        now = self._defects()  # whatever changes from here on is for the next request
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
                answers[place] = now.answered(calls[place], answer)
        ordered = [answers[place] for place in range(len(calls))]
        return ordered[::-1] if now.reorders_batches else ordered

    def _defects(self) -> Defects:
        return Defects(*(getattr(self, name) for name in Defects._fields))

    async def _forward(self, calls: list[Json]) -> list[Json]:
        numbered = [{**call, "id": number} for number, call in enumerate(calls)]
        headers = {"Content-Type": "application/json"}
        async with self._session.post(self.target, data=orjson.dumps(numbered), headers=headers) as response:
            answers = orjson.loads(await response.read())
        by_id = {answer["id"]: answer for answer in answers}
        return [{**by_id[number], "id": call.get("id")} for number, call in enumerate(calls)]


def _made_up(call: Json, fault: Fault | None) -> Json | None:
    """Return what a fault answers to one call; None when it has nothing to say about it."""
    if fault is not None and fault.error is not None:
        return rpc_error(call.get("id"), *fault.error)
    if fault is not None and fault.has_result:
        result = fault.result(call.get("params", [])) if callable(fault.result) else fault.result
        return rpc_result(call.get("id"), result)
    return None


async def _half(request: web.Request, body: bytes) -> web.StreamResponse:
    """Promise the whole body, send half of it and cut the connection."""
    response = web.StreamResponse(headers={"Content-Type": "application/json", "Content-Length": str(len(body))})
    await response.prepare(request)
    await response.write(body[: len(body) // 2])
    if request.transport is not None:
        request.transport.close()  # unlike `abort`, after what was written
    return response
