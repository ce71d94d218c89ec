"""The pure parts of the TON family: cells, rows, sizes; and that any order of rows ends in the same transfers."""

from __future__ import annotations

import asyncio
import json
from contextlib import AsyncExitStack

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from chains.errors import ChainProtocolError
from chains.ton import transfers as paging
from chains.ton.decode import parse_block, parse_token
from chains.ton.jettons import cells
from chains.ton.jettons.credit_tx import parse_credit_tx
from chains.ton.values import number, rows_of
from chains.types import Cursor, Rail, TokenMeta
from devnet.ton.ledger import RECORDED
from tests.chains.ton_world import OWNER, START, Targets, TonWorld

RECORD = json.loads(RECORDED.read_text())
MASTER = RECORD["master"]
USDT_CODE = "te6cckEBAQEAIwAIQgKPRS16Tf10BmtoI2UXclntBXNENb52tf1L1divK3w9aCBrv3Y="  # as the chain holds it: a library
NOTHING = "te6cckEBAQEAAgAAAEysuc0="


def leg_row(**changes):
    case = next(case for case in RECORD["cases"] if case["name"] == "success")
    row = next(tx for tx in case["transactions"] if tx["in_msg"]["opcode"] == "0x178d4519")
    return json.loads(json.dumps(row)) | changes


# --- cells ---------------------------------------------------------------------------------------


@pytest.mark.parametrize(("owner", "wallet"), RECORD["wallets"].items())
def test_a_jetton_wallet_is_where_the_contract_said(owner, wallet):
    standard, governed = cells.derived_wallets(RECORD["wallet_code"]["boc"], master=MASTER, owner=owner)
    assert standard == wallet != governed


def test_wallets_of_a_code_that_is_kept_in_a_library_can_be_computed():
    first, second = cells.derived_wallets(USDT_CODE, master=MASTER, owner=OWNER)
    assert first != second
    assert cells.derived_wallets(USDT_CODE, master=OWNER, owner=MASTER) != [first, second]


def test_the_message_between_wallets_says_who_pays_how_much():
    told = cells.internal_transfer(leg_row()["in_msg"]["message_content"]["body"])
    assert told == (5_000_000, RECORD["buyer"])


@pytest.mark.parametrize("raw", [OWNER, "-1:" + "5E" * 32])
def test_an_address_in_a_cell_is_read_back(raw):
    assert cells.address_in(cells.address_cell(raw)) == raw


@pytest.mark.parametrize("boc", ["", "te6", "////", NOTHING, RECORD["wallet_code"]["boc"][:40], "0" * 64])
def test_cells_that_are_none_are_nothing(boc):
    assert cells.internal_transfer(boc) is None
    assert cells.address_in(boc) is None


@given(st.binary(max_size=200))
def test_no_bytes_make_the_library_raise(data):
    for boc in (data.hex(), f"b5ee9c72{data.hex()}"):
        assert cells.internal_transfer(boc) is None or boc
        cells.address_in(boc)
        cells.derived_wallets(boc, master=MASTER, owner=OWNER)


def test_another_message_is_no_transfer():
    notification = next(
        message["message_content"]["body"] for message in leg_row()["out_msgs"] if message["opcode"] == "0x7362d09c"
    )
    assert cells.internal_transfer(notification) is None


# --- rows ----------------------------------------------------------------------------------------


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


# --- any order -----------------------------------------------------------------------------------

PAYMENTS = st.lists(
    st.tuples(st.integers(0, 120), st.integers(0, 6), st.integers(0, 59)),  # second, lt within it, seconds unindexed
    max_size=12,
)


@settings(max_examples=25, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(payments=PAYMENTS, page=st.integers(1, 4), step=st.integers(5, 40), restart=st.booleans())
def test_any_order_of_pages_repetitions_restarts_and_late_rows_ends_in_the_same_transfers(
    monkeypatch, payments, page, step, restart
):
    monkeypatch.setattr(paging, "PAGE", page)
    asyncio.run(asyncio.wait_for(_story(payments, step, restart=restart), 60))


async def _story(payments, step, *, restart):
    async with AsyncExitStack() as stack:
        ton = TonWorld(stack)
        center, adapter = await ton.both()
        waiting = [(START + second, lt, START + second + late) for second, lt, late in payments]
        cursor, found, end = Cursor(START - 1), set(), START + 240
        while cursor.position < end:
            for at, lt, known in [payment for payment in waiting if payment[2] <= ton.ledger.now]:
                waiting.remove((at, lt, known))
                ton.ledger.pay(OWNER, at=at, lt=3_000_000 + (at - START) * 1_000_000 + lt)
            head = await adapter.head()
            page = await adapter.scan(Rail.DIRECT, Targets(frozenset({OWNER})), cursor, head, reread_s=60)
            found |= {(transfer.tx_hash, transfer.event_key) for transfer in page.transfers}
            cursor = page.cursor
            if restart:
                adapter = await ton.adapter(center)
            ton.ledger.now += step
            ton.ledger.blocks.append((ton.ledger.now, 3_000_000 + (ton.ledger.now - START) * 1_000_000))
        assert found == {(payment.tx_hash, payment.row["transaction_lt"]) for payment in ton.ledger.payments}
        assert len(found) == len(payments)
