"""Tron receipts, blocks and histories as read: strict."""

from __future__ import annotations

import pytest

from chains.errors import ChainProtocolError
from chains.tron.address import topic
from chains.tron.decode import Block, Receipt, parse_block, parse_receipt, parse_rpc_block, transfers_of
from chains.tron.receipt_verification import transfers_by_key, verify_transfer
from chains.tron.scan.account_history import parse_history
from chains.tron.transfer_log import TRANSFER_TOPIC, TransferLog
from chains.types import VerificationOutcome
from devnet.tron.ledger import USDT, account

USDT_HEX = "a614f803b6fd780986a42c78ec9c7f77e6ded13c"


SHOP = account("shop")


TX = "ab" * 32


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
