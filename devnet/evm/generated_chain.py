"""A chain of long block ranges full of proxy events: every hash, reference and amount follows from its spec alone."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import orjson
from eth_abi.abi import encode

from addresses.keccak import keccak
from chains.evm.events import TRANSFER_TOPIC
from chains.evm.fee_proxy import EVENT_TOPIC
from devnet.evm.anvil import CHAIN_ID, PROXY

TOKEN = "0x109F54Dab34426D5477986b0460aE5dFBA65f022"  # noqa: S105 - what every event pays with
SHOP = "0x" + "5e" * 20  # whom the events of waiting references pay
AMOUNT = 1_000_000_000_000_000_000  # what they pay
BUYER = "0x" + "b0" * 20
TAIL = 10  # empty blocks above the newest event
GENESIS_TIME = 1_790_000_000
BLOCK_S = 3
SHOPS = 500  # whom all other events pay
EMPTY_BLOOM = "0x" + "0" * 512

_CALLS = {  # what the token says of itself
    keccak(b"decimals()")[:4].hex(): encode(["uint8"], [18]),
    keccak(b"symbol()")[:4].hex(): encode(["string"], ["USDT"]),
}
_LOG = (
    b'{"address":"%b","topics":["%b","0x%b"],"data":"0x%b","blockNumber":"0x%x","transactionHash":"0x%b",'
    b'"transactionIndex":"0x%x","blockHash":"%b","logIndex":"0x%x","blockTimestamp":"0x%x","removed":false}'
)


class RpcError(Exception):
    """A call the node answers with an error."""

    def __init__(self, code: int, message: str) -> None:
        super().__init__(message)
        self.code = code


@dataclass(frozen=True, slots=True)
class ChainSpec:
    """What happened on the chain."""

    logs: int = 100_000
    blocks: int = 5_000  # the logs are spread over blocks 1 to this one
    references: Sequence[str] = ()  # 0x + 16 hex; paid with AMOUNT of TOKEN to SHOP, spread over all logs
    chain_id: int = CHAIN_ID
    proxy: str = PROXY
    max_rows: int | None = None  # more than that in one eth_getLogs is refused
    max_range: int | None = None
    most_topics: int | None = None  # values in one position
    most_calls: int | None = None  # in one batch
    needs_address: bool = False  # logs without `address` are refused
    unserved: frozenset[str] = frozenset()  # methods it does not know

    def block_of(self, log: int) -> int:
        return 1 + log * self.blocks // self.logs

    def first_log(self, block: int) -> int:
        """Return the first log at or above a block."""
        return min(self.logs, max(0, -(-(block - 1) * self.logs // self.blocks)))

    def paid(self, log: int) -> int | None:
        """Return which of `references` a log pays; None for somebody else's."""
        stride = max(1, self.logs // max(1, len(self.references)))
        place, rest = divmod(log, stride)
        return place if rest == 0 and place < len(self.references) else None


def default_references(count: int) -> list[str]:
    """Return so many references nobody else uses."""
    return ["0x" + _digest("waiting", number)[:16] for number in range(count)]


def block_hash(number: int) -> str:
    return "0x" + _digest("block", number)


def tx_hash(log: int) -> str:
    return "0x" + _digest("transaction", log)


def block_time(number: int) -> int:
    return GENESIS_TIME + number * BLOCK_S


class GeneratedChain:
    """Answers calls. `head` may be moved; nothing above it is shown."""

    def __init__(self, spec: ChainSpec) -> None:
        self.spec = spec
        self.head = spec.blocks + TAIL
        self._log_of_tx = {tx_hash(log): log for log in range(spec.logs)}
        self._block_of_hash = {block_hash(number): number for number in range(self.head + 1)}
        self._logs = [b""] * (self.head + 1)  # by block, joined by commas
        self._logs_of_topic: dict[str, list[int]] = {}
        self._methods: dict[str, Callable[..., bytes]] = {
            "eth_blockNumber": self._block_number,
            "eth_call": self._call,
            "eth_chainId": self._chain_id,
            "eth_getBlockByHash": self._block_by_hash,
            "eth_getBlockByNumber": self._block_by_number,
            "eth_getBlockReceipts": self._block_receipts,
            "eth_getCode": self._code,
            "eth_getLogs": self._get_logs,
            "eth_getTransactionReceipt": self._receipt,
            "net_version": self._net_version,
            "generated_setHead": self._set_head,
        }
        self._render()

    def answer(self, call: dict[str, Any]) -> bytes:
        """Answer one call, framed."""
        number = orjson.dumps(call.get("id"))
        try:
            result = self._result(call["method"], call.get("params") or [])
        except RpcError as exc:
            error = orjson.dumps({"code": exc.code, "message": str(exc)})
            return b'{"jsonrpc":"2.0","id":%b,"error":%b}' % (number, error)
        return b'{"jsonrpc":"2.0","id":%b,"result":%b}' % (number, result)

    def _result(self, method: str, params: list[Any]) -> bytes:
        served = self._methods.get(method)
        if served is None or method in self.spec.unserved:
            raise RpcError(-32601, f"the method {method} does not exist/is not available")
        return served(*params)

    def _chain_id(self) -> bytes:
        return orjson.dumps(hex(self.spec.chain_id))

    def _net_version(self) -> bytes:
        return orjson.dumps(str(self.spec.chain_id))

    def _block_number(self) -> bytes:
        return orjson.dumps(hex(self.head))

    def _block_by_number(self, which: str, *_: Any) -> bytes:
        return orjson.dumps(self._block(self._height(which)))

    def _block_by_hash(self, which: str, *_: Any) -> bytes:
        return orjson.dumps(self._block(self._block_of_hash.get(which, -1)))

    def _code(self, address: str, *_: Any) -> bytes:
        known = address.lower() in {self.spec.proxy.lower(), TOKEN.lower()}
        return b'"0x6080604052"' if known else b'"0x"'

    def _set_head(self, head: int) -> bytes:
        """Move the head: how a benchmark in another process lets the chain grow."""
        self.head = min(head, self.spec.blocks + TAIL)
        return b"true"

    def _height(self, which: str) -> int:
        tags = {"latest": self.head, "pending": self.head, "safe": self.head, "finalized": self.head, "earliest": 0}
        return tags[which] if which in tags else int(which, 16)

    def _get_logs(self, wanted: dict[str, Any]) -> bytes:
        self._check_shape(wanted)
        first, last = self._span(wanted)
        if not self._concerns_us(wanted):
            return b"[]"
        topics = wanted.get("topics") or []
        if len(topics) > 1 and topics[1] is not None:
            return self._logs_with(topics[1], first, last)
        return b"[%b]" % b",".join(filter(None, self._logs[first : last + 1]))

    def _check_shape(self, wanted: dict[str, Any]) -> None:
        if self.spec.needs_address and not wanted.get("address"):
            raise RpcError(-32701, "Please specify an address in your request")
        longest = max((len(slot) for slot in wanted.get("topics") or [] if isinstance(slot, list)), default=0)
        if self.spec.most_topics is not None and longest > self.spec.most_topics:
            raise RpcError(-32602, "exceed max addresses or topics per search position")

    def _span(self, wanted: dict[str, Any]) -> tuple[int, int]:
        if "blockHash" in wanted:
            number = self._block_of_hash.get(wanted["blockHash"], self.head + 1)
            if number > self.head:
                raise RpcError(-32000, "unknown block")
            return number, number
        first, last = (self._height(wanted.get(name, "latest")) for name in ("fromBlock", "toBlock"))
        if last > self.head:
            raise RpcError(-32602, "block range extends beyond current head block")
        limit, rows = self.spec.max_range, self.spec.first_log(last + 1) - self.spec.first_log(first)
        if limit is not None and last - first + 1 > limit:
            raise RpcError(-32005, f"exceed maximum block range: {limit}")
        if self.spec.max_rows is not None and rows > self.spec.max_rows:
            raise RpcError(-32005, f"query returned more than {self.spec.max_rows} results")
        return first, last

    def _concerns_us(self, wanted: dict[str, Any]) -> bool:
        addresses = wanted.get("address", self.spec.proxy)
        topics = (wanted.get("topics") or [None])[0]
        listed = [addresses] if isinstance(addresses, str) else addresses
        events = [topics] if isinstance(topics, str) else topics
        ours = self.spec.proxy.lower() in {address.lower() for address in listed}
        return ours and (events is None or EVENT_TOPIC in {event.lower() for event in events})

    def _logs_with(self, topics: str | list[str], first: int, last: int) -> bytes:
        listed = [topics] if isinstance(topics, str) else topics
        logs = sorted(log for topic in listed for log in self._logs_of_topic.get(topic.lower(), ()))
        return b"[%b]" % b",".join(self._event(log) for log in logs if first <= self.spec.block_of(log) <= last)

    def _block(self, number: int) -> dict[str, Any] | None:
        if not 0 <= number <= self.head:
            return None
        logs = range(self.spec.first_log(number), self.spec.first_log(number + 1))
        zero = "0x" + "0" * 64
        return {
            "number": hex(number),
            "hash": block_hash(number),
            "parentHash": block_hash(number - 1) if number else zero,
            "timestamp": hex(block_time(number)),
            "nonce": "0x" + "0" * 16,
            "sha3Uncles": zero,
            "logsBloom": EMPTY_BLOOM,
            "transactionsRoot": zero,
            "stateRoot": zero,
            "receiptsRoot": zero,
            "miner": BUYER,
            "difficulty": "0x0",
            "extraData": "0x",
            "size": "0x220",
            "gasLimit": "0x1c9c380",
            "gasUsed": hex(50_000 * len(logs)),
            "mixHash": zero,
            "baseFeePerGas": "0x7",
            "transactions": [tx_hash(log) for log in logs] if number else [],
            "uncles": [],
        }

    def _block_receipts(self, which: str) -> bytes:
        number = self._height(which)
        if number > self.head:
            return b"null"
        logs = range(self.spec.first_log(number), self.spec.first_log(number + 1)) if number else ()
        return b"[%b]" % b",".join(self._receipt(tx_hash(log)) for log in logs)

    def _receipt(self, transaction: str) -> bytes:
        log = self._log_of_tx.get(transaction.lower())
        if log is None or (number := self.spec.block_of(log)) > self.head:
            return b"null"
        index = log - self.spec.first_log(number)
        facts = {
            "transactionHash": tx_hash(log),
            "transactionIndex": hex(index),
            "blockHash": block_hash(number),
            "blockNumber": hex(number),
            "from": BUYER,
            "to": self.spec.proxy.lower(),
            "contractAddress": None,
            "status": "0x1",
            "type": "0x2",
            "gasUsed": hex(50_000),
            "cumulativeGasUsed": hex(50_000 * (index + 1)),
            "effectiveGasPrice": "0x7",
            "logsBloom": EMPTY_BLOOM,
            "logs": [orjson.Fragment(self._credit(log)), orjson.Fragment(self._event(log))],
        }
        return orjson.dumps(facts)

    def _call(self, call: dict[str, Any], *_: Any) -> bytes:
        answer = _CALLS.get(str(call.get("data") or call.get("input"))[2:10])
        if answer is None or str(call.get("to")).lower() != TOKEN.lower():
            return b'"0x"'
        return orjson.dumps("0x" + answer.hex())

    def _render(self) -> None:
        rows: dict[int, list[bytes]] = {}
        for log in range(self.spec.logs):
            rows.setdefault(self.spec.block_of(log), []).append(self._event(log))
            self._logs_of_topic.setdefault("0x" + self._topic(log), []).append(log)
        for number, events in rows.items():
            self._logs[number] = b",".join(events)

    def _topic(self, log: int) -> str:
        paid = self.spec.paid(log)
        if paid is None:
            return _digest("topic", log)
        return keccak(bytes.fromhex(self.spec.references[paid][2:])).hex()

    def _claim(self, log: int) -> tuple[str, int]:
        """Return whom a log pays and how much."""
        if self.spec.paid(log) is not None:
            return SHOP, AMOUNT
        return "0x" + _digest("shop", log % SHOPS)[:40], AMOUNT + log

    def _event(self, log: int) -> bytes:
        destination, amount = self._claim(log)
        data = f"{_word(TOKEN)}{_word(destination)}{amount:064x}{0:064x}{0:064x}"
        return self._row(log, self.spec.proxy.lower(), EVENT_TOPIC, self._topic(log), data, place=1)

    def _credit(self, log: int) -> bytes:
        destination, amount = self._claim(log)
        topics = f'{_word(BUYER)}","0x{_word(destination)}'
        return self._row(log, TOKEN.lower(), TRANSFER_TOPIC, topics, f"{amount:064x}", place=0)

    def _row(self, log: int, address: str, topic: str, more: str, data: str, *, place: int) -> bytes:
        number = self.spec.block_of(log)
        index = log - self.spec.first_log(number)
        return _LOG % (
            address.encode(),
            topic.encode(),
            more.encode(),
            data.encode(),
            number,
            _digest("transaction", log).encode(),
            index,
            block_hash(number).encode(),
            2 * index + place,
            block_time(number),
        )


def _digest(kind: str, number: int) -> str:
    return hashlib.sha256(f"{kind} {number}".encode()).hexdigest()


def _word(address: str) -> str:
    return address[2:].lower().rjust(64, "0")
