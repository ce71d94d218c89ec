"""Through the daemon: what was paid in time on Tron and TON is confirmed, whenever a node tells of it."""

from __future__ import annotations

import asyncio
import datetime as dt
import time
from contextlib import asynccontextmanager

import pytest

from devnet.receiver import receiver
from devnet.ton.ledger import TonLedger
from devnet.ton.toncenter import TonCenter
from devnet.tron.ledger import TronLedger
from devnet.tron.trongrid import TronGrid
from tests.e2e import ton_shop, tron_shop
from tests.e2e.ton_shop import MASTER

LAG = 30  # blocks of three seconds
GRACE_S = 60


def in_seconds(seconds: float) -> str:
    return (dt.datetime.now(dt.UTC) + dt.timedelta(seconds=seconds)).isoformat().replace("+00:00", "Z")


@asynccontextmanager
async def tron(folder, **more):
    async with receiver() as hooks, tron_shop.run_tron_shop(folder, hooks, **more) as shop:
        yield shop


@asynccontextmanager
async def ton(folder, **more):
    async with receiver() as hooks, ton_shop.run_ton_shop(folder, hooks, **more) as shop:
        yield shop


async def reasons(shop, intent_id):
    return [reason for reason, _ in await shop.unmatched(intent_id)]


# --- a block that is final after the expiry ------------------------------------------------------


@pytest.mark.long
@pytest.mark.parametrize("lifetime", [3, 5])
async def test_a_tron_payment_whose_block_is_final_after_the_expiry_is_confirmed(tmp_path, lifetime):
    async with tron(tmp_path) as shop:
        made = await shop.checkout(
            destination=(to := tron_shop.fresh_address()),
            expiresAt=in_seconds(lifetime),
            events=["payment.late", "intent.expired"],
        )
        tx = shop.ledger.transfer(to, 1000)
        shop.ledger.advance(1)  # in a block, and not irreversible
        await asyncio.sleep(lifetime + 1)  # its time runs out by the wall clock: nothing must happen
        assert (await shop.api.intent(made["intentId"]))["status"] == "pending"
        shop.ledger.settle()
        confirmed = await shop.api.status_is(made["intentId"], "confirmed")
        assert confirmed["txHash"] == tx
        assert await reasons(shop, made["intentId"]) == []


async def test_a_tron_payment_of_a_block_after_the_grace_is_late(tmp_path):
    """Late is what the block's own time says: more than a minute after the expiry."""
    async with tron(tmp_path) as shop:
        made = await shop.checkout(destination=(to := tron_shop.fresh_address()), expiresAt=in_seconds(2))
        shop.ledger.advance((GRACE_S + 60) // 3)
        shop.ledger.transfer(to, 1000)
        shop.ledger.settle()
        await shop.api.status_is(made["intentId"], "expired")
        await shop.settle()
        assert await reasons(shop, made["intentId"]) == ["late"]


async def test_a_tron_payment_of_a_block_within_the_grace_is_confirmed(tmp_path):
    async with tron(tmp_path) as shop:
        made = await shop.checkout(destination=(to := tron_shop.fresh_address()), expiresAt=in_seconds(10))
        shop.ledger.advance(15)
        shop.ledger.transfer(to, 1000)
        shop.ledger.settle()
        await shop.api.status_is(made["intentId"], "confirmed")


# --- paid before it was registered ---------------------------------------------------------------


@pytest.mark.parametrize("minutes", [3, 9])
async def test_a_tron_payment_made_before_its_registration_is_found(tmp_path, minutes):
    ledger = TronLedger.until(int((time.time() - 60 * (minutes + 1)) * 1000))
    async with receiver() as hooks, TronGrid(ledger) as grid, tron_shop.opened(tmp_path, grid, hooks) as shop:
        await shop.sell()  # something is waited for: the chain is read
        await shop.scanner.worker.poll()
        tx = ledger.transfer(to := tron_shop.fresh_address(), 1000)
        ledger.settle()
        for _ in range(minutes):
            ledger.advance(19)
            await shop.scanner.worker.poll()
        assert ledger.time_of(tx) / 1000 < time.time() - 60 * (minutes - 1)
        made = await shop.checkout(destination=to)
        await shop.scanner.worker.poll()
        confirmed = await shop.api.status_is(made["intentId"], "confirmed")
        assert confirmed["txHash"] == tx


@pytest.mark.parametrize("minutes", [3, 9])
async def test_a_ton_payment_made_before_its_registration_is_found(tmp_path, minutes):
    ledger = TonLedger(int(time.time()) - 60 * minutes - 600)
    for _ in range(60):
        ledger.advance(10)
    ledger.issue(MASTER, "USD₮", 6)
    async with receiver() as hooks, TonCenter(ledger) as center, ton_shop.opened(tmp_path, center, hooks) as shop:
        await shop.sell()
        await shop.scanner.worker.poll()
        payment = ledger.pay(to := ton_shop.fresh_address(), 1000, master=MASTER)
        for _ in range(minutes):
            ledger.advance(60)
            await shop.scanner.worker.poll()
        made = await shop.checkout(destination=to)
        await shop.scanner.worker.poll()
        confirmed = await shop.api.status_is(made["intentId"], "confirmed")
        assert confirmed["txHash"] == payment.tx_hash


# --- an index that lags --------------------------------------------------------------------------


@pytest.mark.parametrize("never", [False, True], ids=["90 s behind", "never told by the logs"])
async def test_what_a_lagging_log_index_hid_is_confirmed_before_the_intent_ends(tmp_path, never):
    async with tron(tmp_path) as shop:
        made = await shop.checkout(destination=(to := tron_shop.fresh_address()), expiresAt=in_seconds(40))
        if not never:
            shop.grid.logs_behind = LAG
        tx = shop.ledger.transfer(to, 1000)
        if never:
            shop.grid.unlogged = {tx}
        for passed in range(75):
            shop.ledger.advance(1)
            if passed % 5 == 0:
                await shop.scanner.worker.poll()
        confirmed = await shop.api.status_is(made["intentId"], "confirmed", timeout_s=30)
        assert confirmed["txHash"] == tx


@pytest.mark.long
@pytest.mark.parametrize("late_s", [150, 10_000])
async def test_a_ton_row_that_enters_the_index_late_is_confirmed_before_the_intent_ends(tmp_path, late_s):
    async with ton(tmp_path) as shop:
        made = await shop.checkout(destination=(to := ton_shop.fresh_address()), expiresAt=in_seconds(120))
        payment = shop.ledger.pay(to, 1000, master=MASTER)
        shop.center.late_rows = {payment.tx_hash}
        for passed in range(0, 400, 5):
            shop.ledger.advance(5)
            if passed >= late_s:
                shop.center.late_rows = set()
            await shop.scanner.worker.poll()
        confirmed = await shop.api.status_is(made["intentId"], "confirmed", timeout_s=30)
        assert confirmed["txHash"] == payment.tx_hash
