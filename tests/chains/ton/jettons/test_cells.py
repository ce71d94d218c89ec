"""What is inside cells, and where a jetton wallet is."""

from __future__ import annotations

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from chains.ton.jettons import cells
from devnet.ton.ledger import RECORDED
from tests.chains.ton_world import OWNER

RECORD = json.loads(RECORDED.read_text())


MASTER = RECORD["master"]


USDT_CODE = "te6cckEBAQEAIwAIQgKPRS16Tf10BmtoI2UXclntBXNENb52tf1L1divK3w9aCBrv3Y="  # as the chain holds it: a library


NOTHING = "te6cckEBAQEAAgAAAEysuc0="


def leg_row(**changes):
    case = next(case for case in RECORD["cases"] if case["name"] == "success")
    row = next(tx for tx in case["transactions"] if tx["in_msg"]["opcode"] == "0x178d4519")
    return json.loads(json.dumps(row)) | changes


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
