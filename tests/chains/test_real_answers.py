"""What nodes and providers really answer, each with its public source, and what we make of it."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any, NamedTuple

import msgspec
import pytest

from chains.errors import ChainProtocolError
from chains.evm.logs.log_decoder import LogDecoder
from chains.evm.rpc.structs import as_logs, parse_logs
from chains.rpc.jsonrpc_messages import RpcErrorObject
from chains.rpc.provider_errors import ErrorKind, classify
from chains.tron.rpc import provider_errors as tron
from tests.chains.evm_world import CHAIN_ID, PROXY, token_log

FOLDER = Path(__file__).parent.parent / "fixtures" / "answers"
PROVIDERS = {
    "geth erigon nethermind besu reth bor bsc nitro op-geth base zksync celo",
    "alchemy infura quicknode ankr drpc publicnode 1rpc chainstack",
    "java-tron trongrid toncenter",
}


class Answer(NamedTuple):
    """One recorded answer."""

    name: str
    family: str
    status: int
    body: Any
    means: str
    span: int | None
    fixed: bool
    wait: float | None


def load() -> list[Answer]:
    found = []
    for path in sorted(FOLDER.glob("*.json")):
        recorded = json.loads(path.read_text())
        assert recorded["source"], path
        found += [
            Answer(
                path.stem,
                recorded["family"],
                answer["status"],
                answer["body"],
                answer["means"],
                answer.get("span"),
                answer.get("fixed", False),
                answer.get("wait"),
            )
            for answer in recorded["answers"]
        ]
    return found


ANSWERS = load()
EVM = [answer for answer in ANSWERS if answer.family == "evm" and answer.means not in {"logs", "unreadable"}]
LOGS = [answer for answer in ANSWERS if answer.means in {"logs", "unreadable"}]
TRON = [answer for answer in ANSWERS if answer.family.startswith("tron")]


def error_of(answer: Answer) -> RpcErrorObject:
    """Return code and words of the first error, as the client reads them."""
    first = answer.body[0] if isinstance(answer.body, list) else answer.body
    return RpcErrorObject.read(first["error"])


def shown(answer: Answer) -> str:
    return f"{answer.name}: {answer.means}"


def test_every_client_family_and_provider_is_here():
    recorded = {answer.name for answer in ANSWERS}
    assert {name for line in PROVIDERS for name in line.split()} <= recorded


@pytest.mark.parametrize("answer", EVM, ids=shown)
def test_a_refusal_names_the_dimension_of_the_question_and_what_the_node_would_take(answer):
    assert classify(*error_of(answer)) == (ErrorKind(answer.means), answer.span, answer.fixed)


@pytest.mark.parametrize("answer", LOGS, ids=shown)
def test_logs_are_read_whatever_stands_beside_what_is_used(answer):
    raw = msgspec.Raw(json.dumps(answer.body["result"]).encode())
    if answer.means == "unreadable":
        with pytest.raises(ChainProtocolError):
            parse_logs(raw)
        return
    decoder = LogDecoder(chain_id=CHAIN_ID, proxy=PROXY.lower(), first=0, last=1000)
    decoder.feed_credits(parse_logs(raw))
    assert [transfer.amount for transfer in decoder.transfers] == [1000]


@pytest.mark.parametrize("answer", TRON, ids=shown)
def test_tron_refusals_are_told_apart(answer):
    if isinstance(answer.body.get("Error"), str):
        said = answer.body["Error"]
        assert tron.is_busy(said) or tron.asked_to_wait(said, status=answer.status) == answer.wait
        return
    refusal, blocks, _ = tron.classify(*error_of(answer))
    assert (refusal, blocks) == (tron.ErrorKind(answer.means), answer.span)


@pytest.mark.parametrize(
    ("code", "message", "refusal"),
    [
        (-32000, "eth_getLogs requires an address filter", ErrorKind.ADDRESSLESS),
        (-32602, "missing required field: address", ErrorKind.ADDRESSLESS),
        (-32000, "getLogs without address filter is not allowed", ErrorKind.ADDRESSLESS),
        (-32602, "address is required", ErrorKind.ADDRESSLESS),
        (-32701, "this kind of query is not free", ErrorKind.ADDRESSLESS),
        (-32602, "too many topics, maximum is 4", ErrorKind.TOPICS),
        (-32602, "exceed max sub-topics 1000", ErrorKind.TOPICS),
        (-32005, "exceed maximum number of topics per filter: 100", ErrorKind.TOPICS),
        (-32005, "Filter address count exceeds maximum", ErrorKind.ADDRESSES),
        (-32602, "max addresses is 100", ErrorKind.ADDRESSES),
        (-32000, "batch requests are not supported", ErrorKind.BATCH),
        (-32600, "The batch size is limited to 20", ErrorKind.BATCH),
        (-32000, "maximum number of calls in a batch is 50", ErrorKind.BATCH),
    ],
)
def test_other_spellings_name_the_dimension_too(code, message, refusal):
    assert classify(code, message).kind is refusal


@pytest.mark.parametrize("reason", ["rate limit exceeded", "header not found", "block range too large", "no address"])
def test_a_contract_that_reverts_with_a_nodes_words_says_nothing_about_the_node(reason):
    assert classify(3, f"execution reverted: {reason}").kind is ErrorKind.OTHER
    assert classify(-32015, f"VM execution error. {reason}").kind is ErrorKind.OTHER


@pytest.mark.parametrize("stamp", [1751284607, 1.5, True, "soon", "0x", None, ["0x1"], {"at": 1}, "0x" + "f" * 40])
def test_a_block_time_in_any_shape_does_not_hide_a_log(stamp):
    rows = [token_log() | {"blockTimestamp": stamp, "logType": None, "l1BatchNumber": [1]}]
    decoder = LogDecoder(chain_id=CHAIN_ID, proxy=PROXY.lower(), first=0, last=1000)
    decoder.feed_credits(parse_logs(msgspec.Raw(json.dumps(rows).encode())))
    decoder.feed_credits(as_logs(rows))
    assert [(transfer.amount, transfer.block_time) for transfer in decoder.transfers] == [(1000, None)]


@pytest.mark.parametrize("field", ["address", "topics", "data", "blockNumber", "blockHash", "transactionHash"])
@pytest.mark.parametrize("value", [None, True, {}])
def test_what_is_used_is_still_read_strictly(field, value):
    rows = [token_log() | {"blockTimestamp": [], field: value}]
    with pytest.raises(ChainProtocolError):
        parse_logs(msgspec.Raw(json.dumps(rows).encode()))
    with pytest.raises(ChainProtocolError):
        as_logs(rows)
