"""A small JSON-RPC node in this process, with faults that can be switched on, and factories of chain facts."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from contextlib import AsyncExitStack
from dataclasses import dataclass, field
from typing import Any

import orjson
from aiohttp import web

from chains.evm.adapter import EvmAdapter, open_adapter
from chains.evm.event_keys import first_key, nth_key
from chains.evm.events import TRANSFER_TOPIC
from chains.evm.fee_proxy import EVENT_TOPIC
from chains.types import Transfer
from config.catalog import Chain, Finality

CHAIN_ID = 97
PROXY = "0x0DfbEe143b42B41eFC5A6F87bFD1fFC78c2f0aC9"
TOKEN = "0x" + "70" * 20
SHOP = "0x" + "5e" * 20
BUYER = "0x" + "b0" * 20
ZERO = "0x" + "0" * 40
EMPTY_ROOT = "0x56e81f171bcc55a6ff8345e692c0f86e5b48e01b996cadc001622fb5e363b421"
REFERENCE = "0x" + "ce" * 32


def word(value: int | str) -> str:
    """Return 64 hex digits of a number or an address."""
    return f"{value:064x}" if isinstance(value, int) else value[2:].rjust(64, "0")


def hash_of(number: int, branch: str = "a") -> str:
    return "0x" + f"{number:08x}".rjust(63, "0") + branch


def tx_of(number: int) -> str:
    return "0x" + f"{number:064x}"


def event_log(**changes: Any) -> dict[str, Any]:
    """Return one proxy event as a node sends it."""
    facts = {
        "block": 100,
        "branch": "a",
        "tx": tx_of(7),
        "index": 5,
        "token": TOKEN,
        "to": SHOP,
        "amount": 1000,
        "reference": REFERENCE,
        "fee": 0,
        "fee_to": ZERO,
    } | changes
    return {
        "address": PROXY.lower(),
        "topics": [EVENT_TOPIC, facts["reference"]],
        "data": "0x"
        + "".join(map(word, (facts["token"], facts["to"], facts["amount"], facts["fee"], facts["fee_to"]))),
        "blockNumber": hex(facts["block"]),
        "blockHash": hash_of(facts["block"], facts["branch"]),
        "transactionHash": facts["tx"],
        "transactionIndex": "0x0",
        "logIndex": hex(facts["index"]),
        "removed": False,
    }


def token_log(**changes: Any) -> dict[str, Any]:
    """Return one ERC-20 `Transfer` event as a node sends it."""
    facts = {
        "block": 100,
        "tx": tx_of(7),
        "index": 4,
        "token": TOKEN,
        "source": BUYER,
        "to": SHOP,
        "value": 1000,
    } | changes
    return {
        "address": facts["token"],
        "topics": [TRANSFER_TOPIC, "0x" + word(facts["source"]), "0x" + word(facts["to"])],
        "data": "0x" + word(facts["value"]),
        "blockNumber": hex(facts["block"]),
        "blockHash": hash_of(facts["block"]),
        "transactionHash": facts["tx"],
        "transactionIndex": "0x0",
        "logIndex": hex(facts["index"]),
        "removed": False,
    }


def receipt_of(*logs: dict[str, Any], tx: str = tx_of(7), block: int = 100, status: int = 1) -> dict[str, Any]:
    return {
        "transactionHash": tx,
        "blockNumber": hex(block),
        "blockHash": hash_of(block),
        "from": "0x" + "fe" * 20,
        "status": hex(status),
        "logs": list(logs),
    }


def key_of(log: dict[str, Any], place: int = 0) -> str:
    """Return the event key of a log, the so-manieth of its transaction that says just this."""
    return nth_key(first_key(log["address"], log["topics"], log["data"]), place)


def a_transfer(**changes: Any) -> Transfer:
    """Return the transfer that `event_log` decodes to."""
    plain = Transfer(
        chain_id=CHAIN_ID,
        tx_hash=tx_of(7),
        event_key="",
        log_index=5,
        block_number=100,
        block_hash=hash_of(100),
        block_time=None,
        token=TOKEN,
        destination=SHOP,
        amount=1000,
        reference=REFERENCE,
        fee_address=ZERO,
    )._replace(**changes)
    log = event_log(
        token=plain.token,
        to=plain.destination,
        amount=plain.amount,
        reference=plain.reference,
        fee=plain.fee_amount,
        fee_to=plain.fee_address,
    )
    return plain._replace(event_key=plain.event_key or key_of(log))


@dataclass
class FakeNode:
    """One node. The attributes are its state and its faults."""

    chain_id: int = CHAIN_ID
    head: int = 200
    finalized: int | None = 150
    branch_from: dict[int, str] = field(default_factory=dict)  # block: branch from there on
    logs: list[dict[str, Any]] = field(default_factory=list)
    receipts: dict[str, dict[str, Any]] = field(default_factory=dict)
    replies: dict[str, Any] = field(default_factory=dict)  # method: result, or an Exception with (code, message)
    max_range: int | None = None
    range_message: str = "exceed maximum block range: {limit}"
    filters: bool = False  # whether `eth_getLogs` looks at address and topics
    needs_address: str | None = None  # the refusal of logs without `address`
    most_topics: int | None = None
    most_addresses: int | None = None
    most_rows: int | None = None
    topics_message: str = "exceed max addresses or topics per search position"
    rows_message: str = "query returned more than {limit} results"
    unserved: frozenset[str] = frozenset()
    lists_transactions: bool = True  # in its blocks
    batches: bool = True
    raw: Callable[[bytes], web.Response] | None = None  # answers instead of the node
    hang: asyncio.Event | None = None
    picky: Callable[[web.Request], Awaitable[web.StreamResponse]] | None = None  # takes requests instead of the node
    url: str = ""
    posts: list[Any] = field(default_factory=list)  # bodies received

    def calls(self, method: str) -> list[list[Any]]:
        """Return the parameters of every call of a method, in order."""
        flat = [call for post in self.posts for call in (post if isinstance(post, list) else [post])]
        return [call["params"] for call in flat if call["method"] == method]

    async def serve(self, request: web.Request) -> web.Response:
        body = await request.read()
        question = orjson.loads(body)
        self.posts.append(question)
        if self.hang is not None:
            await self.hang.wait()
        if self.raw is not None:
            return self.raw(body)
        if not isinstance(question, list):
            return _json(self._answer(question))
        if not self.batches:
            return _json({"jsonrpc": "2.0", "id": None, "error": {"code": -32600, "message": "batch not supported"}})
        return _json([self._answer(call) for call in question][::-1])

    def _answer(self, call: dict[str, Any]) -> dict[str, Any]:
        frame = {"jsonrpc": "2.0", "id": call["id"]}
        try:
            return frame | {"result": self._result(call["method"], call["params"])}
        except LookupError as exc:
            code, message = exc.args
            return frame | {"error": {"code": code, "message": message}}

    def _result(self, method: str, params: list[Any]) -> Any:
        if method in self.replies:
            reply = self.replies[method]
            if isinstance(reply, LookupError):
                raise reply
            return reply(params) if callable(reply) else reply
        served = {
            "eth_chainId": lambda: hex(self.chain_id),
            "eth_blockNumber": lambda: hex(self.head),
            "eth_getBlockByNumber": lambda: self._block(params[0]),
            "eth_getLogs": lambda: self._logs(params[0]),
            "eth_getTransactionReceipt": lambda: self.receipts.get(params[0]),
            "eth_getCode": lambda: "0x60",
            "eth_getBlockReceipts": lambda: [self.receipts[tx] for tx in self._transactions(int(params[0], 16))],
        }
        if method not in served or method in self.unserved:
            raise LookupError(-32601, f"the method {method} does not exist")
        return served[method]()

    def _block(self, tag: str) -> dict[str, Any] | None:
        number = {"latest": self.head, "finalized": self.finalized}.get(tag, None if tag[:2] != "0x" else int(tag, 16))
        if number is None or number > self.head:
            return None
        header = {"number": hex(number), "hash": self.hash(number), "timestamp": hex(1_700_000_000 + number)}
        listed = self._transactions(number) if self.filters and self.lists_transactions else []
        root = hash_of(number) if self._transactions(number) else EMPTY_ROOT
        return header | ({"transactions": listed, "transactionsRoot": root} if self.filters else {})

    def _transactions(self, number: int) -> list[str]:
        return [tx for tx, receipt in self.receipts.items() if int(receipt["blockNumber"], 16) == number]

    def fill(self, *logs: dict[str, Any]) -> None:
        """Put logs on the chain, with the receipts that hold them."""
        self.logs += logs
        for log in logs:
            tx = log["transactionHash"]
            held = [] if tx not in self.receipts else self.receipts[tx]["logs"]
            self.receipts[tx] = receipt_of(*held, log, tx=tx, block=int(log["blockNumber"], 16))

    def hash(self, number: int) -> str:
        branches = [branch for start, branch in sorted(self.branch_from.items()) if start <= number]
        return hash_of(number, branches[-1] if branches else "a")

    def _logs(self, wanted: dict[str, Any]) -> list[dict[str, Any]]:
        if "blockHash" in wanted:
            return [log for log in self.logs if log["blockHash"] == wanted["blockHash"]]
        first, last = int(wanted["fromBlock"], 16), int(wanted["toBlock"], 16)
        self._check_shape(wanted)
        if self.max_range is not None and last - first + 1 > self.max_range:
            raise LookupError(-32005, self.range_message.format(limit=self.max_range))
        found = [log for log in self.logs if first <= int(log["blockNumber"], 16) <= min(last, self.head)]
        if self.filters:
            found = [log for log in found if _fits(log, wanted)]
        if self.most_rows is not None and len(found) > self.most_rows:
            raise LookupError(-32005, self.rows_message.format(limit=self.most_rows))
        return found

    def _check_shape(self, wanted: dict[str, Any]) -> None:
        address = wanted.get("address")
        if self.needs_address is not None and not address:
            raise LookupError(-32701, self.needs_address)
        if self.most_addresses is not None and isinstance(address, list) and len(address) > self.most_addresses:
            raise LookupError(-32602, "specify less number of addresses")
        slots = [slot for slot in wanted["topics"] if isinstance(slot, list)]
        if self.most_topics is not None and any(len(slot) > self.most_topics for slot in slots):
            raise LookupError(-32602, self.topics_message)


def _fits(log: dict[str, Any], wanted: dict[str, Any]) -> bool:
    address = wanted.get("address")
    listed = [address] if isinstance(address, str) else address
    if listed is not None and log["address"].lower() not in {one.lower() for one in listed}:
        return False
    for place, slot in enumerate(wanted["topics"]):
        values = [slot] if isinstance(slot, str) else slot
        if values is not None and (place >= len(log["topics"]) or log["topics"][place] not in values):
            return False
    return True


def _json(value: Any) -> web.Response:
    return web.Response(body=orjson.dumps(value), content_type="application/json")


class Calls:
    """Telemetry that remembers."""

    def __init__(self) -> None:
        self.seen: list[tuple[str, str, str | None]] = []

    def rpc_call(self, endpoint: str, method: str, seconds: float, error: str | None) -> None:
        assert seconds >= 0
        self.seen.append((endpoint, method, error))


class Now:
    """A monotonic clock that moves when told."""

    def __init__(self) -> None:
        self.seconds = 1000.0

    def __call__(self) -> float:
        return self.seconds


@dataclass
class World:
    """Nodes to talk to, and adapters that talk to them."""

    stack: AsyncExitStack
    now: Now = field(default_factory=Now)
    calls: Calls = field(default_factory=Calls)

    async def node(self, **state: Any) -> FakeNode:
        node = FakeNode(**state)
        app = web.Application(client_max_size=2**22)

        async def taken(request: web.Request) -> web.StreamResponse:
            return await (node.picky or node.serve)(request)

        app.router.add_post("/{key:.*}", taken)
        runner = web.AppRunner(app, shutdown_timeout=0.1)
        await runner.setup()
        self.stack.push_async_callback(runner.cleanup)
        site = web.TCPSite(runner, "127.0.0.1", 0)
        await site.start()
        host, port = runner.addresses[0][:2]
        node.url = f"http://{host}:{port}/v3/secretkey1234"
        return node

    async def adapter(self, *nodes: FakeNode, timeout_s: float = 5, **options: Any) -> EvmAdapter:
        chain = Chain(
            chain_id=CHAIN_ID,
            name="Test",
            proxy_address=PROXY,
            confirmation_threshold=5,
            rpc_urls=tuple(node.url for node in nodes),
            finality=options.pop("finality", Finality.DEPTH),
            max_log_range=options.pop("max_log_range", 1000),  # all of a small chain in one page
            **options,
        )
        opened = open_adapter(chain, timeout_s=timeout_s, telemetry=self.calls, clock=self.now)
        return await self.stack.enter_async_context(opened)
