"""Receipts: what decides is read strictly, the rest may look as it likes."""

from __future__ import annotations

import orjson
import pytest
from msgspec import Raw

from chains.errors import ChainProtocolError
from chains.evm.blocks import Block
from chains.evm.logs.log_decoder import LogDecoder
from chains.evm.rpc.structs import as_logs
from chains.evm.verification.receipts import read_receipt, verify_transfer
from chains.types import VerificationOutcome
from tests.chains.evm_world import (
    BUYER,
    CHAIN_ID,
    PROXY,
    event_log,
    hash_of,
    receipt_of,
    token_log,
    tx_of,
)

OTHER = "0x" + "99" * 20


async def read(receipt, number=7):
    return await read_receipt(Raw(orjson.dumps(receipt)), tx_hash=tx_of(number), proxy=PROXY.lower())


async def test_a_receipt_of_another_transaction_is_an_error():
    with pytest.raises(ChainProtocolError, match="another"):
        await read(receipt_of(), 8)


async def test_no_receipt_is_none():
    assert await read(None) is None


@pytest.mark.parametrize(
    "change",
    [
        {"status": None},
        {"status": "yes"},
        {"status": "1"},
        {"status": "0x2"},
        {"status": 2},
        {"status": True},
        {"status": -1},
        {"blockHash": None},
        {"blockHash": "0x1"},
        {"logs": None},
        {"logs": {}},
        {"transactionHash": 7},
    ],
)
async def test_a_malformed_receipt_is_an_error(change):
    with pytest.raises(ChainProtocolError):
        await read(receipt_of() | change)


@pytest.mark.parametrize(
    "change",
    [{"from": 1}, {"from": None}, {"blockNumber": 100}, {"type": {}}, {"logs": [token_log() | {"logIndex": 4}]}],
)
async def test_what_decides_nothing_may_look_as_it_likes(change):
    assert (await read(receipt_of(token_log()) | change)).succeeded


@pytest.mark.parametrize(
    ("status", "succeeded"), [("0x1", True), (1, True), ("0x01", True), ("0x0", False), (0, False)]
)
async def test_a_status_is_read_however_it_is_written(status, succeeded):
    assert (await read(receipt_of(token_log()) | {"status": status})).succeeded is succeeded


GARBLED = {
    "a number": (5, True, True),
    "no contract": ({"address": None}, True, True),
    "an event without data": (event_log() | {"data": "0x"}, True, True),
    "an event of other letters": (event_log() | {"data": event_log()["data"].replace("70", "7g")}, True, True),
    "no topics": (token_log() | {"topics": None}, True, False),
    "an amount of other letters": (token_log() | {"data": "0x" + "g" * 64}, True, False),
    "a short destination": (token_log() | {"topics": [*token_log()["topics"][:2], "0x12"]}, True, False),
    "half a byte": (token_log() | {"data": "0x1"}, True, False),
    "another token's": (token_log(token=OTHER) | {"data": None}, False, False),
    "another event": (event_log() | {"topics": ["0x" + "1" * 64], "data": 7}, False, False),
}


def plain(log):
    decoder = LogDecoder(chain_id=CHAIN_ID, proxy=PROXY.lower(), first=0, last=1000)
    decoder.feed_credits(as_logs([log]))
    return decoder.transfers[0]


@pytest.mark.parametrize("what", GARBLED)
async def test_a_log_that_cannot_be_read_keeps_back_only_what_it_may_be_about(what):
    log, *waits = GARBLED[what]
    of_the_token, of_another = token_log(), token_log(token=BUYER, index=9)
    receipt = await read(receipt_of(of_the_token, of_another, log))
    judged = [verify_transfer(plain(each), receipt, Block(100, hash_of(100), 1)) for each in (of_the_token, of_another)]
    assert [seen.outcome is VerificationOutcome.NOT_YET for seen in judged] == waits
    assert all((seen.why is not None) is wait for seen, wait in zip(judged, waits, strict=True))
