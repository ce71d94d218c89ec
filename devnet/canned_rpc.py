"""
A JSON-RPC node that answers from memory: long block ranges full of proxy events, for benchmarks.

`python -m devnet.canned_rpc --logs 100000 --blocks 5000` prints its URL as the first line and serves until it is
ended. Everything it says follows from its arguments alone: hashes, references, amounts are the same each time.
"""

from __future__ import annotations

import argparse
import asyncio
import hashlib
import os
import signal
import sys
import tempfile
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import orjson
from aiohttp import web
from eth_abi.abi import encode

from addresses.keccak import keccak
from chains.evm.decode import TRANSFER_TOPIC
from chains.evm.fee_proxy import EVENT_TOPIC
from devnet.anvil import CHAIN_ID, PROXY

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


class Refused(Exception):
    """A call the node answers with an error."""

    def __init__(self, code: int, message: str) -> None:
        super().__init__(message)
        self.code = code


@dataclass(frozen=True, slots=True)
class Script:
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


class CannedChain:
    """Answers calls. `head` may be moved; nothing above it is shown."""

    def __init__(self, script: Script) -> None:
        self.script = script
        self.head = script.blocks + TAIL
        self._log_of_tx = {tx_hash(log): log for log in range(script.logs)}
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
            "canned_setHead": self._set_head,
        }
        self._render()

    def answer(self, call: dict[str, Any]) -> bytes:
        """Answer one call, framed."""
        number = orjson.dumps(call.get("id"))
        try:
            result = self._result(call["method"], call.get("params") or [])
        except Refused as refused:
            error = orjson.dumps({"code": refused.code, "message": str(refused)})
            return b'{"jsonrpc":"2.0","id":%b,"error":%b}' % (number, error)
        return b'{"jsonrpc":"2.0","id":%b,"result":%b}' % (number, result)

    def _result(self, method: str, params: list[Any]) -> bytes:
        served = self._methods.get(method)
        if served is None or method in self.script.unserved:
            raise Refused(-32601, f"the method {method} does not exist/is not available")
        return served(*params)

    def _chain_id(self) -> bytes:
        return orjson.dumps(hex(self.script.chain_id))

    def _net_version(self) -> bytes:
        return orjson.dumps(str(self.script.chain_id))

    def _block_number(self) -> bytes:
        return orjson.dumps(hex(self.head))

    def _block_by_number(self, which: str, *_: Any) -> bytes:
        return orjson.dumps(self._block(self._height(which)))

    def _block_by_hash(self, which: str, *_: Any) -> bytes:
        return orjson.dumps(self._block(self._block_of_hash.get(which, -1)))

    def _code(self, address: str, *_: Any) -> bytes:
        known = address.lower() in {self.script.proxy.lower(), TOKEN.lower()}
        return b'"0x6080604052"' if known else b'"0x"'

    def _set_head(self, head: int) -> bytes:
        """Move the head: how a benchmark in another process lets the chain grow."""
        self.head = min(head, self.script.blocks + TAIL)
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
        if self.script.needs_address and not wanted.get("address"):
            raise Refused(-32701, "Please specify an address in your request")
        longest = max((len(slot) for slot in wanted.get("topics") or [] if isinstance(slot, list)), default=0)
        if self.script.most_topics is not None and longest > self.script.most_topics:
            raise Refused(-32602, "exceed max addresses or topics per search position")

    def _span(self, wanted: dict[str, Any]) -> tuple[int, int]:
        if "blockHash" in wanted:
            number = self._block_of_hash.get(wanted["blockHash"], self.head + 1)
            if number > self.head:
                raise Refused(-32000, "unknown block")
            return number, number
        first, last = (self._height(wanted.get(name, "latest")) for name in ("fromBlock", "toBlock"))
        if last > self.head:
            raise Refused(-32602, "block range extends beyond current head block")
        limit, rows = self.script.max_range, self.script.first_log(last + 1) - self.script.first_log(first)
        if limit is not None and last - first + 1 > limit:
            raise Refused(-32005, f"exceed maximum block range: {limit}")
        if self.script.max_rows is not None and rows > self.script.max_rows:
            raise Refused(-32005, f"query returned more than {self.script.max_rows} results")
        return first, last

    def _concerns_us(self, wanted: dict[str, Any]) -> bool:
        addresses = wanted.get("address", self.script.proxy)
        topics = (wanted.get("topics") or [None])[0]
        listed = [addresses] if isinstance(addresses, str) else addresses
        events = [topics] if isinstance(topics, str) else topics
        ours = self.script.proxy.lower() in {address.lower() for address in listed}
        return ours and (events is None or EVENT_TOPIC in {event.lower() for event in events})

    def _logs_with(self, topics: str | list[str], first: int, last: int) -> bytes:
        listed = [topics] if isinstance(topics, str) else topics
        logs = sorted(log for topic in listed for log in self._logs_of_topic.get(topic.lower(), ()))
        return b"[%b]" % b",".join(self._event(log) for log in logs if first <= self.script.block_of(log) <= last)

    def _block(self, number: int) -> dict[str, Any] | None:
        if not 0 <= number <= self.head:
            return None
        logs = range(self.script.first_log(number), self.script.first_log(number + 1))
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
        logs = range(self.script.first_log(number), self.script.first_log(number + 1)) if number else ()
        return b"[%b]" % b",".join(self._receipt(tx_hash(log)) for log in logs)

    def _receipt(self, transaction: str) -> bytes:
        log = self._log_of_tx.get(transaction.lower())
        if log is None or (number := self.script.block_of(log)) > self.head:
            return b"null"
        index = log - self.script.first_log(number)
        facts = {
            "transactionHash": tx_hash(log),
            "transactionIndex": hex(index),
            "blockHash": block_hash(number),
            "blockNumber": hex(number),
            "from": BUYER,
            "to": self.script.proxy.lower(),
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
        for log in range(self.script.logs):
            rows.setdefault(self.script.block_of(log), []).append(self._event(log))
            self._logs_of_topic.setdefault("0x" + self._topic(log), []).append(log)
        for number, events in rows.items():
            self._logs[number] = b",".join(events)

    def _topic(self, log: int) -> str:
        paid = self.script.paid(log)
        if paid is None:
            return _digest("topic", log)
        return keccak(bytes.fromhex(self.script.references[paid][2:])).hex()

    def _claim(self, log: int) -> tuple[str, int]:
        """Return whom a log pays and how much."""
        if self.script.paid(log) is not None:
            return SHOP, AMOUNT
        return "0x" + _digest("shop", log % SHOPS)[:40], AMOUNT + log

    def _event(self, log: int) -> bytes:
        destination, amount = self._claim(log)
        data = f"{_word(TOKEN)}{_word(destination)}{amount:064x}{0:064x}{0:064x}"
        return self._row(log, self.script.proxy.lower(), EVENT_TOPIC, self._topic(log), data, place=1)

    def _credit(self, log: int) -> bytes:
        destination, amount = self._claim(log)
        topics = f'{_word(BUYER)}","0x{_word(destination)}'
        return self._row(log, TOKEN.lower(), TRANSFER_TOPIC, topics, f"{amount:064x}", place=0)

    def _row(self, log: int, address: str, topic: str, more: str, data: str, *, place: int) -> bytes:
        number = self.script.block_of(log)
        index = log - self.script.first_log(number)
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


@asynccontextmanager
async def serve(chain: CannedChain, port: int = 0) -> AsyncIterator[str]:
    """Serve a chain on loopback; give its URL."""

    async def handle(request: web.Request) -> web.Response:
        asked = orjson.loads(await request.read())
        most = chain.script.most_calls
        if isinstance(asked, list) and most is not None and len(asked) > most:
            # As geth: one error, with the id of the first call.
            refusal = {"code": -32600, "message": "batch too large"}
            return web.json_response([{"jsonrpc": "2.0", "id": asked[0].get("id"), "error": refusal}])
        body = b"[%b]" % b",".join(map(chain.answer, asked)) if isinstance(asked, list) else chain.answer(asked)
        return web.Response(body=body, content_type="application/json")

    app = web.Application(client_max_size=64 * 1024 * 1024)
    app.router.add_post("/{path:.*}", handle)
    runner = web.AppRunner(app, access_log=None, shutdown_timeout=0.1)
    await runner.setup()
    try:
        await web.TCPSite(runner, "127.0.0.1", port).start()
        yield f"http://127.0.0.1:{runner.addresses[0][1]}"
    finally:
        await runner.cleanup()


@asynccontextmanager
async def canned_rpc(script: Script) -> AsyncIterator[str]:
    """Run a chain in a process of its own, so that serving costs the caller's event loop nothing; give its URL."""
    with tempfile.TemporaryDirectory(prefix="canned-") as folder:
        references = Path(folder) / "references"
        references.write_text("\n".join(script.references))
        command = ["--logs", script.logs, "--blocks", script.blocks, "--references", references]
        command += ["--chain-id", script.chain_id, "--proxy", script.proxy]
        command += ["--max-rows", script.max_rows] if script.max_rows is not None else []
        command += ["--max-range", script.max_range] if script.max_range is not None else []
        command += ["--most-topics", script.most_topics] if script.most_topics is not None else []
        command += ["--most-calls", script.most_calls] if script.most_calls is not None else []
        command += ["--needs-address"] if script.needs_address else []
        command += [word for method in sorted(script.unserved) for word in ("--unserved", method)]
        process = await asyncio.create_subprocess_exec(
            sys.executable,
            "-m",
            "devnet.canned_rpc",
            *map(str, command),
            cwd=Path(__file__).parent.parent,
            stdout=asyncio.subprocess.PIPE,
            start_new_session=True,
        )
        try:
            if process.stdout is None or not (line := await process.stdout.readline()):
                raise RuntimeError(f"the canned chain ended with {await process.wait()}")
            yield line.decode().strip()
        finally:
            with suppress(ProcessLookupError):
                os.killpg(process.pid, signal.SIGKILL)
            await process.wait()


async def _main(script: Script, port: int) -> None:
    stop = asyncio.Event()
    for number in (signal.SIGINT, signal.SIGTERM):
        asyncio.get_running_loop().add_signal_handler(number, stop.set)
    async with serve(CannedChain(script), port) as url:
        print(url, flush=True)  # noqa: T201 - whoever started us reads it
        await stop.wait()


def _script(arguments: argparse.Namespace) -> Script:
    chosen = arguments.references.read_text().split() if arguments.references else default_references(arguments.waiting)
    return Script(
        logs=arguments.logs,
        blocks=arguments.blocks,
        references=chosen,
        chain_id=arguments.chain_id,
        proxy=arguments.proxy,
        max_rows=arguments.max_rows,
        max_range=arguments.max_range,
        most_topics=arguments.most_topics,
        most_calls=arguments.most_calls,
        needs_address=arguments.needs_address,
        unserved=frozenset(arguments.unserved),
    )


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--logs", type=int, default=100_000)
    parser.add_argument("--blocks", type=int, default=5_000)
    parser.add_argument(
        "--references", type=Path, help="a file of 0x + 16 hex, one a line: what the first intents wait for"
    )
    parser.add_argument("--waiting", type=int, default=10_000, help="how many references to make up without a file")
    parser.add_argument("--chain-id", type=int, default=CHAIN_ID)
    parser.add_argument("--proxy", default=PROXY)
    parser.add_argument("--max-rows", type=int)
    parser.add_argument("--max-range", type=int)
    parser.add_argument("--most-topics", type=int, help="values in one topic position")
    parser.add_argument("--most-calls", type=int, help="calls in one batch")
    parser.add_argument("--needs-address", action="store_true", help="refuse logs without an address")
    parser.add_argument("--unserved", action="append", default=[], help="a method it does not know; may be repeated")
    parser.add_argument("--port", type=int, default=0)
    given = parser.parse_args()
    asyncio.run(_main(_script(given), given.port))
