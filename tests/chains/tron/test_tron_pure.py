"""The pure parts of the Tron family: addresses, receipts, what errors mean, and which way is cheapest."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st
from tronpy.keys import to_base58check_address, to_hex_address

from addresses.base58 import decode_check, encode_check
from chains.errors import ChainProtocolError, InvalidAddress
from chains.tron import contract_calls
from chains.tron.address import ZERO_ADDRESS, from_hex, parse_address, to_hex, topic
from chains.tron.decode import Block, Receipt, parse_block, parse_receipt, parse_rpc_block, transfers_of
from chains.tron.receipt_verification import transfers_by_key, verify_transfer
from chains.tron.rpc.provider_errors import ErrorKind, asked_to_wait, classify
from chains.tron.scan.account_history import parse_history
from chains.tron.scan.strategy import ScanStrategy, choose_strategy
from chains.tron.transfer_log import TRANSFER_TOPIC, TransferLog
from chains.types import VerificationOutcome
from devnet.tron.ledger import USDT, account

USDT_HEX = "a614f803b6fd780986a42c78ec9c7f77e6ded13c"
SHOP = account("shop")
TX = "ab" * 32
twenty = st.binary(min_size=20, max_size=20).filter(any)


# --- addresses -----------------------------------------------------------------------------------


def test_the_known_contract_is_spelt_as_everybody_spells_it():
    assert to_hex(USDT) == USDT_HEX
    assert from_hex(USDT_HEX) == USDT
    assert topic(USDT) == "0" * 24 + USDT_HEX
    assert ZERO_ADDRESS == "T9yD14Nj9j7xAB4dbGeiX9h8unkKHxuWwb"


@given(twenty)
def test_both_spellings_of_an_address_are_one_and_agree_with_tronpy(raw):
    canonical = parse_address("41" + raw.hex())
    assert canonical == parse_address("41" + raw.hex().upper()) == parse_address(canonical)
    assert canonical == to_base58check_address(b"\x41" + raw)
    assert "41" + to_hex(canonical) == to_hex_address(canonical)


@given(twenty, st.integers(0, 33), st.sampled_from("123456789ABCDEFGHJKLMNPQRSTUVWXYZabcdefghijkmnopqrstuvwxyz"))
def test_a_mistyped_character_is_never_accepted(raw, place, char):
    right = from_hex(raw.hex())
    wrong = right[:place] + char + right[place + 1 :]
    if wrong != right:
        with pytest.raises(InvalidAddress):
            parse_address(wrong)


@pytest.mark.parametrize(
    ("text", "sentence"),
    [
        ("0x" + USDT_HEX, "somebody's EVM address"),
        ("0x41" + USDT_HEX, "T and 33 base58 characters, or 41 and 40 hex digits"),
        (USDT_HEX, "T and 33 base58"),
        ("42" + USDT_HEX, "T and 33 base58"),
        ("41" + USDT_HEX[:-1], "T and 33 base58"),
        (USDT[:-1], "T and 33 base58"),
        (USDT + "j", "T and 33 base58"),
        (USDT.lower(), "T and 33 base58"),
        (" " + USDT, "T and 33 base58"),
        (USDT + "\n", "T and 33 base58"),
        ("", "T and 33 base58"),
        ("T" + "0" * 33, "T and 33 base58"),
        (USDT[:-1] + "k", "does not match its checksum"),
        (ZERO_ADDRESS, "the zero address"),
        ("41" + "0" * 40, "the zero address"),
        (encode_check(b"\x42" + bytes.fromhex(USDT_HEX)), "of another network"),
        ("T" + "٣" * 33, "T and 33 base58"),
    ],
)
def test_what_is_no_address_is_refused_with_a_sentence(text, sentence):
    with pytest.raises(InvalidAddress, match=sentence):
        parse_address(text)


@given(st.binary(max_size=40))
def test_base58_is_undone_by_reading_it(raw):
    assert decode_check(encode_check(raw)) == raw


@pytest.mark.parametrize("text", ["", "1", "0", "l", "abc", "z" * 65])
def test_what_carries_no_checksum_is_no_base58(text):
    with pytest.raises(ValueError, match=r"checksum|base58|long"):
        decode_check(text)


# --- receipts ------------------------------------------------------------------------------------


def word(value):
    return f"{value:064x}"


def raw_receipt(**changes):
    log = {"address": USDT_HEX, "topics": [TRANSFER_TOPIC, topic(account("buyer")), topic(SHOP)], "data": word(5)}
    return {
        "id": TX,
        "blockNumber": 42054864,
        "blockTimeStamp": 1700704884000,
        "contractResult": [word(0)],
        "receipt": {"energy_usage_total": 29650, "result": "SUCCESS"},
        "log": [log],
    } | changes


def with_log(**changes):
    return raw_receipt(log=[raw_receipt()["log"][0] | changes])


def test_a_receipt_is_read_with_every_transfer_in_it():
    receipt = parse_receipt(raw_receipt())
    credit = TransferLog(USDT, account("buyer"), SHOP, 5, place=0)
    assert receipt == Receipt(TX, 42054864, 1700704884000, succeeded=True, transfers=(credit,), events=1)
    assert parse_receipt({}) is None


def test_a_transfer_is_keyed_by_what_it_says_and_which_of_its_equals_it_is():
    log = raw_receipt()["log"][0]
    other = log | {"topics": ["00" * 32]}
    (a, b) = transfers_of(parse_receipt(raw_receipt(log=[other, log, other, log])), chain_id=1, destinations={SHOP})
    (c, d) = transfers_of(parse_receipt(raw_receipt(log=[log, log, other])), chain_id=1, destinations={SHOP})
    assert (a.event_key, b.event_key) == (c.event_key, d.event_key)
    assert a.event_key != b.event_key
    assert [(t.log_index) for t in (a, b, c, d)] == [1, 3, 0, 1]
    assert len(a.event_key) <= 128


@pytest.mark.parametrize(
    "changes",
    [
        {"receipt": {"result": "REVERT"}},
        {"receipt": {"result": "OUT_OF_ENERGY"}},
        {"result": "FAILED"},
        {"result": "FAILED", "receipt": {}},
    ],
)
def test_only_success_said_twice_over_is_success(changes):
    receipt = parse_receipt(raw_receipt(**changes))
    assert not receipt.succeeded
    assert transfers_of(receipt, chain_id=1, destinations={SHOP}) == []


@pytest.mark.parametrize("contract", [{}, None, {"result": None}, {"result": 1}, {"result": ""}, "SUCCESS", []])
def test_a_receipt_with_transfers_that_does_not_say_how_it_went_is_unreadable(contract):
    with pytest.raises(ChainProtocolError, match="does not say"):
        parse_receipt(raw_receipt(receipt=contract))
    assert parse_receipt(raw_receipt(receipt=contract, log=[])).succeeded is False  # nobody's concern


@pytest.mark.parametrize(
    "raw",
    [
        with_log(topics=[TRANSFER_TOPIC, topic(SHOP)]),
        with_log(topics=[TRANSFER_TOPIC, topic(SHOP), topic(SHOP), word(7)]),
        with_log(topics=["8c5be1e5" + "0" * 56, topic(SHOP), topic(SHOP)]),
        with_log(topics=[]),
        with_log(data=""),
        with_log(data=word(5) + word(6)),
    ],
)
def test_events_of_another_shape_are_no_transfers(raw):
    assert parse_receipt(raw).transfers == ()


@pytest.mark.parametrize(
    "raw",
    [
        None,
        [],
        raw_receipt(id="zz"),
        raw_receipt(id=None),
        raw_receipt(blockTimeStamp=None),
        raw_receipt(blockTimeStamp=2**60),
        raw_receipt(blockNumber=-1),
        raw_receipt(blockNumber=True),
        raw_receipt(log={}),
        raw_receipt(log=["x"]),
        raw_receipt(blockTimeStamp=1_700_704_884),  # seconds
        with_log(address="T" * 34),
        with_log(address="42" + USDT_HEX + "00"),
        with_log(topics=[TRANSFER_TOPIC, topic(SHOP), 7]),
        with_log(topics=[TRANSFER_TOPIC, topic(SHOP), "not hex" * 9]),
        with_log(data="five"),
        with_log(data=5),
    ],
)
def test_a_receipt_no_correct_node_sends_is_an_error(raw):
    with pytest.raises(ChainProtocolError):
        parse_receipt(raw)


def test_amounts_are_exact_to_the_last_unit():
    receipt = parse_receipt(with_log(data="f" * 64))
    assert receipt.transfers[0].value == 2**256 - 1


def test_a_verdict_carries_what_the_receipt_says_of_sender_and_time():
    receipt = parse_receipt(raw_receipt())
    (transfer,) = transfers_of(receipt, chain_id=1, destinations={SHOP})
    seen = verify_transfer(transfer._replace(sender=None, block_time=None), receipt, transfers_by_key(receipt))
    assert (seen.outcome, seen.transfer) == (VerificationOutcome.CREDITED, transfer)


# --- blocks and histories ------------------------------------------------------------------------


def test_both_sides_of_a_service_tell_the_same_block_the_same_way():
    raw = {"blockID": "0" * 8 + "ab" * 28, "block_header": {"raw_data": {"number": 7, "timestamp": 1700704884000}}}
    rpc = {"number": "0x7", "hash": "0x" + "0" * 8 + "ab" * 28, "timestamp": hex(1700704884)}
    assert parse_block(raw) == parse_rpc_block(rpc) == Block(7, 1700704884000, "0" * 8 + "ab" * 28)
    assert parse_block({}) is None
    assert parse_rpc_block(None) is None


def test_the_genesis_block_leaves_its_zeros_out():
    raw = {"blockID": "0" * 64, "block_header": {"raw_data": {"parentHash": "e5"}}}
    assert parse_block(raw) == Block(0, 0, "0" * 64)


@pytest.mark.parametrize("raw", [None, [], {"blockID": "0" * 64}, {"block_header": {"raw_data": {}}}, {"Error": "x"}])
def test_a_block_no_correct_node_sends_is_an_error(raw):
    with pytest.raises(ChainProtocolError):
        parse_block(raw)


@pytest.mark.parametrize("raw", [None, {}, {"data": None}, {"data": [{}]}, {"data": [], "meta": 1}, {"data": ["x"]}])
def test_a_history_no_correct_service_sends_is_an_error(raw):
    with pytest.raises(ChainProtocolError):
        parse_history(raw)


# --- errors --------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("text", "status", "seconds"),
    [
        ("The key exceeds the frequency limit(15), and the query server is suspended for 30s", 429, 30),
        ("The key exceeds the frequency limit(15), and the query server is suspended for 5s", 403, 5),
        ("The key exceeds the frequency limit(5), and the query server is suspended for 27 s", 503, 27),
        ("request rate exceeded the allowed_rps(5), and the query server is suspended for 2s", 429, 2),
        ("suspended for 999999s", 429, 600),
        ("", 429, 10),
        ("Too many requests", 200, 10),
        ("request too quickly, please retry later.", 403, 10),
        ("Exceed the user daily usage 100000", 403, 10),
        ("daily quota exceeded", 403, 10),
        ("your plan's quota is used up", 200, 10),
        ("You have reached the daily limit of requests", 503, 10),
        ("out of credits", 402, 10),
        ("rate limit reached, retry after 12 seconds", 403, 12),
        ("Too many requests, please try again in 2 minutes", 429, 120),
        ("daily quota exceeded, retry in 500 ms", 429, 0.5),
        ("quota exceeded, try again after 6h", 403, 600),
        ("wait 9 s before blocks are found", 200, None),
        ("Forbidden", 403, None),
        ("internal error", 500, None),
    ],
)
def test_a_suspension_is_read_from_the_text_for_there_is_no_retry_after(text, status, seconds):
    assert asked_to_wait(text, status=status) == seconds


@pytest.mark.parametrize(
    ("code", "message", "refusal", "allowed"),
    [
        (-32602, "exceed max block range: 5000", ErrorKind.RANGE, 5000),
        (-32005, "query returned more than 10000 results", ErrorKind.ROWS, None),
        (-32602, "eth_getLogs is limited to a 5 block range", ErrorKind.RANGE, 5),
        (-32000, "response is too large", ErrorKind.ROWS, None),
        (-32602, "exceed max sub topics: 20", ErrorKind.TOPICS, 20),
        (-32602, "exceed max addresses or topics per search position", ErrorKind.TOPICS, None),
        (-32601, "the method eth_getLogs does not exist/is not available", ErrorKind.UNSUPPORTED, None),
        (-32000, "method eth_getLogs is not supported", ErrorKind.UNSUPPORTED, None),
        (-32005, "this node has a lack of computing resources", ErrorKind.BUSY, None),
        (-32005, "the query server is suspended for 30s", ErrorKind.BUSY, None),
        (-32600, "REVERT opcode executed", ErrorKind.OTHER, None),
    ],
)
def test_a_json_rpc_error_says_what_to_do(code, message, refusal, allowed):
    advice = classify(code, message)
    assert (advice.kind, advice.suggested) == (refusal, allowed)


# --- which way -----------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("destinations", "blocks", "way"),
    [
        (1, 25, ScanStrategy.ACCOUNTS),
        (24, 25, ScanStrategy.ACCOUNTS),
        (25, 25, ScanStrategy.BLOCKS),
        (1000, 5, ScanStrategy.BLOCKS),
        (1000, 28_800, ScanStrategy.ACCOUNTS),
        (1, 0, ScanStrategy.BLOCKS),
    ],
)
def test_the_way_with_fewer_calls_is_taken(destinations, blocks, way):
    assert choose_strategy(destinations=destinations, blocks=blocks) is way


@pytest.mark.parametrize(
    ("answer", "symbol"),
    [
        (f"{32:064x}{4:064x}" + b"USDT".hex().ljust(64, "0"), "USDT"),
        (f"{64:064x}{0:064x}{4:064x}" + b"USDT".hex().ljust(64, "0"), "USDT"),
        (f"{64:064x}{0:064x}{4:064x}" + b"USD".hex(), None),
        (f"{64:064x}{0:064x}{2**255:064x}", None),
        (f"{2**255:064x}{4:064x}", None),
    ],
)
async def test_a_symbol_is_read_wherever_the_contract_puts_it(answer: str, symbol: str | None) -> None:
    assert await contract_calls._symbol(bytes.fromhex(answer)) == symbol
