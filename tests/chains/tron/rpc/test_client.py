"""Asking Tron services: the key, the pace, refusals in every disguise, and what never leaves the folder."""

from __future__ import annotations

import asyncio
import logging

import orjson
import pytest
from aiohttp import web

from chains.base import Access
from chains.errors import ChainMisconfigured, ChainProtocolError, ChainUnavailable
from chains.rpc.token_bucket import TokenBucket
from chains.tron.adapter import open_adapter
from chains.types import BalanceKey, Cursor, Rail, Targets
from devnet.tron.ledger import USDT, account
from tests.chains.rpc.test_token_bucket import Clock
from tests.chains.tron_world import BUYER, SHOP, scan_all, tron_chain

KEY = "0123-a-very-secret-key"
HEAD = "/walletsolidity/getblock"


async def test_the_key_travels_in_its_header_to_every_route(tron):
    grid = await tron.grid()
    adapter = await tron.adapter(grid, key=KEY)
    after = tron.start()
    tron.ledger.transfer(SHOP, 1)
    tron.ledger.settle()
    await scan_all(adapter, after)
    await adapter.token(USDT)
    await adapter.balances([BalanceKey(SHOP, USDT)])
    assert set(grid.keys) == {KEY}
    assert grid.requests > 5


async def test_without_a_key_none_is_sent_and_none_of_the_librarys_own(tron):
    grid = await tron.grid()
    adapter = await tron.adapter(grid)
    tron.start()
    await adapter.head()
    await adapter.token(USDT)
    assert set(grid.keys) == {None}


@pytest.mark.parametrize(("access", "rate"), [(Access(api_key=KEY), 15), (Access(), 5), (Access(KEY, 2.5), 2.5)])
async def test_requests_are_paced_by_what_the_service_allows(tron, access, rate):
    grid, clock = await tron.grid(), Clock()
    tron.start()

    def bucket(per_second):
        return TokenBucket(per_second, clock=clock, sleep=clock.sleep)

    opened = open_adapter(tron_chain(grid), timeout_s=5, telemetry=tron.calls, access=access, bucket=bucket)
    adapter = await tron.stack.enter_async_context(opened)
    for _ in range(10):
        tron.ledger.advance(1)
        await adapter.head()
    assert grid.requests == 12  # which chain, the newest block, ten solid ones
    assert clock.now - 1000 == pytest.approx(11 / rate)


@pytest.mark.parametrize("status", [429, 403, 503])
@pytest.mark.parametrize("seconds", [2, 30])
async def test_a_suspension_is_obeyed_for_as_long_as_its_text_says(tron, status, seconds):
    grid = await tron.grid()
    adapter = await tron.adapter(grid)
    tron.start()
    grid.suspend(seconds, status=status)
    with pytest.raises(ChainUnavailable, match=f"suspended for {seconds}s") as caught:
        await adapter.head()
    assert caught.value.retry_after == seconds
    tron.now.seconds += seconds - 0.5
    with pytest.raises(ChainUnavailable, match="left alone"):
        await adapter.head()
    assert grid.requests == 1


async def test_while_suspended_nobody_asks_and_nobody_hangs(tron):
    grid, clock = await tron.grid(), Clock()

    def bucket(per_second):
        return TokenBucket(per_second, clock=clock, sleep=clock.sleep)

    opened = open_adapter(tron_chain(grid), timeout_s=5, telemetry=tron.calls, clock=tron.now, bucket=bucket)
    adapter = await tron.stack.enter_async_context(opened)
    tron.start()
    grid.suspend(30)
    with pytest.raises(ChainUnavailable):
        await adapter.head()
    tron.now.seconds += 30  # the pool would ask again; the key is still suspended
    with pytest.raises(ChainUnavailable, match="suspended for asking too often"):
        await adapter.head()
    assert grid.requests == 1
    clock.now += 30
    tron.now.seconds += 60
    await adapter.head()


async def test_a_node_with_too_much_to_do_says_so_with_status_200(tron):
    grid = await tron.grid()
    adapter = await tron.adapter(grid)
    tron.start()
    grid.overload()
    with pytest.raises(ChainUnavailable, match="lack of computing resources"):
        await adapter.head()


async def test_an_overload_is_never_a_balance_of_zero_or_a_missing_receipt(tron):
    grid = await tron.grid()
    adapter = await tron.adapter(grid)
    tron.start()
    for route, ask in (
        ("/walletsolidity/getaccount", lambda: adapter.balances([BalanceKey(SHOP, None)], confirmed=True)),
        ("/walletsolidity/triggerconstantcontract", lambda: adapter.balances([BalanceKey(SHOP, USDT)], confirmed=True)),
        ("/walletsolidity/gettransactioninfobyid", lambda: adapter.inspect("a" * 64, Targets())),
    ):
        grid.overload(route=route)
        with pytest.raises(ChainUnavailable, match="lack of computing resources"):
            await ask()
        tron.now.seconds += 60


@pytest.mark.parametrize(
    ("fault", "error", "words"),
    [
        ({"status": 500}, ChainUnavailable, "HTTP 500"),
        ({"status": 502, "body": b"<html>Bad Gateway</html>"}, ChainUnavailable, "HTTP 502"),
        ({"status": 401}, ChainMisconfigured, "check the URL and its key"),
        ({"status": 403, "body": b"Forbidden"}, ChainMisconfigured, "check the URL and its key"),
        ({"status": 302}, ChainMisconfigured, "HTTP 302"),
        ({"status": 404}, ChainMisconfigured, "HTTP 404"),
        ({"status": 400, "body": b'{"success":false,"error":"bad","statusCode":400}'}, ChainProtocolError, "bad"),
        ({"body": b'{"success":false,"error":"bad address"}'}, ChainProtocolError, "bad address"),
        ({"body": b"<html>"}, ChainProtocolError, "not JSON"),
        ({"body": b"[1]"}, ChainProtocolError, "not a block"),
        ({"close": True}, ChainUnavailable, "connection"),
    ],
)
async def test_what_goes_wrong_is_told_by_what_to_do_about_it(tron, fault, error, words):
    grid = await tron.grid()
    adapter = await tron.adapter(grid)
    tron.start()
    grid.fail(HEAD, **fault)
    grid.fail("/walletsolidity/getnowblock", **fault)  # asked where the first is not served
    with pytest.raises(error, match=words):
        await adapter.head()


async def test_a_service_that_hangs_is_left_in_time(tron):
    grid = await tron.grid()
    adapter = await tron.adapter(grid, timeout_s=0.05)
    tron.start()
    grid.fail(hang=True)
    with pytest.raises(ChainUnavailable, match="no answer in time"):
        await adapter.head()


async def test_a_service_that_is_not_there_is_unavailable(tron):
    adapter = await tron.adapter(urls=["http://127.0.0.1:9"])
    with pytest.raises(ChainUnavailable, match="cannot connect"):
        await adapter.head()


async def test_the_next_endpoint_serves_when_one_does_not(tron):
    broken, sound = await tron.grid(), await tron.grid()
    broken.fail(status=500)
    adapter = await tron.adapter(broken, sound)
    after = tron.start()
    paid = tron.ledger.transfer(SHOP, 5)
    tron.ledger.settle()
    found, _ = await scan_all(adapter, after)
    assert [transfer.tx_hash for transfer in found] == [paid]
    assert adapter.endpoint.endswith("#2")


async def test_no_message_carries_the_key_or_the_url(tron, caplog):
    caplog.set_level(logging.DEBUG)
    grid = await tron.grid()
    url = f"{grid.url}/path-with-a-secret/jsonrpc"
    adapter = await tron.adapter(urls=[url], key=KEY)
    grid.fail(status=500, body=f"you asked {url} with {KEY}".encode())
    with pytest.raises(ChainUnavailable) as caught:
        await adapter.head()
    for text in (str(caught.value), caplog.text, repr(adapter), str(tron.calls.seen)):
        assert KEY not in text
        assert "path-with-a-secret" not in text


async def test_an_answer_that_never_ends_is_not_read_to_its_end(tron):
    async def endless(request: web.Request) -> web.StreamResponse:
        response = web.StreamResponse()
        await response.prepare(request)
        for _ in range(300):
            await response.write(b" " * 2**20)
        return response

    runner = web.AppRunner(_app(endless), shutdown_timeout=0.1)
    await runner.setup()
    tron.stack.push_async_callback(runner.cleanup)
    await web.TCPSite(runner, "127.0.0.1", 0).start()
    adapter = await tron.adapter(urls=[f"http://127.0.0.1:{runner.addresses[0][1]}"], timeout_s=20)
    with pytest.raises(ChainUnavailable, match="larger than"):
        await adapter.head()


def _app(handler):
    app = web.Application()
    app.router.add_route("*", "/{path:.*}", handler)
    return app


async def test_a_scan_that_is_cancelled_leaves_nothing_behind(tron):
    grid = await tron.grid()
    adapter = await tron.adapter(grid)
    after = tron.start()
    tron.ledger.transfer(SHOP, 5)
    tron.ledger.settle()
    head = await adapter.head()
    hanging = grid.fail("/walletsolidity/gettransactioninfobyid", hang=True)
    task = asyncio.create_task(adapter.scan(Rail.DIRECT, Targets(frozenset([SHOP])), after, head))
    await grid.called(hanging.method)
    before = asyncio.all_tasks()
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    assert len(asyncio.all_tasks()) < len(before)
    grid.heal()
    found, _ = await scan_all(adapter, after)
    assert len(found) == 1


# --- balances ------------------------------------------------------------------------------------


async def test_a_hundred_balances_cost_three_requests(tron):
    grid = await tron.grid()
    adapter = await tron.adapter(grid)
    tills = [account(f"till {number}") for number in range(49)]
    for amount, till in enumerate(tills):
        tron.ledger.transfer(till, amount)
    tron.ledger.send_coin(SHOP, 7_000_000)
    tron.ledger.advance(30)
    await adapter.head()
    before = grid.requests
    found = await adapter.balances([*(BalanceKey(till, USDT) for till in tills), BalanceKey(SHOP, None)])
    assert found.amounts == [*range(49), 7_000_000]
    assert grid.requests - before == 3  # two for the newest block, before and behind
    assert found.position == tron.ledger.times[-1]


@pytest.mark.parametrize("confirmed", [True, False])
@pytest.mark.parametrize("jsonrpc", [True, False])
async def test_balances_are_what_the_chain_says_and_what_cannot_be_read_is_none(tron, confirmed, jsonrpc):
    adapter = await tron.adapter(await tron.grid(jsonrpc=jsonrpc))
    broken = tron.ledger.deploy("broken", "BROKEN", broken=True)
    tron.ledger.transfer(SHOP, 5)
    tron.ledger.send_coin(SHOP, 7)
    tron.ledger.settle()
    asked = [
        BalanceKey(SHOP, USDT),
        BalanceKey(SHOP, None),
        BalanceKey(SHOP, broken),
        BalanceKey(SHOP, account("no contract")),
        BalanceKey(account("never used"), None),
        BalanceKey(account("never used"), USDT),
    ]
    found = await adapter.balances(asked, confirmed=confirmed)
    assert found.amounts == [5, 7, None, None, 0, 0]
    assert found.time == found.position // 1000


async def test_a_confirmed_balance_leaves_out_what_is_not_solid(tron):
    adapter = await tron.adapter()
    tron.ledger.transfer(SHOP, 5)
    tron.ledger.settle()
    tron.ledger.transfer(SHOP, 6)
    tron.ledger.advance()
    newest = await adapter.balances([BalanceKey(SHOP, USDT)])
    solid = await adapter.balances([BalanceKey(SHOP, USDT)], confirmed=True)
    assert (newest.amounts, solid.amounts) == ([11], [5])
    assert newest.position - solid.position == 19 * 3000


async def test_an_account_with_nothing_left_holds_zero(tron):
    adapter = await tron.adapter()
    tron.ledger.send_coin(SHOP, 7)
    tron.ledger.send_coin(BUYER, 7, sender="shop")
    tron.ledger.settle()
    assert (await adapter.balances([BalanceKey(SHOP, None)], confirmed=True)).amounts == [0]


@pytest.mark.parametrize("body", [b'{"address":"T1","balance":5}', b'{"balance":5}', b"[]", b'{"balance":"5"}'])
async def test_an_account_no_correct_node_sends_is_an_error(tron, body):
    grid = await tron.grid()
    adapter = await tron.adapter(grid)
    tron.start()
    grid.fail("/walletsolidity/getaccount", body=body)
    with pytest.raises(ChainProtocolError):
        await adapter.balances([BalanceKey(SHOP, None)], confirmed=True)


CONSTANT = "/walletsolidity/triggerconstantcontract"


async def test_what_a_call_that_reverted_left_behind_is_no_balance(tron):
    grid = await tron.grid()
    adapter = await tron.adapter(grid)
    tron.start()
    left = {"result": {"result": True, "message": b"REVERT opcode executed".hex()}, "constant_result": [f"{5:064x}"]}
    grid.fail(CONSTANT, body=orjson.dumps(left))
    assert (await adapter.balances([BalanceKey(SHOP, USDT)], confirmed=True)).amounts == [None]


async def test_a_node_too_busy_for_a_call_says_nothing_of_the_contract(tron):
    grid = await tron.grid()
    adapter = await tron.adapter(grid)
    tron.start()
    grid.fail(CONSTANT, body=orjson.dumps({"result": {"code": "SERVER_BUSY", "message": "busy"}}))
    with pytest.raises(ChainUnavailable, match="SERVER_BUSY"):
        await adapter.token(USDT)


# --- blocks by time ------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("blocks", "every", "missed"), [(28_900, 97, 1), (3_000, 5, 40), (200, 1, 3), (40, 39, 30_000)]
)
async def test_a_block_is_found_by_time_in_a_few_questions(tron, blocks, every, missed):
    tron.ledger.busy = False
    grid = await tron.grid()
    adapter = await tron.adapter(grid)
    for _ in range(blocks // every):
        tron.ledger.advance(every, missed=missed)
    tron.ledger.advance(20)
    endpoint = adapter._pool.preferred
    await adapter.head()
    solid = tron.ledger.solid
    for number in (solid, solid // 2, 1, 0):
        for offset in (0, 1, 2999):
            time_ms = tron.ledger.times[number] + offset
            before = grid.requests
            block = await adapter._readers.blocks.at(endpoint, time_ms)
            assert block.number == tron.ledger.number_at(min(time_ms, tron.ledger.times[solid]))
            assert grid.requests - before <= 20


async def test_before_the_first_block_there_is_none(tron):
    adapter = await tron.adapter()
    tron.start()
    paid = tron.ledger.transfer(SHOP, 1)
    tron.ledger.settle()
    found, _ = await scan_all(adapter, Cursor(0))
    assert [transfer.tx_hash for transfer in found] == [paid]
