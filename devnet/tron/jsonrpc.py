"""The JSON-RPC side of the TronGrid stand-in: the few methods, tags, limits and error texts of the real one."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import orjson
from aiohttp import web

from chains.tron.address import from_hex
from devnet.fault_server import json_response
from devnet.tron.defects import TronDefects
from devnet.tron.ledger import Log, Tx
from devnet.tron.node import TronNode

Json = dict[str, Any]
MOST_VALUES = 1_000
MOST_TOPICS = 4
MOST_CALLS = 100
MOST_RESULTS = 10_000
_SELECTORS = {"70a08231": "balanceOf(address)", "313ce567": "decimals()", "95d89b41": "symbol()"}
INVALID = -32602


class CallRefused(Exception):
    """A JSON-RPC error: code and text."""


class Rejected(Exception):
    """A whole request is refused by what stands before the node: status and body."""


class JsonRpc:
    """Answers for a `TronGrid`, with its ledger and its defects."""

    def __init__(self, grid: TronDefects, node: TronNode) -> None:
        self._grid = grid
        self._node = node
        self._ledger = grid.ledger

    @property
    def _head(self) -> int:
        return max(0, self._grid.top(solid=False) - self._grid.behind)

    @property
    def _finalized(self) -> int:
        return max(0, self._grid.top(solid=True) - self._grid.behind)

    def answer(self, asked: Any) -> web.Response:
        """Answer a call or a batch."""
        try:
            return self._answer(asked)
        except Rejected as exc:
            status, body = exc.args
            raw = body if isinstance(body, bytes) else orjson.dumps(body)
            return web.Response(status=status, body=raw, content_type="application/json")

    def _refuse(self, what: str, code: int, text: str) -> Exception:
        """Return the refusal of a dimension: this endpoint's own, or the usual one."""
        own = self._grid.rpc_refusals.get(what)
        return CallRefused(code, text) if own is None else Rejected(*own)

    def _answer(self, asked: Any) -> web.Response:
        if not isinstance(asked, list):
            return json_response(self._one(asked))
        if not self._grid.batches:
            return json_response(_error(None, -32600, "batch requests are not supported"))
        if self._grid.most_calls is not None and len(asked) > self._grid.most_calls:
            refused = self._refuse("calls", -32005, f"exceed max batch size: {self._grid.most_calls}")
            if isinstance(refused, Rejected):
                raise refused
            return json_response(_error(None, *refused.args))
        if len(asked) > MOST_CALLS:
            return json_response(_error(None, -32005, f"exceed max batch size: {MOST_CALLS}"))
        return json_response([self._one(call) for call in asked])

    def _one(self, call: Json) -> Json:
        try:
            result = self._result(call["method"], call.get("params", []))
        except CallRefused as exc:
            return _error(call.get("id"), *exc.args)
        return {"jsonrpc": "2.0", "id": call.get("id"), "result": result}

    def _result(self, method: str, params: list[Any]) -> Any:
        match method:
            case "eth_chainId":
                return hex(self._grid.claims_chain or self._ledger.chain_id)
            case "eth_blockNumber":
                return hex(self._head)
            case "eth_getBlockByNumber":
                number = self._height(params[0])
                return self._block(number) if number <= self._head and self._grid.holds(number) else None
            case "eth_getLogs":
                return self._logs(params[0])
            case "eth_call":
                return self._call(params[0], params[1])
            case "eth_getBalance":
                self._only_latest(params[1])
                return hex(self._ledger.balance(from_hex(params[0][2:]), None, self._head))
            case _:
                raise CallRefused(-32601, f"the method {method} does not exist/is not available")

    def _height(self, tag: str) -> int:
        tags = {"latest": self._head, "finalized": self._finalized, "earliest": 0}
        if tag in {"pending", "safe"}:
            raise CallRefused(INVALID, f"TAG {tag} not supported")
        if tag in tags:
            return tags[tag]
        if not tag.startswith("0x"):
            raise CallRefused(INVALID, "invalid block number")
        return int(tag, 16)

    def _block(self, number: int) -> Json:
        return {
            "number": hex(number),
            "hash": "0x" + self._ledger.block_id(number),
            "parentHash": "0x" + (self._ledger.block_id(number - 1) if number else "0" * 64),
            "timestamp": hex(self._ledger.times[number] // 1000),
            "transactions": ["0x" + tx.id for tx in self._ledger.by_block.get(number, [])],
        }

    def _logs(self, wanted: Json) -> Any:
        first = self._height(wanted.get("fromBlock", "latest"))
        last = min(self._height(wanted.get("toBlock", "latest")), self._head)
        addresses, topics = _slots(wanted)
        if first > self._height(wanted.get("toBlock", "latest")):
            raise CallRefused(INVALID, "please verify: fromBlock <= toBlock")
        self._check_question(last - first, topics)
        if self._grid.logs_answer is not None and first != last:
            return orjson.loads(self._grid.logs_answer)
        if (addresses or any(topics)) and self._grid.blind_below is not None:
            first = max(first, self._grid.blind_below)
        found = list(self._found(first, min(last, self._head - self._grid.logs_behind), addresses, topics))
        if self._grid.most_logs is not None and len(found) > self._grid.most_logs:
            raise self._refuse("logs", -32005, f"query returned more than {self._grid.most_logs} results")
        if len(found) > MOST_RESULTS:
            raise CallRefused(-32005, f"query returned more than {MOST_RESULTS} results")
        return found

    def _check_question(self, blocks: int, topics: list[set[str]]) -> None:
        if blocks > self._grid.most_blocks:
            raise self._refuse("blocks", INVALID, f"exceed max block range: {self._grid.most_blocks}")
        if self._grid.most_topics is not None and any(len(slot) > self._grid.most_topics for slot in topics):
            raise self._refuse("topics", INVALID, f"exceed max sub topics: {self._grid.most_topics}")

    def _found(self, first: int, last: int, addresses: set[str], topics: list[set[str]]) -> Iterator[Json]:
        for number in {tx.block: None for tx in self._ledger.between(first, last)}:
            place = 0
            for at, tx in enumerate(self._ledger.by_block[number]):
                for log in tx.logs:
                    reported = tx.id not in self._grid.unlogged and self._grid.tells(tx.block)
                    if reported and _fits(log, addresses, topics):
                        yield self._row(tx, log, at, place)
                    place += 1

    def _row(self, tx: Tx, log: Log, at: int, place: int) -> Json:
        return {
            "address": "0x" + log.address,
            "topics": ["0x" + text for text in log.topics],
            "data": "0x" + log.data,
            "blockNumber": hex(tx.block),
            "blockHash": "0x" + self._ledger.block_id(tx.block),
            "transactionHash": "0x" + tx.id,
            "transactionIndex": hex(at),
            "logIndex": hex(place + self._grid.renumbers),
            "removed": False,
        } | self._grid.spoilt_logs

    def _call(self, what: Json, tag: str) -> str:
        self._only_latest(tag)
        token, data = from_hex(what["to"][2:]), what["data"][2:]
        if token not in self._ledger.tokens:
            raise CallRefused(-32600, "Smart contract is not exist.")
        result = self._node.call(token, _SELECTORS.get(data[:8], ""), data[8:], at=self._head)
        if result is None:
            raise CallRefused(-32000, "REVERT opcode executed")
        return "0x" + result

    @staticmethod
    def _only_latest(tag: str) -> None:
        if tag != "latest":
            raise CallRefused(INVALID, "QUANTITY not supported, just support TAG as latest")


def _slots(wanted: Json) -> tuple[set[str], list[set[str]]]:
    """Return the contracts and, for every place, the topics that are wanted; empty is any."""
    given = wanted.get("address") or []
    addresses = {text[2:].lower() for text in ([given] if isinstance(given, str) else given)}
    topics = [
        set() if slot is None else {text[2:].lower() for text in ([slot] if isinstance(slot, str) else slot)}
        for slot in wanted.get("topics", [])
    ]
    if any(len(text) != 40 for text in addresses):
        raise CallRefused(INVALID, "invalid address: invalid address hash value")
    if len(topics) > MOST_TOPICS:
        raise CallRefused(INVALID, f"topics size should be <= {MOST_TOPICS}")
    if len(addresses) > MOST_VALUES or any(len(slot) > MOST_VALUES for slot in topics):
        raise CallRefused(INVALID, f"exceed max sub topics: {MOST_VALUES}")
    return addresses, topics


def _fits(log: Log, addresses: set[str], topics: list[set[str]]) -> bool:
    if addresses and log.address not in addresses:
        return False
    return len(log.topics) >= len(topics) and all(
        not slot or text in slot for slot, text in zip(topics, log.topics, strict=False)
    )


def _error(number: Any, code: int, message: str) -> Json:
    return {"jsonrpc": "2.0", "id": number, "error": {"code": code, "message": message, "data": "{}"}}
