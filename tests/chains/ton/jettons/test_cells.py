"""What is inside cells, and where a jetton wallet is."""

from __future__ import annotations

import base64
import contextlib
import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from chains.ton.jettons import cells
from chains.ton.jettons.credit_tx import succeeded
from devnet.ton.cells import INTERNAL_TRANSFER, Bits, Cell
from devnet.ton.ledger import RECORDED
from devnet.ton.transactions import transaction_cell
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


def test_what_real_contracts_did_is_read_from_their_cells():
    for case in RECORD["cases"]:
        for row in case["transactions"][1:]:  # the first is caused by no contract
            tx_hash = base64.b64decode(row["hash"]).hex()
            read = cells.node_transaction(base64.b64decode(case["cells"][row["hash"]]), tx_hash)
            message = row["in_msg"]
            assert read is not None
            assert (read.hash, f"0:{read.account}", read.lt) == (tx_hash, row["account"], int(row["lt"]))
            assert (read.time, read.succeeded) == (row["now"], succeeded(row["description"]))
            assert (read.source, read.sent_at) == (message["source"], int(message["created_lt"]))
            assert read.bounced is message["bounced"]
            assert read.message == base64.b64decode(message["hash"]).hex()
            assert read.transfer == cells.internal_transfer(message["message_content"]["body"])
            assert read.sends == {base64.b64decode(sent["hash"]).hex() for sent in row["out_msgs"]}


def transaction_of(body: Cell) -> Cell:
    """Return a transaction of a wallet that was told this."""
    row = leg_row()
    return transaction_cell(row | {"in_msg": row["in_msg"] | {"cell": body}}, nonce="")


@pytest.mark.timeout(20)
def test_a_message_whose_cells_share_others_is_read_at_once():
    shared = Cell(Bits("1"))
    for _ in range(200):
        shared = Cell(Bits("1"), (shared, shared))  # written out, these would be 2 to the 200th
    body = Bits().uint(INTERNAL_TRANSFER, 32).uint(0, 64).coins(7).address(OWNER)
    transaction = transaction_of(Cell(body, (shared, shared)))

    read = cells.node_transaction(transaction.boc(), transaction.known.hash.hex())

    assert read is not None
    assert read.transfer == (7, OWNER)


def test_another_transaction_than_the_one_asked_for_is_told_apart():
    transaction = transaction_of(Cell(Bits("1")))
    with pytest.raises(cells.OtherHash):
        cells.node_transaction(transaction.boc(), "ab" * 32)
    read = cells.node_transaction(transaction.boc(), transaction.known.hash.hex())
    assert read is not None
    assert read.transfer is None


@pytest.mark.timeout(20)
@pytest.mark.parametrize("count", [cells.MAX_CELLS + 1, 0xFFFF])
def test_more_cells_than_a_transaction_may_have_are_not_read(count):
    chain = Cell(Bits("1"))
    for _ in range(900):
        chain = Cell(Bits("1"), (chain,))
    whole = chain.boc()
    assert cells.node_transaction(whole[:6] + count.to_bytes(2, "big") + whole[8:], chain.known.hash.hex()) is None


@given(st.binary(max_size=200))
def test_no_bytes_of_a_node_make_the_library_raise(data):
    for boc in (data, bytes.fromhex("b5ee9c72") + data):
        cells.address_on_stack(boc)
        with contextlib.suppress(cells.OtherHash):
            assert cells.node_transaction(boc, "ab" * 32) is None


def test_an_address_on_a_stack_is_read_back():
    assert cells.address_on_stack(cells.address_stack(OWNER)) == OWNER
    assert cells.address_on_stack(Cell(Bits().uint(0, 24)).boc()) is None
    two = Cell(Bits().uint(2, 24).uint(4, 8).uint(0, 26), (Cell(Bits()), Cell(Bits().address(OWNER))))
    assert cells.address_on_stack(two.boc()) is None
