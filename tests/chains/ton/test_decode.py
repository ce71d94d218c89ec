"""TonCenter rows as read: strict."""

from __future__ import annotations

import json

import pytest

from chains.errors import ChainProtocolError
from chains.ton.decode import parse_block, parse_token
from chains.ton.jettons.credit_tx import parse_credit_tx
from chains.ton.values import number, rows_of
from chains.types import TokenMeta
from devnet.ton.ledger import RECORDED
from tests.chains.ton_world import OWNER

RECORD = json.loads(RECORDED.read_text())


MASTER = RECORD["master"]


def leg_row(**changes):
    case = next(case for case in RECORD["cases"] if case["name"] == "success")
    row = next(tx for tx in case["transactions"] if tx["in_msg"]["opcode"] == "0x178d4519")
    return json.loads(json.dumps(row)) | changes


@pytest.mark.parametrize("opcode", ["0x178d4519", 0x178D4519, 0x178D4519 - 2**32])
def test_an_opcode_is_text_or_a_number_that_may_be_negative(opcode):
    row = leg_row()
    row["in_msg"]["opcode"] = opcode
    assert parse_credit_tx(row).opcode == 0x178D4519


@pytest.mark.parametrize("opcode", [None, "", "transfer", 1.5, []])
def test_an_opcode_that_is_none_matches_nothing(opcode):
    row = leg_row()
    row["in_msg"]["opcode"] = opcode
    assert parse_credit_tx(row).opcode is None


@pytest.mark.parametrize(
    "changes", [{"emulated": True}, {"finality": "pending"}, {"finality": "confirmed"}, {"finality": 1}]
)
def test_a_transaction_that_is_not_final_is_no_leg(changes):
    assert parse_credit_tx(leg_row(**changes)) is None


@pytest.mark.parametrize("changes", [{}, {"finality": "finalized"}, {"finality": 2}, {"emulated": False}])
def test_a_transaction_that_is_final_is_a_leg(changes):
    assert parse_credit_tx(leg_row(**changes)).succeeded


def test_a_transaction_without_a_sender_is_no_leg():
    row = leg_row()
    row["in_msg"]["source"] = None
    assert parse_credit_tx(row) is None
    assert parse_credit_tx(leg_row(in_msg=None)) is None


def test_what_bounced_is_no_success():
    row = leg_row()
    row["in_msg"]["bounced"] = True
    assert not parse_credit_tx(row).succeeded


def test_a_transaction_that_does_not_say_how_it_went_is_an_error():
    with pytest.raises(ChainProtocolError, match="how it went"):
        parse_credit_tx(leg_row(description=None))


@pytest.mark.parametrize("value", [None, -1, "-1", "", "1.0", "0x1", 1.0, True, "9" * 79, "٣"])
def test_what_is_no_natural_number_is_an_error(value):
    with pytest.raises(ChainProtocolError):
        number(value, "amount")


@pytest.mark.parametrize("block", [None, [], {}, {"gen_utime": "1", "start_lt": "1"}, {"global_id": -239}])
def test_a_block_that_makes_no_sense_is_an_error(block):
    with pytest.raises(ChainProtocolError):
        parse_block(block)


@pytest.mark.parametrize("answer", [{}, {"rows": None}, {"rows": {}}, {"rows": "[]"}])
def test_an_answer_without_its_list_is_an_error(answer):
    with pytest.raises(ChainProtocolError):
        rows_of(answer, "rows")


def masters(content, info=None):
    about = {MASTER: {"is_indexed": True, "token_info": [info]}} if info else {}
    return {"jetton_masters": [{"address": MASTER, "jetton_content": content}], "metadata": about}


@pytest.mark.parametrize(
    ("answer", "meta"),
    [
        (masters({"symbol": "A", "decimals": "6"}), TokenMeta("A", 6)),
        (masters({"symbol": "A", "decimals": 0}), TokenMeta("A", 0)),
        (masters({"symbol": "A"}), TokenMeta("A", 9)),
        (masters({"decimals": "6"}, {"type": "jetton_masters", "symbol": "USD₮"}), TokenMeta("USD₮", 6)),
        (
            masters({"uri": "x"}, {"type": "jetton_masters", "symbol": "B", "extra": {"decimals": "2"}}),
            TokenMeta("B", 2),
        ),
        (masters({"symbol": "A", "decimals": "6"}, {"type": "jetton_masters", "symbol": "B"}), TokenMeta("A", 6)),
        (masters({"decimals": "6"}), TokenMeta(None, 6)),
        (masters({"symbol": "A", "decimals": "many"}), TokenMeta("A", None)),
        (masters({"symbol": "A", "decimals": "78"}), TokenMeta("A", None)),
        (masters({"symbol": "A" * 65, "decimals": "6"}), TokenMeta(None, 6)),
        (masters({"symbol": "A\n", "decimals": "6"}), TokenMeta("A", 6)),
        (masters({"symbol": "A\nB", "decimals": "6"}), TokenMeta(None, 6)),
        (masters({"symbol": ["A"], "decimals": "6"}), TokenMeta(None, 6)),
        (masters({"symbol": 7, "decimals": None}), None),
        (masters({"decimals": "6"}, {"type": "nft_items", "symbol": "N"}), TokenMeta(None, 6)),
        ({"jetton_masters": []}, None),
        ({"jetton_masters": [{"address": OWNER, "jetton_content": {"symbol": "A"}}]}, None),
    ],
)
def test_a_jetton_is_what_it_says_on_chain_first(answer, meta):
    assert parse_token(answer, MASTER) == meta
