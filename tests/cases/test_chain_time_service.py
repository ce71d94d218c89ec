"""Through the whole daemon: what was paid in time is confirmed, whatever nodes, indexes and clocks did meanwhile."""

from __future__ import annotations

import asyncio
import time
from pathlib import Path

import pytest

from devnet.evm.anvil import CHAIN_ID, Anvil
from devnet.evm.faulty_rpc import FaultyRpc
from devnet.receiver import Receiver
from kernel.clock import SystemClock
from tests.e2e.tron_shop import fresh_address, run_tron_shop
from tests.harness import MERCHANT, USDT, FakeClock, Running, environment, in_seconds, running

FRESH = f"0x2{7:039x}"


def clock_ahead() -> SystemClock:
    """Return the clock of a host that is twenty minutes ahead."""
    return SystemClock(wall_ns=lambda: time.time_ns() + 20 * 60 * 10**9)


@pytest.mark.parametrize("blocks", [1, 3])
async def test_a_tron_payment_that_is_solid_only_after_the_expiry_is_confirmed(
    hooks: Receiver, tmp_path: Path, blocks: int
) -> None:
    async with run_tron_shop(tmp_path, hooks) as tron:
        to = fresh_address()
        intent_id = await tron.sell(destination=to, expiresAt=in_seconds(1), events=["payment.late", "intent.expired"])
        tron.ledger.transfer(to, 1000)
        tron.ledger.advance(blocks)  # in a block, and not solid yet
        await asyncio.sleep(1.5)  # its time runs out by the wall clock: nothing must happen
        assert (await tron.api.intent(intent_id))["status"] == "pending"

        await tron.settle()

        assert (await tron.delivered(intent_id))["status"] == "confirmed"
        assert [d.json["eventType"] for d in await hooks.wait_for(1)] == ["payment.confirmed"]


async def test_a_tron_payment_of_three_minutes_before_its_registration_is_confirmed(
    hooks: Receiver, tmp_path: Path
) -> None:
    async with run_tron_shop(tmp_path, hooks) as tron:
        to = fresh_address()
        tron.ledger.transfer(to, 1000)
        tron.ledger.settle()
        tron.ledger.times = [time_ms - 180_000 for time_ms in tron.ledger.times]
        tron.ledger.advance(55)
        await tron.scanner.worker.poll()

        intent_id = await tron.sell(destination=to)

        assert (await tron.delivered(intent_id))["status"] == "confirmed"


async def test_a_tron_log_index_that_lags_behind_its_tip_costs_no_payment(hooks: Receiver, tmp_path: Path) -> None:
    async with run_tron_shop(tmp_path, hooks, SWEEP_INTERVAL_SEC="1") as tron:
        to = fresh_address()
        intent_id = await tron.sell(destination=to)
        tx = tron.ledger.transfer(to, 1000)
        tron.grid.unlogged = {tx}  # not before the cursor has passed
        await tron.settle()
        assert (await tron.api.intent(intent_id))["status"] == "pending"

        done = await tron.delivered(intent_id)

        assert (done["status"], done["txHash"]) == ("confirmed", tx)


@pytest.mark.long
@pytest.mark.anvil
@pytest.mark.parametrize("rail", ["proxy", "direct"])
async def test_a_node_that_stands_still_over_the_expiry_costs_no_payment(
    chain: Anvil, hooks: Receiver, tmp_path: Path, rail: str
) -> None:
    async with FaultyRpc(chain.url) as rpc, running(environment(tmp_path, rpc.url)) as scanner:
        created = await scanner.api.create(
            rail=rail, destination=FRESH, callbackUrl=hooks.url(), expiresAt=in_seconds(2), events=["intent.expired"]
        )
        await scanner.worker.poll()
        rpc.stale_at = await chain.height()
        if rail == "proxy":
            await chain.pay(USDT, FRESH, 1000, created["paymentReference"])
        else:
            await chain.transfer(USDT, FRESH, 1000)
        await asyncio.sleep(2.5)  # its time runs out by the wall clock: nothing must happen
        assert (await scanner.api.intent(created["intentId"]))["status"] == "pending"

        rpc.stale_at = None
        await chain.mine(8)

        await scanner.api.status_is(created["intentId"], "confirmed")
        assert [d.json["eventType"] for d in await hooks.wait_for(1)] == ["payment.confirmed"]


@pytest.mark.long
@pytest.mark.anvil
@pytest.mark.parametrize("rail", ["proxy", "direct"])
async def test_a_host_clock_that_is_ahead_costs_no_payment(
    chain: Anvil, hooks: Receiver, tmp_path: Path, rail: str
) -> None:
    await chain.rpc("evm_setIntervalMining", [1])
    async with running(environment(tmp_path, chain.url), clock=clock_ahead()) as scanner:
        async with asyncio.timeout(60):
            while (await scanner.api.chain())["state"] != "ready":  # noqa: ASYNC110 - an operator polls
                await asyncio.sleep(0.1)
        created = await scanner.api.create(rail=rail, destination=FRESH, callbackUrl=hooks.url())
        if rail == "proxy":
            await chain.pay(USDT, FRESH, 1000, created["paymentReference"])
        else:
            await chain.transfer(USDT, FRESH, 1000)
        await chain.mine(6)

        await scanner.api.status_is(created["intentId"], "confirmed")
        assert any("clock" in problem for problem in (await scanner.api.chain())["problems"])


@pytest.mark.anvil
async def test_a_plain_transfer_to_where_the_proxy_should_pay_is_shown_with_its_reason(
    chain: Anvil, hooks: Receiver, scanner: Running
) -> None:
    through = await scanner.api.create(callbackUrl=hooks.url(), amount="1000")
    await scanner.worker.poll()
    tx = await chain.transfer(USDT, MERCHANT, 1000)
    await chain.pay(USDT, MERCHANT, 1000, through["paymentReference"])
    await chain.mine(6)
    await scanner.api.status_is(through["intentId"], "confirmed")

    rows = await scanner.api.unmatched()

    shown = [(row["txHash"], row["reason"], row["intentId"], row["amount"], row["count"]) for row in rows]
    assert shown == [(tx, "unknown_reference", None, "1000", 1)]  # and the payment's own side of it is not


@pytest.mark.anvil
@pytest.mark.parametrize("days", [8, -8])
@pytest.mark.parametrize("ended", ["expired", "cancelled"])
async def test_how_long_ago_an_intent_ended_is_reported_by_the_chain(
    chain: Anvil, hooks: Receiver, tmp_path: Path, days: int, ended: str
) -> None:
    """What comes to an ended intent is still its own, however the host's clock jumped meanwhile."""
    clock = FakeClock()
    async with running(environment(tmp_path, chain.url, POLL_INTERVAL_SEC="3600"), clock=clock) as scanner:
        created = await scanner.api.create(
            rail="direct", destination=FRESH, amount="1000", callbackUrl=hooks.url(), expiresAt=in_seconds(60)
        )
        await scanner.worker.poll()
        clock.advance(days * 86_400 if ended == "cancelled" else 0)
        if ended == "cancelled":
            await scanner.api.call("DELETE", f"/intents/{created['intentId']}")
            clock.advance(-days * 86_400)
        else:
            await chain.pass_time(200)
            clock.advance(200)
            await scanner.worker.poll()
            await scanner.api.status_is(created["intentId"], "expired")
            clock.advance(days * 86_400)
        tx = await chain.transfer(USDT, FRESH, 1000)
        await chain.mine(6)

        path = f"/intents/{created['intentId']}/recheck"
        status, seen = await scanner.api.call("POST", path, {"txHash": tx})

        assert status == 200
        (row,) = await scanner.api.unmatched()
        assert (row["intentId"], row["reason"]) == (created["intentId"], "late" if ended == "expired" else "cancelled")
        assert [each["reason"] for each in seen["seen"]] == [row["reason"]]


@pytest.mark.anvil
async def test_coin_is_noticed_for_as_long_as_the_chain_says_whatever_the_hosts_clock_does(
    chain: Anvil, hooks: Receiver, tmp_path: Path
) -> None:
    clock = FakeClock()
    async with running(environment(tmp_path, chain.url, POLL_INTERVAL_SEC="3600"), clock=clock) as scanner:
        await scanner.worker.poll()
        created = await scanner.api.create(rail="direct", destination=FRESH, callbackUrl=hooks.url())
        await scanner.api.call("DELETE", f"/intents/{created['intentId']}")
        clock.advance(8 * 86_400)
        await chain.rpc("anvil_setBalance", [FRESH, hex(5)])
        await chain.mine(10)
        await scanner.worker.poll()

        await scanner.daemon.notices[CHAIN_ID].check()

        (row,) = await scanner.api.unmatched()
        assert (row["reason"], row["amount"], row["intentId"]) == ("wrong_asset", "5", created["intentId"])
