"""The generated node says what a node would say, and the adapter believes it."""

from __future__ import annotations

from typing import Any

import aiohttp
import orjson
import pytest

from addresses.keccak import keccak
from chains.evm.adapter import open_adapter
from chains.evm.fee_proxy import EVENT_TOPIC
from chains.types import Cursor, Rail, ScanPage, Targets, TokenMeta, VerificationOutcome
from config.catalog import Chain, Finality
from devnet.evm.generated_chain import (
    AMOUNT,
    PROXY,
    SHOP,
    TAIL,
    TOKEN,
    ChainSpec,
    GeneratedChain,
    block_hash,
    default_references,
    tx_hash,
)
from devnet.evm.generated_node import generated_node, serve

WAITING = default_references(20)
SCRIPT = ChainSpec(logs=1000, blocks=300, references=WAITING)
LOG_FIELDS = {
    "address", "topics", "data", "blockNumber", "transactionHash", "transactionIndex", "blockHash", "logIndex",
    "blockTimestamp", "removed",
}  # fmt: skip


class NoTelemetry:
    def rpc_call(self, endpoint: str, method: str, seconds: float, error: str | None) -> None:
        assert error is None, f"{method}: {error}"


def ask(chain: GeneratedChain, method: str, *params: Any) -> Any:
    answer = orjson.loads(chain.answer({"jsonrpc": "2.0", "id": "x", "method": method, "params": list(params)}))
    assert answer["id"] == "x"
    return answer["error"] if "error" in answer else answer["result"]


def span(first: int, last: int, *topics: Any) -> dict[str, Any]:
    return {"address": PROXY, "topics": [EVENT_TOPIC, *topics], "fromBlock": hex(first), "toBlock": hex(last)}


def topic_of(reference: str) -> str:
    return "0x" + keccak(bytes.fromhex(reference[2:])).hex()


@pytest.fixture(scope="module")
def chain() -> GeneratedChain:
    return GeneratedChain(SCRIPT)


def test_every_event_is_in_exactly_one_range(chain: GeneratedChain) -> None:
    pieces = [
        log for first in range(0, 300, 37) for log in ask(chain, "eth_getLogs", span(first, min(300, first + 36)))
    ]
    whole = ask(chain, "eth_getLogs", span(0, SCRIPT.blocks + TAIL))
    assert pieces[: len(whole)] == whole
    assert len(whole) == len(pieces) == 1000
    assert {log["transactionHash"] for log in whole} == {tx_hash(n) for n in range(1000)}


def test_a_log_has_all_fields_of_a_real_one_and_unique_places(chain: GeneratedChain) -> None:
    logs = ask(chain, "eth_getLogs", span(1, 300))
    assert all(set(log) == LOG_FIELDS for log in logs)
    assert len({(log["blockNumber"], log["logIndex"]) for log in logs}) == 1000
    assert all(log["blockHash"] == block_hash(int(log["blockNumber"], 16)) for log in logs)


def test_blocks_are_linked_by_their_hashes(chain: GeneratedChain) -> None:
    for number in (1, 2, 299, 310):
        block = ask(chain, "eth_getBlockByNumber", hex(number), False)
        assert block["parentHash"] == ask(chain, "eth_getBlockByNumber", hex(number - 1), False)["hash"]
        assert ask(chain, "eth_getBlockByHash", block["hash"], False) == block
    assert ask(chain, "eth_getBlockByNumber", "latest", False)["number"] == hex(310)
    assert ask(chain, "eth_getBlockByNumber", hex(311), False) is None


def test_each_waiting_reference_is_paid_once_and_as_agreed(chain: GeneratedChain) -> None:
    logs = ask(chain, "eth_getLogs", span(1, 300, [topic_of(reference) for reference in WAITING]))
    assert sorted(log["topics"][1] for log in logs) == sorted(map(topic_of, WAITING))
    for log in logs:
        assert log["data"][26:66] == TOKEN[2:].lower()
        assert log["data"][90:130] == SHOP[2:]
        assert int(log["data"][130:194], 16) == AMOUNT
    whole = ask(chain, "eth_getLogs", span(1, 300))
    assert all(log in whole for log in logs)


def test_other_contracts_and_events_have_no_logs(chain: GeneratedChain) -> None:
    assert ask(chain, "eth_getLogs", {**span(1, 300), "address": SHOP}) == []
    assert ask(chain, "eth_getLogs", {**span(1, 300), "topics": ["0x" + "00" * 32]}) == []
    assert len(ask(chain, "eth_getLogs", {**span(1, 300), "address": [SHOP, PROXY.lower()]})) == 1000


def test_what_lies_above_the_head_does_not_exist_yet(chain: GeneratedChain) -> None:
    later = tx_hash(SCRIPT.first_log(51))
    assert ask(chain, "generated_setHead", 50) is True
    try:
        assert ask(chain, "eth_blockNumber") == hex(50)
        assert ask(chain, "eth_getBlockByNumber", hex(51), False) is None
        assert ask(chain, "eth_getLogs", span(40, 51))["code"] == -32602
        assert ask(chain, "eth_getTransactionReceipt", later) is None
    finally:
        ask(chain, "generated_setHead", 310)
    assert ask(chain, "eth_getTransactionReceipt", later)["status"] == "0x1"


def test_the_limits_of_a_provider_can_be_played() -> None:
    chain = GeneratedChain(ChainSpec(logs=100, blocks=10, max_rows=30, max_range=5))
    assert len(ask(chain, "eth_getLogs", span(1, 3))) == 30
    assert ask(chain, "eth_getLogs", span(1, 4))["message"] == "query returned more than 30 results"
    assert ask(chain, "eth_getLogs", span(1, 6))["message"] == "exceed maximum block range: 5"


def test_an_unknown_method_is_refused(chain: GeneratedChain) -> None:
    assert ask(chain, "eth_nonsense")["code"] == -32601


async def test_the_adapter_reads_all_of_it_and_verifies_the_payments(chain: GeneratedChain) -> None:
    async with serve(chain) as url:
        described = Chain(
            chain_id=97, name="Generated", proxy_address=PROXY, confirmation_threshold=5, rpc_urls=(url,),
            finality=Finality.DEPTH, max_log_range=64,
        )  # fmt: skip
        async with open_adapter(described, timeout_s=5, telemetry=NoTelemetry()) as adapter:
            assert await adapter.self_test() == []
            assert await adapter.token(TOKEN) == TokenMeta("USDT", 18)
            head, cursor, found = await adapter.head(), Cursor(0), []
            while cursor.position < head.position:
                page = await adapter.scan(Rail.PROXY, Targets(), cursor, head)
                assert isinstance(page, ScanPage)
                cursor = page.cursor
                found += page.transfers
            waiting = [t for t in found if t.reference in set(map(topic_of, WAITING))]
            assert len({t.tx_hash for t in found}) == len(found) == 1000
            assert [v.outcome for v in await adapter.verify(waiting, head=head)] == [VerificationOutcome.CREDITED] * 20


async def test_it_runs_as_a_process_of_its_own_and_is_gone_afterwards() -> None:
    calls = [
        {"jsonrpc": "2.0", "id": 0, "method": "eth_getLogs", "params": [span(1, 10, topic_of(WAITING[0]))]},
        {"jsonrpc": "2.0", "id": 1, "method": "eth_blockNumber", "params": []},
    ]
    spec = ChainSpec(logs=100, blocks=10, references=WAITING)
    async with (
        generated_node(spec) as url,
        aiohttp.ClientSession() as session,
        session.post(url, data=orjson.dumps(calls)) as response,
    ):
        logs, head = await response.json()
    assert (len(logs["result"]), head["result"]) == (1, hex(20))
    async with aiohttp.ClientSession() as session:
        with pytest.raises(aiohttp.ClientConnectionError):
            await session.post(url)


async def test_shapes_of_a_question_can_be_refused() -> None:
    spec = ChainSpec(logs=100, blocks=10, most_topics=3, most_calls=2, needs_address=True)
    chain = GeneratedChain(spec)
    wanted = span(1, 10, [topic_of(f"0x{n:016x}") for n in range(4)])
    assert "topics per search position" in ask(chain, "eth_getLogs", wanted)["message"]
    unnamed = {key: value for key, value in span(1, 10).items() if key != "address"}
    assert ask(chain, "eth_getLogs", unnamed)["code"] == -32701
    calls = [{"jsonrpc": "2.0", "id": n, "method": "eth_blockNumber", "params": []} for n in range(3)]
    async with serve(chain) as url, aiohttp.ClientSession() as session, session.post(url, json=calls) as response:
        (refused,) = await response.json()
    assert (refused["id"], refused["error"]["message"]) == (0, "batch too large")


def test_the_receipts_of_a_block_hold_its_logs(chain: GeneratedChain) -> None:
    receipts = ask(chain, "eth_getBlockReceipts", hex(7))
    events = [log for receipt in receipts for log in receipt["logs"] if log["address"] == PROXY.lower()]
    assert events == ask(chain, "eth_getLogs", span(7, 7))
    assert ask(chain, "eth_getBlockReceipts", hex(311)) is None
    assert (
        ask(
            GeneratedChain(ChainSpec(logs=10, blocks=2, unserved=frozenset({"eth_getBlockReceipts"}))),
            "eth_getBlockReceipts",
            "0x1",
        )["code"]
        == -32601
    )


async def test_the_adapter_reads_every_event_whatever_shapes_are_refused() -> None:
    spec = ChainSpec(logs=200, blocks=50, max_rows=3, most_calls=1, needs_address=True)
    proxy_chain = Chain(
        chain_id=spec.chain_id, name="generated", proxy_address=PROXY, confirmation_threshold=5, rpc_urls=("http://x",)
    )
    async with serve(GeneratedChain(spec)) as url:
        opened = open_adapter(proxy_chain.model_copy(update={"rpc_urls": (url,)}), timeout_s=5, telemetry=Anything())
        async with opened as adapter:
            head = await adapter.head()
            found, after = [], Cursor(0)
            while after.position < head.position:
                page = await adapter.scan(Rail.PROXY, Targets(), after, head)
                assert isinstance(page, ScanPage)
                found += page.transfers
                after = page.cursor
    assert len(found) == len({transfer.tx_hash for transfer in found}) == 200


class Anything:
    def rpc_call(self, endpoint: str, method: str, seconds: float, error: str | None) -> None:
        """Take whatever happened."""
