"""
An EVM node on loopback that shows exactly what it is told to: single logs, receipts and blocks, right or wrong.

For faults no proxy in front of a real node can make, such as two nodes that number one log differently.
"""

from __future__ import annotations

import time
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import asynccontextmanager
from typing import Any

import orjson
from aiohttp import web
from eth_abi.abi import encode

from addresses.keccak import keccak
from chains.evm.events import TRANSFER_TOPIC
from chains.evm.fee_proxy import EVENT_TOPIC
from devnet.evm.anvil import CHAIN_ID, PROXY
from devnet.fault_server import MAX_BODY, serving

BUYER = "0x" + "b0" * 20
START = 1_000  # the head at first
BLOCK_S = 1
EMPTY_BLOOM = "0x" + "0" * 512
ZERO_HASH = "0x" + "0" * 64

Json = dict[str, Any]
Answer = tuple[str, Any]  # "result" or "error", and its value
Override = Callable[[list[Any]], Answer | None]


def block_hash(number: int, branch: str = "") -> str:
    return "0x" + keccak(f"block {number} {branch}".encode()).hex()


def tx_hash(name: str) -> str:
    return "0x" + keccak(f"transaction {name}".encode()).hex()


def word(value: str | int) -> str:
    """Return 64 hex digits of an address or a number."""
    return f"{value:064x}" if isinstance(value, int) else value[2:].lower().rjust(64, "0")


class ScriptedNode:
    """
    One node. Logs and receipts are what a test puts in; `overrides` answers a method instead, where it answers.

    `finalized` None is the head. `fork_from` is the first block that differs from other nodes' chain.
    """

    def __init__(
        self,
        tokens: Sequence[tuple[str, str, int]],
        *,
        chain_id: int = CHAIN_ID,
        head: int = START,
        now: int | None = None,
    ) -> None:
        """Show a chain whose newest block was made `now` (unix seconds), else at this moment."""
        self.chain_id = chain_id
        self.head = head
        self.finalized: int | None = None
        self.fork_from: int | None = None
        self.logs: list[Json] = []
        self.garbled: dict[str, Json] = {}  # what the logs of a transaction look like instead, in their block alone
        self.receipts: dict[str, Any] = {}
        self.overrides: dict[str, Override] = {}
        self.down = False
        self.gateway: Callable[[Any], web.Response | None] | None = None  # answers a whole request, where it answers
        self.calls: list[tuple[str, list[Any]]] = []
        self.url = ""
        self._tokens = {address.lower(): (symbol, decimals) for address, symbol, decimals in tokens}
        self._born = (int(time.time()) if now is None else now) - head * BLOCK_S

    def hash(self, number: int) -> str:
        forked = self.fork_from is not None and number >= self.fork_from
        return block_hash(number, "fork" if forked else "")

    def block(self, number: int | None) -> Json | None:
        if number is None or not 0 <= number <= self.head:
            return None
        return {
            "number": hex(number),
            "hash": self.hash(number),
            "parentHash": self.hash(number - 1) if number else ZERO_HASH,
            "timestamp": hex(self._born + number * BLOCK_S),
            "logsBloom": EMPTY_BLOOM,
            "transactions": [],
        }

    def transfer(
        self, token: str, to: str, amount: int, *, tx: str, block: int, index: int = 0, source: str = BUYER
    ) -> Json:
        """Return a token's own log, as this node shows it."""
        topics = [TRANSFER_TOPIC, "0x" + word(source), "0x" + word(to)]
        return self._log(token.lower(), topics, "0x" + word(amount), tx, block, index)

    def event(self, token: str, to: str, amount: int, reference: str, *, tx: str, block: int, index: int = 1) -> Json:
        """Return the proxy's log of a payment without a fee; `reference` is 0x and 16 hex digits."""
        topics = [EVENT_TOPIC, "0x" + keccak(bytes.fromhex(reference[2:])).hex()]
        data = "0x" + word(token) + word(to) + word(amount) + word(0) + word(0)
        return self._log(PROXY.lower(), topics, data, tx, block, index)

    def _log(self, address: str, topics: list[str], data: str, tx: str, block: int, index: int) -> Json:
        return {
            "address": address,
            "topics": topics,
            "data": data,
            "blockNumber": hex(block),
            "blockHash": self.hash(block),
            "transactionHash": tx,
            "transactionIndex": "0x0",
            "logIndex": hex(index),
            "removed": False,
        }

    def include(self, *logs: Json, receipt: bool = True) -> None:
        """Show the logs of one transaction, and its receipt."""
        self.logs += logs
        first = logs[0]
        if receipt:
            self.receipts[first["transactionHash"]] = {
                "transactionHash": first["transactionHash"],
                "blockNumber": first["blockNumber"],
                "blockHash": first["blockHash"],
                "from": BUYER,
                "to": PROXY.lower(),
                "status": "0x1",
                "type": "0x2",
                "logs": list(logs),
            }

    def pay(self, token: str, to: str, amount: int, *, tx: str, index: int = 0, receipt: bool = True) -> Json:
        """Put a plain transfer into the block above the head, and let the head follow."""
        self.head += 1
        log = self.transfer(token, to, amount, tx=tx, block=self.head, index=index)
        self.include(log, receipt=receipt)
        return log

    def answer(self, call: Json) -> Json:
        method, params = call["method"], list(call.get("params") or [])
        self.calls.append((method, params))
        override = self.overrides.get(method)
        found = override(params) if override is not None else None
        kind, value = found if found is not None else self._usual(method, params)
        return {"jsonrpc": "2.0", "id": call.get("id"), kind: value}

    def _usual(self, method: str, params: list[Any]) -> Answer:  # noqa: PLR0911 - one line a method
        match method:
            case "eth_chainId":
                return "result", hex(self.chain_id)
            case "eth_blockNumber":
                return "result", hex(self.head)
            case "eth_getBlockByNumber":
                return "result", self.block(self.height(params[0]))
            case "eth_getLogs":
                return "result", self.matching(params[0])
            case "eth_getTransactionReceipt":
                return "result", self.receipts.get(params[0])
            case "eth_getCode":
                known = {PROXY.lower(), *self._tokens}
                return "result", "0x6080" if params[0].lower() in known else "0x"
            case "eth_getBalance":
                return "result", "0x0"
            case "eth_call":
                return "result", self._call(params[0])
            case _:
                return "error", {"code": -32601, "message": f"the method {method} does not exist/is not available"}

    def height(self, which: str) -> int | None:
        if which == "finalized":
            return self.head if self.finalized is None else self.finalized
        return {"latest": self.head, "earliest": 0}.get(which, int(which, 16) if which[:2] == "0x" else None)

    def matching(self, wanted: Json) -> list[Json]:
        """Return the logs a question asks for, as this node shows them."""
        if "blockHash" in wanted:
            seen = [log for log in self.logs if log["blockHash"] == wanted["blockHash"]]
        else:
            first, last = self.height(wanted["fromBlock"]) or 0, self.height(wanted["toBlock"]) or 0
            seen = [log for log in self.logs if first <= int(log["blockNumber"], 16) <= min(last, self.head)]
        return [log | self.garbled.get(log["transactionHash"], {}) for log in seen if _fits(log, wanted)]

    def _call(self, call: Json) -> str:
        known = self._tokens.get(str(call["to"]).lower())
        data = str(call.get("data") or call.get("input"))
        if known is None:
            return "0x"
        if data == "0x" + keccak(b"decimals()")[:4].hex():
            return "0x" + word(known[1])
        if data == "0x" + keccak(b"symbol()")[:4].hex():
            return "0x" + encode(["string"], [known[0]]).hex()
        return "0x" + word(0)


def _fits(log: Json, wanted: Json) -> bool:
    """Say whether a log is one that was asked for."""
    address = wanted.get("address")
    if address is not None:
        listed = [address] if isinstance(address, str) else address
        if log["address"] not in {each.lower() for each in listed}:
            return False
    for place, topic in enumerate(wanted.get("topics") or []):
        listed = [topic] if isinstance(topic, str) else topic
        if listed is not None and (place >= len(log["topics"]) or log["topics"][place] not in listed):
            return False
    return True


@asynccontextmanager
async def serve(node: ScriptedNode) -> AsyncIterator[str]:
    """Serve a node on loopback; give its URL."""

    async def handle(request: web.Request) -> web.Response:
        asked = orjson.loads(await request.read())
        if node.down:
            return web.Response(status=500)
        if node.gateway is not None and (answer := node.gateway(asked)) is not None:
            return answer
        body = [node.answer(call) for call in asked] if isinstance(asked, list) else node.answer(asked)
        return web.Response(body=orjson.dumps(body), content_type="application/json")

    app = web.Application(client_max_size=MAX_BODY)
    app.router.add_post("/{path:.*}", handle)
    async with serving(app) as node.url:
        yield node.url
