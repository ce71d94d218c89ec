"""The daemon and a TronGrid that misbehaves: its key, its limits, its silences, and many waiting intents."""

from __future__ import annotations

import asyncio
import logging
import re
import sqlite3
from pathlib import Path

import orjson
import pytest

from chains.errors import ChainUnavailable
from chains.tron.rpc.provider_errors import DEFAULT_WAIT_S
from devnet.receiver import Receiver
from devnet.tron.ledger import USDT, TokenFacts, account
from devnet.tron.trongrid import TronGrid
from tests.e2e.tron_shop import (
    CHAIN_ID,
    KEY,
    USDC,
    TronShop,
    chain_of_today,
    environment,
    fresh_address,
    opened,
    run_tron_shop,
)
from tests.harness import intent_body, running

RECEIPTS = "/walletsolidity/gettransactioninfobyblocknum"
HISTORY = "/v1/accounts/transactions/trc20"
ON_DEMAND = "3600"  # seconds between polls: a test polls by itself


def checkpoint(folder: Path) -> int:
    with sqlite3.connect(folder / "scanner.db") as store:
        return int(store.execute("SELECT last_scanned_block FROM checkpoints").fetchone()[0])


# --- the key -----------------------------------------------------------------------------------------


async def test_the_key_travels_in_its_header_with_every_request_and_is_shown_nowhere(
    hooks: Receiver, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.DEBUG)
    async with run_tron_shop(tmp_path, hooks, POLL_INTERVAL_SEC=ON_DEMAND) as tron:
        to = fresh_address()
        intent_id = await tron.sell(destination=to)
        await tron.pay(to, 1000)
        said = orjson.dumps({"Error": f"ApiKey {KEY} is not valid for {tron.grid.url}"})
        tron.grid.fail(status=401, body=said)
        with pytest.raises(Exception, match="HTTP 401"):
            await tron.scanner.worker.poll()
        status, refusal = await tron.api.call(
            "POST", "/balances/check", {"chainId": CHAIN_ID, "address": to, "token": "USDT"}
        )
        shown = [
            caplog.text,
            str(refusal),
            str(await tron.api.get("/scanner/status")),
            str(await tron.api.get("/metrics")),
            str(await tron.api.intent(intent_id)),
            repr(tron.scanner.worker.chain),
        ]
        assert set(tron.grid.keys) == {KEY}

    assert status == 502
    assert "is not valid" in str(refusal)
    assert [text for text in shown if KEY in text] == []


async def test_without_a_key_no_key_is_sent_not_even_one_of_a_library(hooks: Receiver, tmp_path: Path) -> None:
    async with TronGrid(chain_of_today()) as grid:
        env = environment(tmp_path, grid, POLL_INTERVAL_SEC=ON_DEMAND)
        del env["TRONGRID_API_KEY"]
        async with running(env) as scanner:
            tron = TronShop(grid, scanner, hooks)
            to = fresh_address()
            await tron.sell(destination=to)
            await tron.pay(to, 1000)
            await hooks.wait_for(1)

    assert set(grid.keys) == {None}


# --- limits ------------------------------------------------------------------------------------------


@pytest.mark.parametrize("status", [403, 429, 503])
async def test_a_suspension_is_obeyed_by_everything_that_uses_the_key(
    hooks: Receiver, tmp_path: Path, status: int
) -> None:
    async with run_tron_shop(tmp_path, hooks, POLL_INTERVAL_SEC=ON_DEMAND) as tron:
        await tron.sell()
        await tron.scanner.worker.poll()
        tron.grid.suspend(30, status=status)
        tron.ledger.advance()
        with pytest.raises(ChainUnavailable, match="suspended for 30s"):
            await tron.scanner.worker.poll()
        asked = tron.grid.requests

        for _ in range(3):
            with pytest.raises(ChainUnavailable) as refused:
                await tron.scanner.worker.poll()
            assert 0 < (refused.value.retry_after or 0) <= 30
        answer = await tron.api.call(
            "POST", "/balances/check", {"chainId": CHAIN_ID, "address": fresh_address(), "token": "TRX"}
        )

        tron.scanner.worker.wakeup.wake()
        seen = await tron.until_chain(lambda chain: chain["lastError"] is not None)

        assert answer[0] == 502
        assert tron.grid.requests == asked
        assert re.search(r"left alone for \d\d s more: .*suspended for 30s", seen["lastError"])


async def test_a_plain_429_means_half_a_minute(hooks: Receiver, tmp_path: Path) -> None:
    async with run_tron_shop(tmp_path, hooks, POLL_INTERVAL_SEC=ON_DEMAND) as tron:
        await tron.scanner.worker.poll()
        tron.grid.fail(times=1, status=429, body=b"{}")

        with pytest.raises(ChainUnavailable) as refused:
            await tron.scanner.worker.poll()

    assert refused.value.retry_after == DEFAULT_WAIT_S


async def test_after_a_suspension_everything_goes_on_where_it_stood(hooks: Receiver, tmp_path: Path) -> None:
    async with run_tron_shop(tmp_path, hooks) as tron:
        to = fresh_address()
        intent_id = await tron.sell(destination=to)
        tx = tron.ledger.transfer(to, 1000)
        tron.grid.suspend(1)
        tron.ledger.settle()

        done = await tron.delivered(intent_id)

    assert (done["status"], done["txHash"]) == ("confirmed", tx)
    assert len(hooks.distinct) == 1


async def test_requests_are_never_closer_than_the_rate_allows(hooks: Receiver, tmp_path: Path) -> None:
    """The bucket is per host, so that pages, watches and checks share it."""
    async with run_tron_shop(tmp_path, hooks, TRONGRID_RPS="40", POLL_INTERVAL_SEC=ON_DEMAND) as tron:
        await tron.sell()
        for _ in range(4):
            tron.ledger.advance(3)
            await tron.scanner.worker.poll()

        moments = tron.grid.moments

    assert len(moments) >= 12
    assert moments[-1] - moments[0] >= (len(moments) - 1) / 40 * 0.9


# --- JSON-RPC that cannot be trusted -----------------------------------------------------------------


async def test_a_node_that_silently_answers_nothing_is_found_out_and_payments_are_found_otherwise(
    hooks: Receiver, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    async with run_tron_shop(tmp_path, hooks) as tron:
        tron.grid.blind_below = 2**62
        to = fresh_address()
        intent_id = await tron.sell(destination=to)
        tx = await tron.pay(to, 1000)
        done = await tron.delivered(intent_id)

    assert (done["status"], done["txHash"]) == ("confirmed", tx)
    assert any("cannot be used, looking by slower calls" in record.message for record in caplog.records)
    assert tron.grid.calls[RECEIPTS] > 0


async def test_a_node_without_json_rpc_says_so_on_the_status_page_and_serves_all_the_same(
    hooks: Receiver, tmp_path: Path
) -> None:
    async with TronGrid(chain_of_today()) as grid:
        grid.jsonrpc = False
        async with opened(tmp_path, grid, hooks) as tron:
            to = fresh_address()
            intent_id = await tron.sell(destination=to)
            await tron.pay(to, 1000)
            await tron.delivered(intent_id)
            seen = await tron.chain()

    (problem,) = seen["problems"]
    assert "serves no JSON-RPC: payments are looked for by slower calls" in problem
    assert seen["lastError"] is None


async def test_a_bad_endpoint_is_passed_over_for_a_good_one(hooks: Receiver, tmp_path: Path) -> None:
    ledger = chain_of_today()
    async with TronGrid(ledger) as bad, TronGrid(ledger) as good:
        bad.fail(status=500)
        async with running(environment(tmp_path, bad, good)) as scanner:
            tron = TronShop(good, scanner, hooks)
            to = fresh_address()
            intent_id = await tron.sell(destination=to)
            await tron.pay(to, 1000)
            await tron.delivered(intent_id)
            seen = await tron.chain()

    assert seen["endpoint"].endswith("#2")


async def test_a_service_of_another_network_is_never_believed(hooks: Receiver, tmp_path: Path) -> None:
    async with TronGrid(chain_of_today(chain_id=3448148188)) as grid, opened(tmp_path, grid, hooks) as tron:
        to = fresh_address()
        intent_id = await tron.sell(destination=to)
        tron.ledger.transfer(to, 1000)
        tron.ledger.settle()
        seen = await tron.until_chain(lambda chain: chain["lastError"] is not None)
        view = await tron.api.intent(intent_id)

    assert "serves chain 3448148188, expected chain 728126428" in seen["lastError"]
    assert (view["status"], view["transfers"]) == ("pending", [])


async def test_a_token_that_is_not_what_the_registry_says_is_refused(hooks: Receiver, tmp_path: Path) -> None:
    async with TronGrid(chain_of_today()) as grid:
        grid.ledger.tokens[USDC] = TokenFacts("USDC", 18)
        async with opened(tmp_path, grid, hooks) as tron:
            seen = await tron.until_chain(lambda chain: chain["problems"])
            body = intent_body(chainId=CHAIN_ID, token="USDC", destination=fresh_address())
            status, answer = await tron.api.call("POST", "/intents", body)

    assert "the chain says USDC with 18 decimals, the registry USDC with 6" in seen["problems"][0]
    assert (status, answer["code"]) == (400, "token_mismatch")


# --- many waiting intents ----------------------------------------------------------------------------


async def test_a_thousand_waiting_intents_cost_two_requests_a_poll(hooks: Receiver, tmp_path: Path) -> None:
    tills = [account(f"stall {number}") for number in range(1000)]
    async with run_tron_shop(tmp_path, hooks, POLL_INTERVAL_SEC=ON_DEMAND) as tron:
        ids = await asyncio.gather(*(tron.sell(destination=to) for to in tills))
        tron.ledger.advance(5)
        await tron.scanner.worker.poll()  # the first one also takes a probe and tests itself
        spent = []
        for _ in range(3):
            tron.ledger.advance(5)
            before = tron.grid.requests
            await tron.scanner.worker.poll()
            spent.append(tron.grid.requests - before)
        paid = [tron.ledger.transfer(tills[place], 1000) for place in (0, 499, 999)]
        await tron.settle()
        done = [await tron.api.intent(ids[place]) for place in (0, 499, 999)]

    assert spent == [2, 2, 2]
    assert [(view["status"], view["txHash"]) for view in done] == [("confirmed", tx) for tx in paid]


@pytest.mark.long
@pytest.mark.parametrize("jsonrpc", [True, False], ids=["by logs", "by slower calls"])
async def test_no_intent_starves_beside_an_address_with_thousands_of_rows(
    hooks: Receiver, tmp_path: Path, jsonrpc: bool
) -> None:
    noisy, quiet = fresh_address(), fresh_address()
    async with TronGrid(chain_of_today()) as grid:
        grid.jsonrpc = jsonrpc
        async with opened(tmp_path, grid, hooks, POLL_INTERVAL_SEC=ON_DEMAND) as tron:
            await tron.scanner.worker.poll()
            busy = await tron.sell(destination=noisy, amount=str(10**9))
            waiting = await tron.sell(destination=quiet)
            for _ in range(20):
                tron.ledger.transfers([(USDT, noisy, 1)] * 150)
                tron.ledger.advance()
            tx = tron.ledger.transfer(quiet, 1000)
            tron.ledger.advance(30)
            await tron.scanner.worker.poll()
            done = await tron.api.intent(waiting)
            neighbour = await tron.api.intent(busy)

    assert (done["status"], done["txHash"]) == ("confirmed", tx)
    assert neighbour["amountReceived"] == "3000"
    assert checkpoint(tmp_path) == grid.ledger.times[grid.ledger.solid]
    assert (grid.calls[HISTORY] > 3000 // 200) == (not jsonrpc)
