"""The lasting defects of a JSON-RPC endpoint: what it refuses, leaves out, repeats, renumbers or makes up."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Any, NamedTuple

Json = dict[str, Any]
_TAGS = {"latest", "pending", "safe", "finalized"}
_BLOCK_PARAMETER = {"eth_call": 1, "eth_getBalance": 1, "eth_getCode": 1, "eth_getTransactionCount": 1}
_HEIGHT_OF = {
    "eth_getBlockByNumber": "number",
    "eth_getBlockByHash": "number",
    "eth_getTransactionReceipt": "blockNumber",
    "eth_getTransactionByHash": "blockNumber",
}


class Defects(NamedTuple):
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
            return rpc_error(call.get("id"), -32601, f"the method {method} does not exist/is not available")
        if method == "eth_chainId" and self.chain_id is not None:
            return rpc_result(call.get("id"), hex(self.chain_id))
        if method == "eth_getBlockByNumber" and params[0] in {"finalized", "safe"} and not self.knows_finalized:
            return rpc_error(call.get("id"), -39001, "Unknown block")
        if method == "eth_getTransactionReceipt" and self.without_receipt and self.without_receipt(params[0]):
            return rpc_result(call.get("id"), None)
        if method == "eth_getLogs":
            return self._log_answer(call)
        return None

    def _log_answer(self, call: Json) -> Json | None:
        wanted = call["params"][0]
        if self.needs_address and not wanted.get("address"):
            return rpc_error(call.get("id"), -32701, "Please specify an address in your request")
        slots = [slot for slot in wanted.get("topics", []) if isinstance(slot, list)]
        if self.most_topics is not None and any(len(slot) > self.most_topics for slot in slots):
            return rpc_error(call.get("id"), -32602, "exceed max addresses or topics per search position")
        if "blockHash" in wanted:
            return None
        first, last = (_height(wanted.get(name)) for name in ("fromBlock", "toBlock"))
        too_long = first is not None and last is not None and self.max_range is not None
        if too_long and last - first + 1 > (self.max_range or 0):  # type: ignore[operator]  # `too_long` says so
            code, text = self.range_error
            return rpc_error(call.get("id"), code, text.format(limit=self.max_range))
        if self.stale_at is not None and first is not None and first > self.stale_at:
            return rpc_result(call.get("id"), [])  # as real nodes do: no error
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

    def answered(self, call: Json, answer: Json) -> Json:
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
                return rpc_error(call.get("id"), -32005, f"query returned more than {self.most_rows} results")
            case "eth_getLogs":
                result = self._answered_logs(result)
            case "eth_blockNumber":
                result = hex(min(int(result, 16), self.stale_at or int(result, 16)) + self.lies_ahead)
            case "eth_getBlockByNumber" if call["params"][0] == "latest" and self.lies_ahead:
                result = _made_up_block(int(result["number"], 16) + self.lies_ahead, result)
            case "eth_getTransactionReceipt":
                result = {**result, "logs": [self._shown(log) for log in result["logs"]]}
            case "eth_getBlockReceipts":
                result = [{**each, "logs": [self._shown(log) for log in each["logs"]]} for each in result]
            case _:
                pass  # as it is
        return {**answer, "result": result}

    def _shown(self, log: Json) -> Json:
        """Return a log as this node would show it: numbered its own way, with fields nobody asked for."""
        shown = {**log, "logIndex": hex(int(log["logIndex"], 16) + self.renumbers)} if self.renumbers else log
        if not self.odd_fields:
            return shown
        return {**shown, "blockTimestamp": 1_751_284_607, "l1BlockNumber": None, "extra": {"nested": [1, "two"]}}

    def _answered_logs(self, logs: list[Json]) -> list[Json]:
        kept = [
            log
            for log in logs
            if not _above(log["blockNumber"], self.stale_at) and not (self.loses and self.loses(log))
        ]
        if self.repeats_logs:
            kept = [log for log in kept for _ in range(2)]
        kept = [self._shown(log) for log in kept]
        return kept[::-1] if self.reorders_logs else kept


_UNKNOWN_BLOCK: Json = {"timestamp": hex(int(time.time())), "logsBloom": "0x" + "0" * 512, "transactions": []}


def _made_up_block(number: int, latest: Json) -> Json:
    return {**latest, "number": hex(number), "hash": f"0x{number:064x}", "parentHash": f"0x{number - 1:064x}"}


def _height(value: Any) -> int | None:
    """Return the number a block parameter names; None for a tag."""
    return None if value is None or value in _TAGS else 0 if value == "earliest" else int(value, 16)


def _above(number: str | None, cap: int | None) -> bool:
    return cap is not None and number is not None and int(number, 16) > cap


def rpc_result(number: Any, result: Any) -> Json:
    return {"jsonrpc": "2.0", "id": number, "result": result}


def rpc_error(number: Any, code: int, message: str) -> Json:
    return {"jsonrpc": "2.0", "id": number, "error": {"code": code, "message": message}}
