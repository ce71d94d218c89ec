"""Logs in a form no contract can give them: put aside one by one, and named, wherever logs are read."""

from __future__ import annotations

import asyncio

import pytest

from chains.errors import ChainError
from chains.evm.events import TRANSFER_TOPIC
from chains.evm.fee_proxy import EVENT_TOPIC
from chains.types import BalanceKey, Cursor, Head, Rail, ScanPage, Targets, UnreadableLog
from tests.chains.evm_world import SHOP, TOKEN, event_log, hash_of, token_log, tx_of, word

HEAD = Head(200, hash_of(200), 1_700_000_200)
START = Cursor(90, hash_of(90))
TARGETS = Targets(frozenset({SHOP}), tokens=frozenset({TOKEN}))
BAD, GOOD = tx_of(1), tx_of(2)
TO_SHOP = "0x" + word(SHOP)
DIRECT = {
    "data of other letters": {"data": "0x" + "g" * 64},
    "no data": {"data": None},
    "half a byte": {"data": "0x123"},
    "no topics": {"topics": None},
    "a number for a topic": {"topics": [TRANSFER_TOPIC, TO_SHOP, 7]},
    "a short destination": {"topics": [TRANSFER_TOPIC, TO_SHOP, "0x12"]},
    "a short sender": {"topics": [TRANSFER_TOPIC, "0x12", TO_SHOP]},
    "a destination of other letters": {"topics": [TRANSFER_TOPIC, TO_SHOP, "0x" + "g" * 64]},
    "no contract": {"address": None},
    "a contract of other letters": {"address": "0x" + "g" * 40},
    "a removed log": {"removed": True},
    "no block hash": {"blockHash": None},
    "a short block hash": {"blockHash": "0x12"},
    "a block number of other letters": {"blockNumber": "0xg"},
    "a block number that may be two": {"blockNumber": "150"},
    "no block number": {"blockNumber": None},
}
PROXY = {
    "data of other letters": {"data": "0x" + "0" * 319 + "z"},
    "too little data": {"data": "0x" + "0" * 256},
    "too much data": {"data": "0x" + "0" * 384},
    "no data": {"data": None},
    "a destination that is none": {"data": "0x" + "f" * 320},
    "a short reference": {"topics": [EVENT_TOPIC, "0x12"]},
    "no reference": {"topics": [EVENT_TOPIC]},
    "an event of other letters": {"topics": ["0x" + "g" * 64, TO_SHOP]},
    "no topics": {"topics": {}},
    "a removed log": {"removed": True},
    "a number for a block hash": {"blockHash": 5},
    "no block number": {"blockNumber": {}},
}
CASES = [(Rail.DIRECT, what) for what in DIRECT] + [(Rail.PROXY, what) for what in PROXY]
NOT_OURS = {
    "a worthless token's": (Rail.DIRECT, {"address": "0x" + "e0" * 20, "data": None}),
    "another event": (Rail.DIRECT, {"topics": ["0x" + "1" * 64], "data": 7}),
    "somebody else's": (Rail.DIRECT, {"topics": [TRANSFER_TOPIC, TO_SHOP, "0x" + "0" * 64], "data": "0x1"}),
    "another contract's event": (Rail.PROXY, {"address": TOKEN}),
    "another event of the proxy": (Rail.PROXY, {"topics": ["0x" + "1" * 64, TO_SHOP]}),
    "another contract's, garbled": (Rail.PROXY, {"address": TOKEN, "data": None}),
}


def a_log(rail, **facts):
    return token_log(to=SHOP, **facts) if rail is Rail.DIRECT else event_log(**facts)


def shown(*logs):
    """Return what answers a question for logs: those of the blocks asked for, whatever they look like."""

    def answer(params):
        first, last = int(params[0]["fromBlock"], 16), int(params[0]["toBlock"], 16)
        return [log for block, log in logs if first <= block <= last]

    return answer


async def read(adapter, rail):
    """Read up to the head; return what was read and what could not be."""
    after, found, unread = START, [], []
    while after.position < HEAD.position:
        page = await adapter.scan(rail, TARGETS, after, HEAD)
        assert isinstance(page, ScanPage)
        after = page.cursor
        found += page.transfers
        unread += page.unread
    return [transfer.tx_hash for transfer in found], unread


@pytest.mark.parametrize(("rail", "what"), CASES)
async def test_a_garbled_log_is_named_and_hides_no_other(world, rail, what):
    garbled = a_log(rail, block=150, tx=BAD) | (DIRECT if rail is Rail.DIRECT else PROXY)[what]
    logs = [(150, a_log(rail, block=150, tx=GOOD)), (150, garbled), (160, a_log(rail, block=160, tx=tx_of(3)))]
    node = await world.node(replies={"eth_getLogs": shown(*logs)})
    found, (unread,) = await read(await world.adapter(node), rail)
    assert found == [GOOD, tx_of(3)]
    assert (unread.position, unread.tx_hash) == (150, BAD)
    assert unread.why


@pytest.mark.parametrize("row", [None, 5, "0x", [], {}, {"transactionHash": 7}])
@pytest.mark.parametrize("rail", list(Rail))
async def test_a_row_that_is_no_log_is_named_by_its_block(world, rail, row):
    logs = [(140, a_log(rail, block=140, tx=GOOD)), (150, row)]
    node = await world.node(replies={"eth_getLogs": shown(*logs)})
    found, (unread,) = await read(await world.adapter(node), rail)
    assert found == [GOOD]
    assert (unread.position, unread.tx_hash) == (150, None)


@pytest.mark.parametrize("what", NOT_OURS)
async def test_what_can_never_be_a_payment_is_passed_over(world, what):
    rail, change = NOT_OURS[what]
    logs = [(150, a_log(rail, block=150, tx=BAD) | change), (150, a_log(rail, block=150, tx=GOOD))]
    node = await world.node(replies={"eth_getLogs": shown(*logs)})
    assert await read(await world.adapter(node), rail) == ([GOOD], [])


@pytest.mark.parametrize("rail", list(Rail))
async def test_the_endpoint_that_shows_it_is_preferred_and_the_other_is_not_left_alone(world, rail):
    right = a_log(rail, block=150, tx=BAD)
    first = await world.node(replies={"eth_getLogs": shown((150, right | {"data": None}))})
    second = await world.node(replies={"eth_getLogs": shown((150, right))})
    adapter = await world.adapter(first, second)
    assert await read(adapter, rail) == ([BAD], [])
    assert [report.state.value for report in adapter.condition().endpoints][1] == "ok"
    assert "resting" not in {report.state.value for report in adapter.condition().endpoints}


@pytest.mark.parametrize("rail", list(Rail))
async def test_an_answer_about_other_blocks_says_nothing(world, rail):
    logs = [(150, a_log(rail, block=150, tx=GOOD)), (150, a_log(rail, block=10, tx=BAD))]
    node = await world.node(replies={"eth_getLogs": shown(*logs)})
    with pytest.raises(ChainError, match="a log of block 10, outside"):
        await read(await world.adapter(node), rail)


async def test_too_many_garbled_logs_are_no_bad_item(world):
    logs = [(150, token_log(to=SHOP, block=150, tx=tx_of(number)) | {"data": None}) for number in range(51)]
    node = await world.node(replies={"eth_getLogs": shown(*logs)})
    with pytest.raises(ChainError, match="more than 50 logs cannot be read"):
        await read(await world.adapter(node), Rail.DIRECT)


async def test_a_second_look_names_it_as_well(world, monkeypatch):
    monkeypatch.setattr(asyncio, "sleep", nothing)
    log = token_log(to=SHOP, block=150, tx=BAD)
    node = await world.node(replies={"eth_getLogs": shown((150, log | {"data": None}))})
    adapter = await world.adapter(node)
    await adapter.head()
    again = await adapter.rescan([SHOP], since=1_700_000_100, until=1_700_000_190)
    assert (again.transfers, again.unread) == ([], {})
    assert [(each.position, each.tx_hash) for each in again.unread_logs] == [(150, BAD)]


async def test_a_second_look_that_breaks_off_says_how_far_it_came(world, monkeypatch):
    monkeypatch.setattr(asyncio, "sleep", nothing)
    log = token_log(to=SHOP, block=120, tx=GOOD)

    def answer(params):
        if int(params[0]["toBlock"], 16) > 150:
            raise LookupError(-32601, "the method eth_getLogs is not available")
        return shown((120, log))(params)

    adapter = await world.adapter(await world.node(replies={"eth_getLogs": answer}), max_log_range=7)
    await adapter.head()
    again = await adapter.rescan([SHOP], since=1_700_000_100, until=1_700_000_190)
    assert [transfer.tx_hash for transfer in again.transfers] == [GOOD]
    assert again.unread.keys() == {SHOP}
    assert 1_700_000_140 < again.read_to <= 1_700_000_150


async def nothing(_):
    return None


async def test_movements_that_cannot_all_be_read_are_not_told(world):
    log = token_log(to=SHOP, block=150, tx=BAD)
    node = await world.node(replies={"eth_getLogs": shown((150, log | {"data": None}))})
    with pytest.raises(ChainError, match="cannot be read"):
        await (await world.adapter(node)).token_receipts([BalanceKey(SHOP, TOKEN)], first=100, last=200)


RECEIPT_LOGS = {
    "no list": None,
    "a number": [5],
    "no data": [token_log(to=SHOP, block=95, tx=BAD) | {"data": None}],
    "half a byte": [token_log(to=SHOP, block=95, tx=BAD) | {"data": "0x123"}],
}


@pytest.mark.parametrize("what", RECEIPT_LOGS)
async def test_a_receipt_that_cannot_be_read_hides_no_other_of_its_block(world, what):
    node = await world.node(filters=True, max_range=0, range_message="limit exceeded")
    node.fill(token_log(to=SHOP, block=95, tx=BAD), token_log(to=SHOP, block=95, tx=GOOD))
    node.receipts[BAD] |= {"logs": RECEIPT_LOGS[what]}
    page = await (await world.adapter(node)).scan(Rail.DIRECT, TARGETS, Cursor(94, hash_of(94)), HEAD)
    assert [transfer.tx_hash for transfer in page.transfers] == [GOOD]
    assert [(each.position, each.tx_hash) for each in page.unread] == [(95, BAD)]


@pytest.mark.parametrize("shows", [None, {"transactionHash": BAD}, 5, "EOF"])
async def test_a_receipt_that_is_not_shown_hides_no_other_of_its_block(world, shows):
    node = await world.node(filters=True, max_range=0, range_message="limit exceeded")
    node.fill(token_log(to=SHOP, block=95, tx=BAD), token_log(to=SHOP, block=95, tx=GOOD))
    right = dict(node.receipts)
    node.replies["eth_getBlockReceipts"] = [right[GOOD], {"transactionHash": BAD}]

    def answer(params):
        if params[0] == BAD and shows == "EOF":
            raise LookupError(-32000, "EOF")
        return shows if params[0] == BAD else right[params[0]]

    node.replies["eth_getTransactionReceipt"] = answer
    page = await (await world.adapter(node)).scan(Rail.DIRECT, TARGETS, Cursor(94, hash_of(94)), HEAD)
    assert [transfer.tx_hash for transfer in page.transfers] == [GOOD]
    assert page.unread == (UnreadableLog(95, BAD, "its receipt is not shown"),)


async def test_a_block_of_which_half_the_receipts_are_missing_is_not_read(world):
    node = await world.node(filters=True, max_range=0, range_message="limit exceeded")
    node.fill(*(token_log(to=SHOP, block=95, tx=tx_of(number)) for number in range(5)))
    right = dict(node.receipts)
    node.replies["eth_getBlockReceipts"] = [right[tx_of(0)], right[tx_of(1)]]
    node.replies["eth_getTransactionReceipt"] = None
    with pytest.raises(ChainError):
        await (await world.adapter(node)).scan(Rail.DIRECT, TARGETS, Cursor(94, hash_of(94)), HEAD)
