"""Pages of logs into transfers: strict, each log once, and one key whoever tells of it."""

from __future__ import annotations

import orjson
import pytest
from eth_abi.abi import decode, encode
from hypothesis import given
from hypothesis import strategies as st
from msgspec import Raw

from chains.errors import ChainProtocolError
from chains.evm.blocks import parse_block
from chains.evm.fee_proxy import EVENT_TOPIC
from chains.evm.logs.log_decoder import LogDecoder
from chains.evm.rpc.structs import as_logs
from chains.evm.verification.receipts import read_receipt
from tests.chains.evm_world import (
    BUYER,
    CHAIN_ID,
    PROXY,
    SHOP,
    TOKEN,
    a_transfer,
    event_log,
    hash_of,
    receipt_of,
    token_log,
    tx_of,
)

OTHER = "0x" + "99" * 20


def decoded(*rows, first=0, last=1000):
    decoder = LogDecoder(chain_id=CHAIN_ID, proxy=PROXY.lower(), first=first, last=last)
    decoder.feed(as_logs(rows))
    return decoder.transfers


def test_a_proxy_event_becomes_a_transfer():
    log = event_log(amount=1 << 255, fee=3, fee_to=BUYER) | {"blockTimestamp": "0x10"}
    assert decoded(log) == [a_transfer(amount=1 << 255, fee_amount=3, fee_address=BUYER, block_time=16)]


def test_upper_case_hex_means_the_same():
    log = event_log()
    shouted = log | {
        "address": PROXY,
        "data": "0x" + log["data"][2:].upper(),
        "transactionHash": "0x" + log["transactionHash"][2:].upper(),
        "topics": ["0x" + topic[2:].upper() for topic in log["topics"]],
        "blockHash": "0x" + log["blockHash"][2:].upper(),
    }
    assert decoded(shouted) == decoded(log)


CLAIM = ("address", "address", "uint256", "uint256", "address")
ADDRESSES = st.binary(min_size=20, max_size=20).map(lambda raw: "0x" + raw.hex())
AMOUNTS = st.one_of(st.integers(0, 10), st.integers(0, 2**256 - 1))


@given(st.lists(st.tuples(ADDRESSES, ADDRESSES, AMOUNTS, AMOUNTS, ADDRESSES), min_size=1, max_size=6))
def test_a_page_says_what_the_general_decoder_reads_in_each_log(claims):
    """Fields are cut out by their places, and a page as a whole: none may come from the log beside it."""
    data = [encode(CLAIM, claim) for claim in claims]
    logs = [
        event_log(index=n) | {"data": "0x" + said.hex(), "topics": [EVENT_TOPIC, hash_of(n)]}
        for n, said in enumerate(data)
    ]
    found = [(t.token, t.destination, t.amount, t.fee_amount, t.fee_address) for t in decoded(*logs)]
    assert found == [decode(CLAIM, said) for said in data]
    assert [t.reference for t in decoded(*logs)] == [hash_of(n) for n in range(len(logs))]


def test_a_row_sent_twice_counts_once():
    assert len(decoded(event_log(), event_log(), event_log(index=6))) == 2


@pytest.mark.parametrize("stamp", [None, "0x0", hex(253_402_300_800), hex(2**62), hex(2**64 - 1)])
def test_a_block_time_the_node_does_not_know_is_none(stamp):
    assert decoded(event_log() | {"blockTimestamp": stamp})[0].block_time is None


def _data(at, text):
    data = event_log()["data"]
    return data[:at] + text + data[at + len(text) :]


@pytest.mark.parametrize(
    "change",
    [
        {"data": event_log()["data"][:-2]},
        {"data": event_log()["data"] + "00"},
        {"data": _data(2, "1")},
        {"data": _data(66, "1")},
        {"data": _data(258, "1")},
        {"data": _data(40, "zz")},
        {"data": _data(140, "g")},
        {"data": _data(140, " ")},
        {"data": _data(140, "  ")},
        {"data": _data(140, "_")},
        {"data": _data(140, "x")},
        {"data": _data(140, "é")},
        {"data": _data(200, "_")},
        {"data": _data(0, "00")},
        {"data": _data(0, "1")},
        {"data": None},
        {"address": OTHER},
        {"address": None},
        {"removed": True},
        {"topics": [EVENT_TOPIC]},
        {"topics": [EVENT_TOPIC, "0x" + "0" * 63 + "g"]},
        {"topics": [EVENT_TOPIC, "0x" + "0" * 62]},
        {"topics": [EVENT_TOPIC, "0x" + "0" * 64, "0x" + "0" * 64]},
        {"topics": ["0x" + "1" * 64, "0x" + "0" * 64]},
        {"topics": None},
        {"blockHash": None},
        {"blockHash": "0x1"},
        {"blockNumber": None},
        {"blockNumber": "100"},
        {"blockNumber": True},
        {"blockNumber": -1},
        {"blockNumber": 100.5},
        {"blockNumber": hex(1001)},
        {"transactionHash": None},
        {"transactionHash": "0x" + "0" * 63},
        {"transactionHash": "00" + "0" * 64},
        {"transactionHash": "0x" + "0" * 63 + "x"},
        {"transactionHash": "0x" + "0" * 63 + " "},
    ],
)
def test_a_malformed_log_is_an_error_and_never_a_transfer(change):
    with pytest.raises(ChainProtocolError):
        decoded(event_log() | change)


@pytest.mark.parametrize("index", [None, "0x", "0x1_0", 5.5, -5, True, "5", [], {"a": 1}])
def test_a_log_index_nobody_can_read_is_no_index_and_hides_no_transfer(index):
    (transfer,) = decoded(event_log() | {"logIndex": index})
    assert (transfer.log_index, transfer.event_key) == (None, decoded(event_log())[0].event_key)


def test_plain_numbers_mean_what_hexadecimal_ones_mean():
    log = event_log() | {"blockTimestamp": "0x10"}
    plain = log | {"blockNumber": int(log["blockNumber"], 16), "logIndex": int(log["logIndex"], 16)}
    assert decoded(plain) == decoded(log)


@pytest.mark.parametrize("row", [None, 5, "0x", [], {}])
def test_a_row_that_is_no_log_is_an_error(row):
    with pytest.raises(ChainProtocolError):
        decoded(row)


# Few values of each kind, so that some logs of one transaction say the same.
SAID = st.fixed_dictionaries(
    {
        "proxied": st.booleans(),
        "value": st.sampled_from([0, 1, 1 << 255]),
        "fee": st.sampled_from([0, 1]),
        "to": st.sampled_from([SHOP, BUYER]),
        "token": st.sampled_from([TOKEN, OTHER]),
        "loud": st.booleans(),
    }
)


def said_by(said, index):
    same = {"index": index, "to": said["to"], "token": said["token"]}
    if said["proxied"]:
        log = event_log(**same, amount=said["value"], fee=said["fee"])
    else:
        log = token_log(**same, value=said["value"])
    if said["loud"]:
        shouted = {name: "0x" + log[name][2:].upper() for name in ("address", "data", "transactionHash")}
        log |= shouted | {"topics": ["0x" + topic[2:].upper() for topic in log["topics"]]}
    return log


@given(st.lists(SAID, max_size=8), st.integers(1, 8))
async def test_logs_and_receipt_give_every_transfer_the_same_key(facts, size):
    """However a page is cut, its hex is spelt and its logs are numbered; different logs have different keys."""
    logs = [said_by(said, index) for index, said in enumerate(facts)]
    events = [log for log, said in zip(logs, facts, strict=True) if said["proxied"]]
    moves = [log for log, said in zip(logs, facts, strict=True) if not said["proxied"]]
    decoder = LogDecoder(chain_id=CHAIN_ID, proxy=PROXY.lower(), first=0, last=1000)
    for start in range(0, len(logs), size):
        decoder.feed(as_logs(events[start : start + size]))
        decoder.feed_credits(as_logs(moves[start : start + size]))
    receipt = await read(receipt_of(*(log | {"logIndex": "0x0"} for log in logs)))
    assert [t.event_key for t in decoder.transfers if t.reference] == list(receipt.events)
    assert [t.event_key for t in decoder.transfers if not t.reference] == list(receipt.plain)
    keys = {t._replace(log_index=None, event_key=""): t.event_key[:-2] for t in decoder.transfers}
    assert len(set(keys.values())) == len(keys)


def test_a_page_that_contradicts_itself_is_an_error():
    with pytest.raises(ChainProtocolError, match="two different blocks"):
        decoded(event_log(), event_log(index=6, branch="b"))


@pytest.mark.parametrize(
    "block",
    [
        5,
        {"number": None, "hash": hash_of(1), "timestamp": "0x1"},
        {"number": "0x1", "hash": None, "timestamp": "0x1"},
        {"number": "0x1", "hash": hash_of(1)},
        {"number": "0x2", "hash": hash_of(2), "timestamp": "0x1"},
        {"number": "0x1", "hash": hash_of(1), "timestamp": hex(253_402_300_800)},
    ],
)
def test_a_malformed_or_wrong_block_is_an_error(block):
    with pytest.raises(ChainProtocolError):
        parse_block(block, 1)


async def read(receipt, number=7):
    return await read_receipt(Raw(orjson.dumps(receipt)), tx_hash=tx_of(number), proxy=PROXY.lower())


def plain(log):
    decoder = LogDecoder(chain_id=CHAIN_ID, proxy=PROXY.lower(), first=0, last=1000)
    decoder.feed_credits(as_logs([log]))
    return decoder.transfers[0]
