"""Every known trap of Tron services, one test each: what would be missed, invented or doubled without a guard."""

from __future__ import annotations

import logging

import orjson
import pytest

from chains.errors import ChainUnavailable
from chains.tron.address import to_hex
from chains.tron.logs import query_size
from chains.tron.logs.index_probe import PROBE_S
from chains.tron.logs.reader import AVOIDED_S
from chains.tron.scan.account_scanner import INDEX_LAG_MS
from chains.types import BalanceKey, Cursor, Head, Rail, Targets, VerificationOutcome
from devnet.tron.ledger import SLOT_MS, TRANSFER, USDT, Log, account
from tests.chains.tron_world import BUYER, SHOP, scan_all, scan_page

HISTORY = "/v1/accounts/transactions/trc20"
RECEIPT = "/walletsolidity/gettransactioninfobyid"
RECEIPTS = "/walletsolidity/gettransactioninfobyblocknum"


def crowd(tron, count, *, spread=1, to=SHOP):
    """Pay so many times, so many payments a block; return the transactions."""
    paid = []
    while len(paid) < count:
        paid += [tron.ledger.transfer(to, 1) for _ in range(min(spread, count - len(paid)))]
        tron.ledger.advance()
    return paid


def ids(found):
    return [transfer.tx_hash for transfer in found]


async def by_accounts(tron, **faults):
    """Return a service without JSON-RPC, an adapter of it, and a cursor with so many blocks behind it that histories are cheaper."""
    grid = await tron.grid(jsonrpc=False, **faults)
    return grid, await tron.adapter(grid), tron.start()


# --- JSON-RPC ------------------------------------------------------------------------------------


async def test_a_node_without_section_blooms_is_found_out_and_nothing_is_missed(tron, caplog):
    grid = await tron.grid(blind_below=2**62)
    adapter = await tron.adapter(grid)
    after = tron.start()
    first, paid = tron.ledger.solid + 1, []
    for calls in (1, 1, 2):
        paid.append(tron.ledger.transfer(SHOP, 5))
        tron.ledger.settle()
        found, after = await scan_all(adapter, after)
        assert ids(found) == paid[-1:]
        assert grid.calls["/jsonrpc"] == calls
        tron.now.seconds += AVOIDED_S / 2
    why = f"it does not find a transfer of block {first} that is there"
    assert [record.message for record in caplog.records if record.levelno >= logging.WARNING] == [
        f"[tron] JSON-RPC of {adapter.endpoint} cannot be used, looking by slower calls: {why}"
    ]


async def test_an_index_that_begins_above_the_blocks_to_read_is_found_out(tron):
    """As of a node whose JSON-RPC was switched on later than the payment."""
    grid = await tron.grid()
    adapter = await tron.adapter(grid)
    after = tron.start()
    paid = tron.ledger.transfer(SHOP, 5)
    tron.ledger.advance(500)
    grid.blind_below = tron.ledger.head - 100
    await scan_all(adapter, Cursor(tron.ledger.times[tron.ledger.solid - 2]))  # proven near the head
    found, _ = await scan_all(adapter, after)
    assert ids(found) == [paid]
    assert grid.calls["/jsonrpc"] == 2


async def test_json_rpc_is_tried_again_after_a_while_and_its_return_is_told(tron, caplog):
    grid = await tron.grid(blind_below=2**62)
    adapter = await tron.adapter(grid)
    _, after = await scan_all(adapter, tron.start())
    tron.ledger.advance(2)
    _, after = await scan_all(adapter, after)
    grid.heal()
    tron.now.seconds += AVOIDED_S - 1
    tron.ledger.advance(2)
    _, after = await scan_all(adapter, after)
    assert grid.calls["/jsonrpc"] == 1
    tron.now.seconds += 1
    tron.ledger.advance(2)
    with caplog.at_level(logging.INFO):
        await scan_all(adapter, after)
    assert grid.calls["/jsonrpc"] == 2
    assert "can be used again" in caplog.text


async def test_the_self_test_tells_of_a_missing_index(tron):
    grid = await tron.grid(blind_below=2**62)
    adapter = await tron.adapter(grid)
    after = tron.start()
    tron.ledger.advance(2)
    await scan_all(adapter, after)
    (problem,) = await adapter.self_test()
    assert "does not find transfers" in problem


async def test_every_request_proves_the_node_that_answers_it(tron):
    """Behind a load balancer the next node may be the one without an index."""
    grid = await tron.grid()
    adapter = await tron.adapter(grid)
    after = tron.start()
    tron.ledger.advance(5)
    _, after = await scan_all(adapter, after)
    paid = tron.ledger.transfer(SHOP, 5)
    tron.ledger.settle()
    grid.blind_below = 2**62
    found, _ = await scan_all(adapter, after)
    assert ids(found) == [paid]


async def test_the_probe_is_renewed_every_hour(tron):
    grid = await tron.grid()
    adapter = await tron.adapter(grid)
    after = tron.start()
    for seconds, probes in ((0, 1), (PROBE_S - 1, 1), (1, 2)):
        tron.now.seconds += seconds
        tron.ledger.advance(5)
        _, after = await scan_all(adapter, after)
        assert grid.calls[RECEIPTS] == probes


async def test_a_chain_too_quiet_for_a_proof_is_read_without_a_filter(tron):
    tron.ledger.busy = False
    grid = await tron.grid(blind_below=2**62)
    adapter = await tron.adapter(grid)
    after = tron.start()
    tron.ledger.advance(20)
    paid = tron.ledger.transfer(SHOP, 5)
    tron.ledger.settle()
    found, _ = await scan_all(adapter, after)
    assert ids(found) == [paid]
    calls = [call for route, asked in grid.asked if route == "/jsonrpc" for call in asked]
    logs = [call["params"][0] for call in calls if call["method"] == "eth_getLogs"]
    assert logs
    assert not any("topics" in question for question in logs)  # that index is blind, and nothing can prove it


@pytest.mark.parametrize(
    "refusal",
    [
        {"status": 404},
        {"status": 405},
        {"status": 403, "body": b'{"error":"JSON-RPC is not part of your plan"}'},
        {
            "body": b'{"jsonrpc":"2.0","id":null,"error":{"code":-32601,"message":"the method eth_getLogs does not exist"}}'
        },
        {"body": b'{"jsonrpc":"2.0","id":null,"error":{"code":-32600,"message":"batch requests are not supported"}}'},
    ],
)
async def test_where_json_rpc_is_refused_payments_are_found_otherwise(tron, refusal):
    grid = await tron.grid()
    grid.fail("/jsonrpc", **refusal)
    adapter = await tron.adapter(grid)
    after = tron.start()
    paid = tron.ledger.transfer(SHOP, 5)
    tron.ledger.settle()
    found, _ = await scan_all(adapter, after)
    assert ids(found) == [paid]
    assert adapter.endpoint  # and the endpoint itself stays in use
    assert grid.calls["/jsonrpc"] <= 20


@pytest.mark.parametrize("fault", [{"status": 500}, {"body": b"[1]"}, {"close": True}])
async def test_json_rpc_that_keeps_failing_is_left_alone_for_a_while(tron, fault):
    grid = await tron.grid()
    grid.fail("/jsonrpc", **fault)
    adapter = await tron.adapter(grid)
    after = tron.start()
    paid = tron.ledger.transfer(SHOP, 5)
    tron.ledger.settle()
    found, cursor = await scan_all(adapter, after)
    assert ids(found) == [paid]  # in the same poll, by slower calls
    for _ in range(2):
        tron.ledger.advance()
        _, cursor = await scan_all(adapter, cursor)
    asked = grid.calls["/jsonrpc"]
    tron.ledger.advance()
    await scan_all(adapter, cursor)
    assert grid.calls["/jsonrpc"] == asked


async def test_a_suspension_is_no_reason_to_look_by_more_calls(tron):
    grid = await tron.grid()
    adapter = await tron.adapter(grid)
    after = tron.start()
    tron.ledger.settle()
    await adapter.head()
    refusal = {"code": -32005, "message": "the query server is suspended for 30s"}
    for _ in range(4):
        head = await adapter.head()
        grid.fail("/jsonrpc", times=1, body=orjson.dumps({"jsonrpc": "2.0", "id": None, "error": refusal}))
        with pytest.raises(ChainUnavailable, match="suspended for 30s"):
            await adapter.scan(Rail.DIRECT, Targets(frozenset([SHOP])), after, head)
        tron.now.seconds += 60
    assert grid.calls[HISTORY] == 0
    assert grid.calls["/jsonrpc"] == 4


@pytest.mark.parametrize("fault", [{"status": 500}, {"status": 403, "body": b"Forbidden"}, {"status": 404}])
async def test_json_rpc_that_fails_takes_nothing_else_with_it(tron, fault):
    grid = await tron.grid()
    grid.fail("/jsonrpc", **fault)
    adapter = await tron.adapter(grid)
    tron.start()
    (problem,) = await adapter.self_test()
    assert "serves no JSON-RPC" in problem
    assert (await adapter.head()).position > 0  # the endpoint is not left alone


@pytest.mark.parametrize("status", [403, 404])
async def test_balances_do_without_json_rpc_where_it_is_refused(tron, status):
    grid = await tron.grid()
    grid.fail("/jsonrpc", status=status, body=b"Forbidden")
    adapter = await tron.adapter(grid)
    tron.ledger.transfer(SHOP, 5)
    tron.ledger.settle()
    assert (await adapter.balances([BalanceKey(SHOP, USDT)])).amounts == [5]
    assert (await adapter.head()).position > 0


async def test_logs_above_what_the_node_has_for_good_are_not_believed_yet(tron):
    """A node that lags answers an incomplete list without an error."""
    grid = await tron.grid(behind=4)
    adapter = await tron.adapter(grid)
    after = tron.start()
    paid = tron.ledger.transfer(SHOP, 5)
    tron.ledger.settle()
    page = await scan_page(adapter, after)
    assert page.transfers == []
    assert page.cursor.position == tron.ledger.time_of(paid) - 4 * SLOT_MS


async def test_a_node_that_lags_does_not_hold_up_the_last_blocks(tron):
    grid = await tron.grid(behind=4)
    adapter = await tron.adapter(grid)
    after = tron.start()
    paid = tron.ledger.transfer(SHOP, 5)
    tron.ledger.settle()
    found, cursor = await scan_all(adapter, after)
    assert ids(found) == [paid]
    assert cursor.position == tron.ledger.time_of(paid)


async def test_a_smaller_range_is_learnt_from_the_refusal(tron):
    grid = await tron.grid(most_blocks=7)
    adapter = await tron.adapter(grid)
    after = tron.start()
    tron.ledger.advance(40)
    await scan_page(adapter, after)
    ranges = [_range(asked[-1]) for route, asked in grid.asked if route == "/jsonrpc"]
    assert ranges == [40, 7]


async def test_a_refusal_that_names_no_range_halves_it(tron):
    grid = await tron.grid()
    adapter = await tron.adapter(grid)
    after = tron.start()
    paid = crowd(tron, 40)
    tron.ledger.settle()
    refusal = {"code": -32005, "message": "query returned more than 10000 results"}
    answers = [{"result": await _finalized(tron)}, {"result": None}, {"result": await _probe_rows(tron, after)}]
    frames = [{"jsonrpc": "2.0", "id": n} | answer for n, answer in enumerate([*answers, {"error": refusal}])]
    grid.fail("/jsonrpc", times=1, body=orjson.dumps(frames))
    found, _ = await scan_all(adapter, after)
    ranges = [_range(asked[-1]) for route, asked in grid.asked if route == "/jsonrpc"]
    assert ranges == [60, 30, 30]
    assert ids(found) == paid


@pytest.mark.parametrize("fault", [{"status": 413}, {"hang": True}])
async def test_an_answer_that_is_too_large_or_too_late_halves_the_question_at_once(tron, fault):
    grid = await tron.grid()
    adapter = await tron.adapter(grid, timeout_s=2)
    after = tron.start()
    paid = tron.ledger.transfer(SHOP, 5)
    tron.ledger.advance(60)
    head = await adapter.head()
    await adapter.scan(
        Rail.DIRECT, Targets(frozenset([SHOP])), Cursor(head.position - SLOT_MS), head
    )  # takes its probe
    grid.asked.clear()
    grid.fail("/jsonrpc", times=1, **fault)
    found, _ = await scan_all(adapter, after)
    grid.release()
    calls = [call for route, asked in grid.asked if route == "/jsonrpc" for call in _listed(asked)]
    ranges = [_range(call) for call in calls if call["method"] == "eth_getLogs"]
    assert 30 in ranges or "status" in fault  # a 413 may be about the batch as well
    assert ids(found) == [paid]


def _listed(asked):
    return asked if isinstance(asked, list) else [asked]


def _range(call):
    query = call["params"][0]
    return int(query["toBlock"], 16) - int(query["fromBlock"], 16) + 1


async def _finalized(tron):
    number = tron.ledger.solid
    return {
        "number": hex(number),
        "hash": "0x" + tron.ledger.block_id(number),
        "timestamp": hex(tron.ledger.times[number] // 1000),
    }


async def _probe_rows(tron, after):
    number = tron.ledger.number_at(after.position) + 1
    tx = tron.ledger.by_block[number][0]
    topics = ["0x" + text for text in tx.logs[0].topics]
    return [{"transactionHash": "0x" + tx.id, "blockNumber": hex(number), "topics": topics, "removed": False}]


@pytest.mark.parametrize(
    "spoil", [{"removed": True}, {"blockNumber": "0xffffff"}, {"transactionHash": "0x12"}, {"topics": None}]
)
async def test_a_log_no_correct_node_sends_is_read_another_way_in_the_same_poll(tron, spoil):
    grid = await tron.grid()
    adapter = await tron.adapter(grid)
    after = tron.start()
    paid = tron.ledger.transfer(SHOP, 5)
    tron.ledger.settle()
    tx = tron.ledger.by_id[paid]
    row = {
        "transactionHash": "0x" + paid,
        "blockNumber": hex(tx.block),
        "topics": ["0x" + text for text in tx.logs[0].topics],
        "removed": False,
    } | spoil
    answers = [await _finalized(tron), await _finalized(tron), await _probe_rows(tron, after), [row]]
    body = orjson.dumps([{"jsonrpc": "2.0", "id": n, "result": answer} for n, answer in enumerate(answers)])
    grid.fail("/jsonrpc", times=1, body=body)
    page = await scan_page(adapter, after)
    assert ids(page.transfers) == [paid]
    assert grid.calls["/jsonrpc"] == 1


async def test_a_request_never_carries_more_calls_than_the_node_takes(tron, monkeypatch):
    monkeypatch.setattr(query_size, "MAX_DESTINATIONS", 1)
    grid = await tron.grid()
    adapter = await tron.adapter(grid)
    after = tron.start()
    tills = [account(f"till {number}") for number in range(98)]
    paid = {tron.ledger.transfer(till, 1) for till in tills}
    tron.ledger.settle()
    found, _ = await scan_all(adapter, after, *tills)
    assert set(ids(found)) == paid
    assert [len(asked) for route, asked in grid.asked if route == "/jsonrpc"] == [100, 4]


async def test_a_node_is_never_asked_about_a_tag_it_does_not_know(tron):
    """`safe` and `pending` are errors here, and `latest` is not irreversible."""
    grid = await tron.grid()
    adapter = await tron.adapter(grid)
    after = tron.start()
    tron.ledger.settle()
    await scan_all(adapter, after)
    calls = [call for route, asked in grid.asked if route == "/jsonrpc" for call in asked]
    blocks = [call["params"][0] for call in calls if call["method"] == "eth_getBlockByNumber"]
    ends = [call["params"][0]["toBlock"] for call in calls if call["method"] == "eth_getLogs"]
    assert blocks[0] == "finalized"
    assert [tag for tag in [*blocks[1:], *ends] if not tag.startswith("0x")] == []


# --- one transaction, whichever way it was found -------------------------------------------------


async def test_all_ways_give_one_transfer_the_same_key(tron):
    """`logIndex` counts within the block, `event_index` within the transaction: two keys would double a payment."""
    after = tron.start()
    tron.ledger.transfer(BUYER, 3)
    tron.ledger.transfers([(USDT, BUYER, 1), (USDT, SHOP, 5)])
    tron.ledger.settle()
    quick = await tron.adapter(await tron.grid())
    by_block = await tron.adapter(await tron.grid(jsonrpc=False))
    tills = [account(f"till {n}") for n in range(50)]
    from_logs, _ = await scan_all(quick, after)
    from_blocks, _ = await scan_all(by_block, after, SHOP, *tills)
    tron.ledger.advance(60)
    by_account = await tron.adapter(await tron.grid(jsonrpc=False))
    from_history, _ = await scan_all(by_account, after)
    assert from_logs == from_blocks == from_history
    assert len(from_logs) == 1


@pytest.mark.parametrize("jsonrpc", [True, False])
@pytest.mark.parametrize("tills", [0, 50])
async def test_a_token_is_known_by_its_contract_whatever_it_calls_itself(tron, jsonrpc, tills):
    grid = await tron.grid(jsonrpc=jsonrpc)
    adapter = await tron.adapter(grid)
    after = tron.start()
    fake = tron.ledger.deploy("a forger", "USDT")
    tron.ledger.transfers([(fake, SHOP, 5), (USDT, SHOP, 5)])
    tron.ledger.settle()
    found, _ = await scan_all(adapter, after, SHOP, *[account(f"till {n}") for n in range(tills)])
    assert [(transfer.log_index, transfer.token) for transfer in found] == [(0, fake), (1, USDT)]
    assert len({transfer.event_key for transfer in found}) == 2


@pytest.mark.parametrize("jsonrpc", [True, False])
@pytest.mark.parametrize("tills", [0, 50])
async def test_approvals_failures_and_foreign_events_never_become_transfers(tron, jsonrpc, tills):
    grid = await tron.grid(jsonrpc=jsonrpc)
    adapter = await tron.adapter(grid)
    after = tron.start()
    tron.ledger.approve(SHOP, 5)
    tron.ledger.fail(SHOP, 5)
    tron.ledger.fail(SHOP, 5, keeps_logs=True)
    unique = Log("a6" * 20, (TRANSFER, "0" * 64, "0" * 24 + to_hex(SHOP), "0" * 63 + "7"), "")
    from_us = Log(to_hex(USDT), (TRANSFER, "0" * 24 + to_hex(SHOP), "0" * 24 + to_hex(BUYER)), "0" * 63 + "5")
    short = Log(to_hex(USDT), (TRANSFER, "0" * 24 + to_hex(BUYER), "0" * 24 + to_hex(SHOP)), "05")
    tron.ledger.emit(unique, from_us, short)
    tron.ledger.settle()
    found, _ = await scan_all(adapter, after, SHOP, *[account(f"till {n}") for n in range(tills)])
    assert found == []


async def test_a_failed_flag_alone_is_enough_to_disbelieve_a_receipt(tron):
    adapter = await tron.adapter()
    after = tron.start()
    paid = tron.ledger.transfer(SHOP, 5)
    tron.ledger.by_id[paid].failed = True  # while the contract itself says SUCCESS
    tron.ledger.settle()
    found, _ = await scan_all(adapter, after)
    assert found == []


@pytest.mark.parametrize("result", ["REVERT", "OUT_OF_ENERGY", "OUT_OF_TIME", "UNKNOWN"])
async def test_a_contract_that_does_not_say_success_is_disbelieved_without_a_flag_as_well(tron, result):
    adapter = await tron.adapter()
    after = tron.start()
    paid = tron.ledger.transfer(SHOP, 5)
    tron.ledger.by_id[paid].result = result
    tron.ledger.settle()
    found, _ = await scan_all(adapter, after)
    assert found == []


async def test_a_receipt_that_is_not_there_at_the_second_look_is_no_failure(tron):
    """Services index in their own time: right after a payment was seen its receipt may be missing."""
    grid = await tron.grid()
    adapter = await tron.adapter(grid)
    after = tron.start()
    paid = tron.ledger.transfer(SHOP, 5)
    tron.ledger.settle()
    found, _ = await scan_all(adapter, after)
    grid.unindexed = {paid}
    (missing,) = await adapter.verify(found, head=await adapter.head())
    grid.heal()
    (there,) = await adapter.verify(found, head=await adapter.head())
    assert (missing.outcome, there.outcome) == (VerificationOutcome.NOT_YET, VerificationOutcome.CREDITED)


@pytest.mark.parametrize("jsonrpc", [True, False])
async def test_payments_are_read_only_from_the_side_that_never_changes_its_mind(tron, jsonrpc):
    grid = await tron.grid(jsonrpc=jsonrpc)
    adapter = await tron.adapter(grid)
    after = tron.start()
    paid = tron.ledger.transfer(SHOP, 5)
    tron.ledger.settle()
    found, _ = await scan_all(adapter, after)
    await adapter.verify(found, head=await adapter.head())
    await adapter.inspect(paid, Targets(frozenset([SHOP])))
    assert len(found) == 1
    assert {route for route in grid.calls if route.startswith("/wallet/")} == {"/wallet/getblock"}  # how old it is


@pytest.mark.parametrize("jsonrpc", [True, False])
async def test_a_transaction_whose_receipt_is_missing_is_told_by_its_log_or_row_and_holds_nobody_up(tron, jsonrpc):
    grid = await tron.grid(jsonrpc=jsonrpc)
    adapter = await tron.adapter(grid)
    after = tron.start()
    tron.ledger.advance(30)
    early = tron.ledger.transfer(SHOP, 1)
    tron.ledger.advance(3)
    paid = tron.ledger.transfer(SHOP, 5)
    tron.ledger.advance(3)
    later = tron.ledger.transfer(SHOP, 7)
    tron.ledger.advance(30)
    grid.unindexed, grid.unindexed_blocks = {paid}, {tron.ledger.by_id[paid].block}
    found, cursor = await scan_all(adapter, after)
    assert sorted(ids(found)) == sorted([early, paid, later])
    head = await adapter.head()
    assert cursor.position == head.position
    looks = {look.transfer.tx_hash: look for look in await adapter.verify(found, head=head)}
    assert {tx: look.outcome for tx, look in looks.items()} == {
        early: VerificationOutcome.CREDITED,
        paid: VerificationOutcome.NOT_YET,
        later: VerificationOutcome.CREDITED,
    }
    assert looks[paid].why == "the node holds no receipt of it"
    grid.heal()
    (there,) = await adapter.verify([looks[paid].transfer], head=head)
    assert there.outcome is VerificationOutcome.CREDITED


@pytest.mark.parametrize("jsonrpc", [True, False])
async def test_of_many_alike_whose_receipt_is_missing_none_is_hidden_where_another_endpoint_has_it(tron, jsonrpc):
    first, second = await tron.grid(jsonrpc=jsonrpc), await tron.grid(jsonrpc=jsonrpc)
    adapter = await tron.adapter(first, second)
    after = tron.start()
    tron.ledger.advance(30)
    swarm = tron.ledger.transfers([(USDT, SHOP, 0)] * 40)
    tron.ledger.settle()
    first.unindexed, first.unindexed_blocks = {swarm}, {tron.ledger.by_id[swarm].block}
    found, _ = await scan_all(adapter, after)
    assert adapter.endpoint.endswith("#1")
    assert len({transfer.event_key for transfer in found}) == len(found) == 40


async def test_what_a_row_alone_tells_of_is_read_again_when_its_receipt_is_there(tron):
    """Of forty alike a row shows one: listed as one of forty, they stayed one for ever."""
    grid = await tron.grid(jsonrpc=False)
    adapter = await tron.adapter(grid)
    after = tron.start()
    tron.ledger.advance(30)
    swarm = tron.ledger.transfers([(USDT, SHOP, 0)] * 40)
    tron.ledger.settle()
    grid.unindexed, grid.unindexed_blocks = {swarm}, {tron.ledger.by_id[swarm].block}
    page = await scan_page(adapter, after, SHOP)
    while not page.unread:
        page = await scan_page(adapter, page.cursor, SHOP)
    assert len(page.transfers) == 1
    (unread,) = page.unread
    assert (unread.position, unread.tx_hash) == (tron.ledger.time_of(swarm), swarm)

    grid.heal()
    again = await adapter.scan(
        Rail.DIRECT, Targets(frozenset({SHOP})), Cursor(unread.position - 1), Head(unread.position, None, 0)
    )
    assert (len(again.transfers), again.unread) == (40, ())


async def test_so_is_what_a_second_reading_found_by_a_row_alone(tron):
    """Only the running scan said so: what a sweep had found was one of forty until the next one, an hour later."""
    grid = await tron.grid(jsonrpc=False)
    adapter = await tron.adapter(grid)
    tron.ledger.advance(30)
    swarm = tron.ledger.transfers([(USDT, SHOP, 0)] * 40)
    tron.ledger.settle()
    grid.unindexed, grid.unindexed_blocks = {swarm}, {tron.ledger.by_id[swarm].block}
    time_ms = tron.ledger.time_of(swarm)

    again = await adapter.rescan([SHOP], since=time_ms // 1000, until=time_ms // 1000)

    assert len(again.transfers) == 1
    assert [(log.position, log.tx_hash) for log in again.unread_logs] == [(time_ms, swarm)]


async def test_what_a_second_reading_is_told_by_logs_is_none_of_its_equals_alone(tron):
    """Of forty logs alike it took one, and nothing said that there were more: an order was confirmed by that one."""
    grid = await tron.grid(stale_at=tron.ledger.times[0])
    adapter = await tron.adapter(grid)
    tron.ledger.advance(30)
    before = tron.ledger.transfer(BUYER, 1)  # what proves that the index of logs can be believed
    tron.ledger.advance()
    swarm = tron.ledger.transfers([(USDT, SHOP, 0)] * 40)
    tron.ledger.settle()
    grid.unindexed, grid.unindexed_blocks = {swarm}, {tron.ledger.by_id[swarm].block}
    since, until = (tron.ledger.time_of(paid) // 1000 for paid in (before, swarm))

    again = await adapter.rescan([SHOP], since=since, until=until)

    assert len({transfer.event_key for transfer in again.transfers}) == len(again.transfers) == 40


async def test_a_transaction_whose_receipt_one_endpoint_lacks_is_looked_at_by_another(tron):
    """The first one's none was the answer: what was told by a row alone was never read again, nor confirmed."""
    first, second = await tron.grid(), await tron.grid()
    adapter = await tron.adapter(first, second)
    tron.start()
    paid = tron.ledger.transfer(SHOP, 5)
    tron.ledger.settle()
    first.without_receipt = lambda _: True

    assert ids(await adapter.inspect(paid, Targets(frozenset({SHOP})))) == [paid]
    second.without_receipt = lambda _: True
    assert await adapter.inspect(paid, Targets(frozenset({SHOP}))) == []


async def test_a_receipt_that_is_missing_by_id_is_taken_from_its_block(tron):
    grid = await tron.grid()
    adapter = await tron.adapter(grid)
    after = tron.start()
    paid = tron.ledger.transfer(SHOP, 5)
    tron.ledger.settle()
    grid.unindexed = {paid}
    found, cursor = await scan_all(adapter, after)
    assert ids(found) == [paid]
    assert cursor.position == tron.ledger.time_of(paid)


async def test_the_receipts_of_a_block_that_come_empty_are_not_an_empty_block(tron):
    grid = await tron.grid(jsonrpc=False)
    adapter = await tron.adapter(grid)
    after = tron.start()
    tills = [account(f"till {n}") for n in range(50)]
    tron.ledger.advance(3)
    paid = tron.ledger.transfer(SHOP, 5)
    tron.ledger.settle()
    grid.unindexed_blocks = {tron.ledger.by_id[paid].block}
    page = await scan_page(adapter, after, SHOP, *tills)
    assert page.cursor.position == tron.ledger.time_of(paid) - SLOT_MS
    found, _ = await scan_all(adapter, page.cursor, SHOP, *tills)
    assert ids(found) == [paid]  # by the histories, and without its receipt by what its row says
    grid.heal()
    found, _ = await scan_all(adapter, page.cursor, SHOP, *tills)
    assert ids(found) == [paid]


# --- account histories ---------------------------------------------------------------------------


async def test_histories_are_asked_for_confirmed_rows_oldest_first(tron):
    """Without a word, the service sends both kinds of rows, newest first, of both directions, twenty a page."""
    grid, adapter, after = await by_accounts(tron)
    tron.ledger.advance(20)
    await scan_all(adapter, after)
    (asked,) = [asked for route, asked in grid.asked if route == HISTORY]
    assert asked == {
        "only_confirmed": "true",
        "only_to": "true",
        "order_by": "block_timestamp,asc",
        "limit": "200",
        "min_timestamp": str(after.position + 1),
        "max_timestamp": str(tron.ledger.times[tron.ledger.solid]),
    }


async def test_an_unconfirmed_row_settles_nothing_even_when_the_filter_is_ignored(tron):
    _, adapter, after = await by_accounts(tron, ignores_confirmed=True)
    tron.ledger.advance(20)
    tron.ledger.transfer(SHOP, 5)
    tron.ledger.advance(5)
    found, cursor = await scan_all(adapter, after)
    assert found == []
    assert cursor.position == tron.ledger.times[tron.ledger.solid]


@pytest.mark.parametrize("fault", ["none", "drops_fingerprint", "repeats_rows"])
@pytest.mark.parametrize("count", [199, 200, 201, 401])
@pytest.mark.parametrize("spread", [7, 90])
async def test_no_page_boundary_loses_or_doubles_a_row(tron, fault, count, spread):
    grid, adapter, after = await by_accounts(tron, **({} if fault == "none" else {fault: True}))
    paid = crowd(tron, count, spread=spread)
    tron.ledger.advance(20 + max(0, 60 - count // spread))
    found, _ = await scan_all(adapter, after)
    assert sorted(ids(found)) == sorted(paid)
    assert grid.calls[HISTORY] >= count // 200


@pytest.mark.parametrize("most_rows", [1000, 1150])
async def test_a_window_of_time_that_ends_after_a_thousand_rows_is_not_the_end(tron, most_rows):
    """As older documents have it: then only another window shows the rest."""
    grid, adapter, after = await by_accounts(tron, most_rows=most_rows)
    paid = crowd(tron, 2300, spread=50)
    tron.ledger.advance(60)
    found, _ = await scan_all(adapter, after)
    assert sorted(ids(found)) == sorted(paid)
    assert grid.calls["/v1/accounts/transactions/trc20"] > 2300 // 200


async def test_more_rows_of_one_millisecond_than_fit_a_page_are_read_from_their_block(tron):
    _, adapter, after = await by_accounts(tron, drops_fingerprint=True)
    paid = crowd(tron, 10) + crowd(tron, 450, spread=450) + crowd(tron, 10)
    tron.ledger.advance(60)
    found, _ = await scan_all(adapter, after)
    assert sorted(ids(found)) == sorted(paid)


async def test_rows_in_the_wrong_order_are_no_reason_to_go_on_by_time(tron):
    grid, adapter, after = await by_accounts(tron, drops_fingerprint=True, reverses_rows=True)
    paid = crowd(tron, 300)
    tron.ledger.advance(20)
    found, _ = await scan_all(adapter, after)
    assert sorted(ids(found)) == sorted(paid)  # block by block
    assert grid.calls[RECEIPTS] >= 200


async def test_rows_in_the_wrong_order_do_no_harm_while_the_service_says_how_to_go_on(tron):
    _, adapter, after = await by_accounts(tron, reverses_rows=True)
    paid = crowd(tron, 300)
    tron.ledger.advance(20)
    found, _ = await scan_all(adapter, after)
    assert sorted(ids(found)) == sorted(paid)


async def test_rows_outside_the_times_asked_for_mean_that_the_filter_was_ignored(tron):
    grid, adapter, after = await by_accounts(tron)
    tron.ledger.advance(60)
    row = {"transaction_id": "a" * 64, "block_timestamp": after.position - 1, "type": "Transfer", "to": SHOP}
    grid.fail(HISTORY, body=orjson.dumps({"data": [row], "success": True, "meta": {}}))
    paid = tron.ledger.transfer(SHOP, 5)
    tron.ledger.settle()
    found, _ = await scan_all(adapter, after)
    assert ids(found) == [paid]  # block by block
    assert grid.calls[RECEIPTS] > 0


async def test_the_cursor_does_not_pass_what_a_stale_index_knows(tron):
    """An index that stands still answers an incomplete history without an error."""
    grid, adapter, after = await by_accounts(tron)
    tron.ledger.advance(40)
    paid = tron.ledger.transfer(SHOP, 5)
    tron.ledger.advance(400)
    grid.stale_at = tron.ledger.time_of(paid) - 1
    page = await scan_page(adapter, after, reread_s=60)
    assert (page.transfers, page.cursor.position) == ([], tron.ledger.time_of(paid) - SLOT_MS - 1)
    grid.stale_at = None
    found, _ = await scan_all(adapter, page.cursor)
    assert ids(found) == [paid]


async def test_an_index_that_knows_nothing_new_is_not_asked_for_histories(tron):
    grid, adapter, after = await by_accounts(tron, stale_at=tron.ledger.times[0])
    paid = tron.ledger.transfer(SHOP, 5)
    tron.ledger.advance(60)
    found, _ = await scan_all(adapter, after)
    assert ids(found) == [paid]
    assert grid.calls[HISTORY] == 0


async def test_what_the_index_lists_late_is_found_by_reading_again(tron):
    grid, adapter, after = await by_accounts(tron)
    tron.ledger.advance(40)
    paid = tron.ledger.transfer(SHOP, 5)
    tron.ledger.advance(140)
    grid.unlisted = {paid}
    found, after = await scan_all(adapter, after, reread_s=60)
    assert (found, after.position > tron.ledger.time_of(paid) + 300_000) == ([], True)
    grid.unlisted = set()
    tron.ledger.advance(40)
    found, _ = await scan_all(adapter, after, reread_s=60)
    assert ids(found) == [paid]


async def test_a_row_of_another_account_is_not_resolved(tron):
    """A filter the service does not know is ignored without a word."""
    grid, adapter, after = await by_accounts(tron)
    tron.ledger.transfer(BUYER, 5, sender="shop")
    tron.ledger.approve(SHOP, 5)
    tron.ledger.advance(60)
    rows = orjson.loads(grid._index.account_rows(SHOP, {"order_by": "block_timestamp,asc"}).body)
    grid.fail(HISTORY, body=orjson.dumps(rows))
    found, _ = await scan_all(adapter, after)
    assert (len(rows["data"]), found) == (2, [])
    assert grid.calls[RECEIPT] == 0


async def test_one_failure_among_many_accounts_does_not_make_all_be_read_again(tron):
    grid, adapter, after = await by_accounts(tron)
    tills = [account(f"till {number}") for number in range(40)]
    paid = [tron.ledger.transfer(till, 1) for till in tills]
    tron.ledger.advance(1000)
    fault = grid.fail(HISTORY, skip=30, times=1, status=500)
    page = await scan_page(adapter, after, *tills)  # a page of blocks instead
    assert fault.times == 0
    assert sorted(ids(page.transfers)) == sorted(paid)
    grid.asked.clear()
    await scan_page(adapter, page.cursor, *tills)
    begun = [int(asked["min_timestamp"]) for route, asked in grid.asked if route == HISTORY]
    top = tron.ledger.times[tron.ledger.solid]
    assert begun.count(page.cursor.position + 1) <= 40 - 23  # 30 were answered, some of them after the failure
    assert set(begun) == {page.cursor.position + 1, top + 1 - INDEX_LAG_MS}  # and the index may lag


async def test_no_account_starves_while_another_is_always_full(tron):
    _, adapter, after = await by_accounts(tron)
    till = account("till")
    busy = crowd(tron, 620, spread=31)
    quiet = tron.ledger.transfer(till, 1)
    tron.ledger.advance(60)
    found, _ = await scan_all(adapter, after, SHOP, till)
    assert sorted(ids(found)) == sorted([*busy, quiet])
