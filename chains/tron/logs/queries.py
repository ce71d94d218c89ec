"""The calls of one request for logs, and what its answers tell (pure)."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

import orjson

from chains.errors import ChainProtocolError
from chains.rpc.endpoint_limits import MAX_CALLS
from chains.rpc.jsonrpc_messages import Call, RpcResult
from chains.tron.address import topic
from chains.tron.decode import parse_log_hint
from chains.tron.scan.candidates import CandidateTransactions
from chains.tron.transfer_log import TRANSFER_TOPIC

CHUNKS_A_BATCH = MAX_CALLS - 3  # besides the finalized block, the last block and the probe


def rows_of(answer: RpcResult) -> list[Any]:
    """Return the logs of an answer; null is no list of none."""
    rows = answer.get()
    if not isinstance(rows, list):
        raise ChainProtocolError("eth_getLogs did not answer with a list")
    return rows


def collect(found: CandidateTransactions, answer: RpcResult, chunk: Sequence[str], first: int, last: int) -> None:
    """Add what an answer tells of some destinations, as topics."""
    rows, ours = rows_of(answer), set(chunk)
    found.rows += len(rows)
    # Two logs differ in their place at least: a row that comes twice is one, and would count twice.
    for row in {orjson.dumps(row, option=orjson.OPT_SORT_KEYS): row for row in rows}.values():
        hint = parse_log_hint(row, ours)
        if hint is None:
            continue
        if not first <= hint.block <= last or found.at_block.setdefault(hint.tx_hash, hint.block) != hint.block:
            raise ChainProtocolError(f"a log of block {hint.block}, asked for {first} to {last}")
        if hint.event is not None:
            found.told.setdefault(hint.tx_hash, []).append(hint.event)


def batches(destinations: Sequence[str], width: int) -> Iterator[list[list[str]]]:
    """Cut destinations, as topics, to what fits one call and one request."""
    topics = [topic(destination) for destination in destinations]
    chunks = [topics[start : start + width] for start in range(0, len(topics), width)]
    for start in range(0, len(chunks), CHUNKS_A_BATCH):
        yield chunks[start : start + CHUNKS_A_BATCH]


def block_call(tag: str) -> Call:
    """Ask for a block, without its transactions."""
    return "eth_getBlockByNumber", (tag, False)


def query(topics: Sequence[str] | None, first: int, last: int) -> Call:
    """
    Ask for transfers of any token: what is not the one we want is to be seen as well.

    Without topics for every log there is: a node looks that up in no index.
    """
    if topics is None:
        return "eth_getLogs", ({"fromBlock": hex(first), "toBlock": hex(last)},)
    wanted = ["0x" + TRANSFER_TOPIC, None, ["0x" + text for text in topics]]
    return "eth_getLogs", ({"topics": wanted, "fromBlock": hex(first), "toBlock": hex(last)},)
