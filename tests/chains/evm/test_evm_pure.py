"""The pure parts of the EVM family: addresses, call data, decoding, match, error words, spans."""

from __future__ import annotations

import orjson
import pytest
from eth_abi.abi import decode as abi_decode
from hypothesis import given
from hypothesis import strategies as st
from msgspec import Raw

from chains.errors import ChainProtocolError, InvalidAddress
from chains.evm.address import parse_address, show_address
from chains.evm.blocks import Block, parse_block
from chains.evm.fee_proxy import EVENT_TOPIC, SELECTOR, payment_calldata
from chains.evm.logs.block_range import INITIAL_BLOCKS, MAX_ROWS, BlockRangeLimiter
from chains.evm.logs.log_decoder import LogDecoder
from chains.evm.logs.queries import block_window
from chains.evm.rpc.structs import as_logs
from chains.evm.verification.receipts import read_receipt, verify_transfer
from chains.rpc.provider_errors import ErrorAdvice, ErrorKind, classify
from chains.rpc.quantities import quantity, quantity_or_none
from chains.types import VerificationOutcome
from tests.chains.evm_world import (
    BUYER,
    CHAIN_ID,
    PROXY,
    SHOP,
    TOKEN,
    ZERO,
    a_transfer,
    event_log,
    hash_of,
    receipt_of,
    token_log,
    tx_of,
)

CHECKSUMMED = "0x370DE27fdb7D1Ff1e1BaA7D11c5820a324Cf623C"
OTHER = "0x" + "99" * 20


# --- addresses -----------------------------------------------------------------------------------


@pytest.mark.parametrize("text", [CHECKSUMMED, CHECKSUMMED.lower(), "0x" + CHECKSUMMED[2:].upper()])
def test_one_address_in_every_right_spelling_has_one_canonical_form(text):
    assert parse_address(text) == CHECKSUMMED.lower()
    assert show_address(parse_address(text)) == CHECKSUMMED


@pytest.mark.parametrize(
    ("text", "why"),
    [
        (CHECKSUMMED.replace("D", "d", 1), "checksum"),
        (CHECKSUMMED[:-1], "40 hex"),
        (CHECKSUMMED + "0", "40 hex"),
        (CHECKSUMMED[2:], "40 hex"),
        ("0X" + CHECKSUMMED[2:].lower(), "40 hex"),
        (CHECKSUMMED + "\n", "40 hex"),
        ("0x" + "g" * 40, "40 hex"),
        ("", "40 hex"),
        (ZERO, "zero address"),
    ],
)
def test_what_is_no_address_is_refused_with_the_reason(text, why):
    with pytest.raises(InvalidAddress, match=why):
        parse_address(text)


# --- the proxy -----------------------------------------------------------------------------------


def test_the_topic_and_the_selector_follow_from_the_signatures():
    assert EVENT_TOPIC == "0x9f16cbcc523c67a60c450e5ffe4f3b7b6dbe772e7abcadb2686ce029a9a0a2b6"
    assert SELECTOR == "0xc219a14d"


def test_an_abi_library_reads_our_calldata_back():
    """The call data is built by hand; an independent decoder must find every argument in it."""
    data = payment_calldata(
        token=TOKEN, destination=SHOP, amount=10**24, reference="0xa0098add01acc736", fee_amount=7, fee_address=BUYER
    )
    kinds = ["address", "address", "uint256", "bytes", "uint256", "address"]
    assert data.startswith(SELECTOR)
    assert abi_decode(kinds, bytes.fromhex(data[10:])) == (
        TOKEN,
        SHOP,
        10**24,
        bytes.fromhex("a0098add01acc736"),
        7,
        BUYER,
    )


@pytest.mark.parametrize("bad", [{"reference": "0xa0"}, {"amount": -1}, {"amount": 1 << 256}, {"destination": "0x1"}])
def test_calldata_is_never_built_from_values_that_do_not_fit(bad):
    good = {
        "token": TOKEN,
        "destination": SHOP,
        "amount": 1,
        "reference": "0x" + "0" * 16,
        "fee_amount": 0,
        "fee_address": ZERO,
    }
    with pytest.raises(ValueError, match=r"must|is 0x"):
        payment_calldata(**(good | bad))


# --- decoding ------------------------------------------------------------------------------------


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


def test_a_block_in_plain_numbers_is_read():
    assert parse_block({"number": 1, "hash": hash_of(1), "timestamp": 1_751_284_607}, 1) == Block(
        1, hash_of(1), 1_751_284_607
    )


@pytest.mark.parametrize("sent", [True, -1, 1.0, 2**63, hex(2**63), "1751284607", "", "0x", "0x1_0", None, [], {}])
def test_what_may_mean_two_numbers_or_none_is_no_number(sent):
    assert quantity_or_none(sent) is None
    with pytest.raises(ChainProtocolError, match="not a quantity"):
        quantity(sent)


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


# --- match -------------------------------------------------------------------------------------


async def paired(*logs):
    """Return outcome and credit of every proxy event, in log order."""
    events = (await read(receipt_of(*logs))).events
    return [(paid.match.outcome, paid.match.credited) for paid in events.values()]


CREDITED, SHORT, NOTHING = VerificationOutcome.CREDITED, VerificationOutcome.SHORT, VerificationOutcome.NO_TRANSFER_LOG
FEE = {"fee": 10, "fee_to": BUYER}
NFT = token_log() | {"topics": [*token_log()["topics"], "0x" + "0" * 64], "data": "0x"}


@pytest.mark.parametrize(
    ("logs", "expected"),
    [
        pytest.param([token_log(), event_log()], [(CREDITED, 1000)], id="paid"),
        pytest.param([event_log()], [(NOTHING, 0)], id="no movement"),
        pytest.param([NFT, event_log()], [(NOTHING, 0)], id="an NFT is no credit"),
        pytest.param([token_log(token=OTHER), event_log()], [(NOTHING, 0)], id="another token moved"),
        pytest.param([token_log(to=OTHER), event_log()], [(NOTHING, 0)], id="moved to somebody else"),
        pytest.param([event_log(), token_log(index=6)], [(NOTHING, 0)], id="moved after the event"),
        pytest.param([token_log(value=990), event_log()], [(SHORT, 990)], id="fee on transfer"),
        pytest.param([token_log(value=2000), event_log()], [(CREDITED, 1000)], id="never more than claimed"),
        pytest.param(
            [token_log(), event_log(), event_log(index=6)],
            [(CREDITED, 1000), (NOTHING, 0)],
            id="two events cannot live on one movement",
        ),
        pytest.param(
            [token_log(index=1), token_log(index=2), event_log(), event_log(index=6)],
            [(CREDITED, 1000), (CREDITED, 1000)],
            id="two movements, two events",
        ),
        pytest.param(
            [token_log(index=1, value=1000), token_log(index=2, value=5), event_log()],
            [(CREDITED, 1000)],
            id="the exact value before the latest",
        ),
        pytest.param(
            [
                token_log(index=1, value=50),
                event_log(index=2, amount=50),
                token_log(index=3, value=100),
                event_log(index=4, amount=100),
            ],
            [(CREDITED, 50), (CREDITED, 100)],
            id="one after the other",
        ),
        pytest.param(
            [token_log(index=9), event_log(index=2)],
            [(CREDITED, 1000)],
            id="log order is the receipt's, whatever the numbers say",
        ),
        pytest.param(
            [token_log(index=1), token_log(index=2, to=BUYER, value=10), event_log(**FEE)],
            [(CREDITED, 1000)],
            id="payment and fee",
        ),
        pytest.param([token_log(), event_log(**FEE)], [(SHORT, 1000)], id="the fee never moved"),
        pytest.param(
            [token_log(index=1), token_log(index=2, to=BUYER, value=9), event_log(**FEE)],
            [(SHORT, 1000)],
            id="the fee moved in part",
        ),
        pytest.param([token_log(), event_log(fee=10, fee_to=ZERO)], [(CREDITED, 1000)], id="a fee to nobody is no fee"),
        pytest.param(
            [token_log(), event_log(fee=1000, fee_to=SHOP)],
            [(NOTHING, 0)],
            id="one movement cannot be payment and fee",
        ),
        pytest.param(
            [token_log(index=1, value=99), token_log(index=2, value=9), event_log(amount=100, fee=10, fee_to=SHOP)],
            [(SHORT, 99)],
            id="payment and fee to one address, both short",
        ),
    ],
)
async def test_every_proxy_event_needs_a_movement_of_its_own(logs, expected):
    assert await paired(*logs) == expected


async def test_the_sender_is_whoever_the_token_was_taken_from():
    (paid,) = (await read(receipt_of(token_log(), event_log()))).events.values()
    assert paid.match.sender == BUYER


# --- words of refusal ----------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("code", "message", "span", "fixed"),
    [
        (-32000, "block range too large, max: 2000", 2000, True),
        (-32005, "exceed maximum block range: 5000", 5000, True),
        (-32005, "query returned more than 10000 results. Try with this block range [0x10, 0x1f].", 16, False),
        (-32600, "You can make eth_getLogs requests with up to a 10 block range.", 10, True),
        (-32600, "up to a 500 block range. This block range should work: [0x1, 0x1f4]", 500, True),
        (-32701, "maximum block range: 500", 500, True),
        (-32000, "logs matched by query exceeds limit of 10000", None, False),
        (-32008, "response size exceeded", None, False),
        (-32602, "Log response size exceeded. Max 150 MB", None, False),
        (-32005, "limit exceeded", None, False),
        (-32602, "range 1000000 exceeds limit of 10000", 10000, True),
        (-32614, "eth_getLogs is limited to a 10,000 range", 10000, True),
        (-32000, "block range is larger than max block range, block range = 5120, max block range = 5000", 5000, True),
        (-32600, "block range is too wide (maximum 1024)", 1024, True),
        (-32000, "requested too many blocks from 1 to 9999, maximum is set to 2048", 2048, True),
        (-32000, "eth_getLogs range is too large, max is 10k blocks", 10000, True),
        (-32000, "exceeds the range allowed for your plan (5000 > 100)", 100, True),
        (-32000, "query exceeds max results 20000, retry with the range 100-149", 50, False),
        (-32002, "query timeout exceeded", None, False),
        (-32602, "exceed max block range: 5000", 5000, True),
    ],
)
def test_a_range_refusal_is_recognised_with_what_the_node_would_take(code, message, span, fixed):
    refusal, *advice = classify(code, message)
    assert refusal in {ErrorKind.BLOCKS, ErrorKind.ROWS}
    assert advice == [span, fixed]


@pytest.mark.parametrize(
    ("code", "message", "refusal"),
    [
        (-32005, "daily request count exceeded, request rate limited", ErrorKind.RATE),
        (-32005, "rate limit exceeded", ErrorKind.RATE),
        (429, "slow down", ErrorKind.RATE),
        (-32000, "Too Many Requests", ErrorKind.RATE),
        (-32016, "Your app has exceeded its compute units per second capacity", ErrorKind.RATE),
        (-32602, "block range extends beyond current head block", ErrorKind.HEAD),
        (-39001, "Unknown block", ErrorKind.HEAD),
        (-32000, "header not found", ErrorKind.HEAD),
        (
            -32001,
            "One of the blocks specified in filter (fromBlock, toBlock or blockHash) cannot be found.",
            ErrorKind.HEAD,
        ),
        (-32601, "the method eth_getLogs does not exist/is not available", ErrorKind.UNSUPPORTED),
        (-32603, "Internal error", ErrorKind.OTHER),
        (0, "", ErrorKind.OTHER),
    ],
)
def test_other_refusals_are_told_apart(code, message, refusal):
    assert classify(code, message) == ErrorAdvice(refusal)


# --- spans ---------------------------------------------------------------------------------------


@pytest.mark.parametrize("span", [1, 2, 3, 2000])
@pytest.mark.parametrize("reread", [0, 1, 5, 200])
@pytest.mark.parametrize("after", [0, 3, 5000])
def test_a_page_always_moves_on_and_leaves_no_gap(span, reread, after):
    first, last = block_window(after, 9000, span, reread)
    assert 0 <= first <= after + 1 <= last
    assert last - first + 1 <= span


def test_a_page_never_passes_the_head():
    assert block_window(10, 12, 2000, 5) == (6, 12)


def test_a_span_grows_after_a_few_quick_answers_up_to_its_limit():
    span = BlockRangeLimiter.limited(5000)
    span.size = 2000
    for _ in range(9):
        span.answered(blocks=span.size, rows=0, seconds=0.1)
    assert span.size == 5000


@pytest.mark.parametrize(("reread", "first"), [(3, 98), (60, 41), (150, 0)])
def test_what_is_read_again_is_not_crowded_out_by_the_short_start(reread, first):
    span = BlockRangeLimiter.limited(None)
    assert block_window(100, 105, span.size_with_reread(reread), reread) == (first, 105)


def test_what_is_read_again_yields_to_what_a_node_refuses():
    span = BlockRangeLimiter.limited(None)
    span.refused(blocks=120, advice=ErrorAdvice(ErrorKind.BLOCKS, 20, fixed=True))
    assert span.size_with_reread(60) == 10
    assert BlockRangeLimiter.limited(30).size_with_reread(60) == 30


def test_short_pages_near_the_head_say_nothing_about_longer_ones():
    span = BlockRangeLimiter.limited(None)
    for _ in range(10):
        span.answered(blocks=5, rows=0, seconds=0.1)
    assert span.size == INITIAL_BLOCKS


@pytest.mark.parametrize(("rows", "seconds"), [(MAX_ROWS + 1, 0.1), (0, 10.1)])
def test_a_long_or_slow_answer_shrinks_the_next_question(rows, seconds):
    span = BlockRangeLimiter(size=2000)
    span.answered(blocks=2000, rows=rows, seconds=seconds)
    assert span.size == 1000


def test_the_nodes_own_rule_is_never_tried_to_exceed():
    span = BlockRangeLimiter.limited(None)
    span.refused(blocks=2000, advice=ErrorAdvice(ErrorKind.BLOCKS, 500, fixed=True))
    for _ in range(50):
        span.answered(blocks=span.size, rows=0, seconds=0.1)
    assert span.size == 500


@pytest.mark.parametrize("advice", [None, 2000, 9000])
def test_useless_advice_is_not_followed(advice):
    span = BlockRangeLimiter(size=2000)
    span.refused(blocks=2000, advice=ErrorAdvice(ErrorKind.BLOCKS, advice, fixed=True))
    assert span.size == 1000
