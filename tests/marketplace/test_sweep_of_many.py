"""Two hundred addresses of a real chain, emptied by transactions that were signed elsewhere: to the unit."""

from __future__ import annotations

import hashlib
from pathlib import Path

import orjson
import pytest
from eth_account import Account

from devnet.evm.anvil import Anvil
from tests.harness import USDT, FakeClock
from tests.marketplace.accepted_purchase import TEN, AcceptedPurchase, accept_purchase
from tests.marketplace.fake_scanner import FakeScanner
from tests.marketplace.harness import Running, environment, running
from tests.marketplace.test_hd_addresses import WALLET

pytestmark = [pytest.mark.anvil, pytest.mark.long]
MANY = 200
ACCOUNT = "m/44'/60'/1'"  # the first one's addresses are the chain's own, rich accounts
BUILD = {"chainId": 97, "token": "USDT", "purpose": "instructions"}


def recipient(number: int) -> str:
    return str(Account.from_key(hashlib.sha256(b"seller %d" % number).digest()).address)


async def ready(market: Running, scanner: FakeScanner, clock: FakeClock, chain: Anvil, number: int) -> AcceptedPurchase:
    """Return a purchase whose seller is to be paid, with a unit or so more at its address than was asked for."""
    purchase = await accept_purchase(market, scanner, clock)
    payment = await purchase.fund("direct")
    await chain.transfer(USDT, payment["destination"], TEN + number)
    await purchase.buyer.ok("PATCH", purchase.path("confirm-delivery"))
    assert (await purchase.release(recipient(number)))[0] == 200
    return purchase


async def test_a_sweep_of_two_hundred_addresses_balances_to_the_unit(
    chain: Anvil, tmp_path: Path, fake_scanner: FakeScanner, clock: FakeClock
) -> None:
    env = environment(
        tmp_path, fake_scanner.url, MARKETPLACE_XPUB=WALLET.get_xpub_from_path(ACCOUNT), RPC_BSC_TESTNET=chain.url
    )
    async with running(env, clock=clock) as market:
        await chain.fund(USDT, chain.accounts[1])
        purchases = [await ready(market, fake_scanner, clock, chain, number) for number in range(MANY)]
        await chain.mine()
        built = (await market.admin.ok("POST", "/api/admin/sweeps/build", BUILD))["sweep"]
        assert built["checksum"] == hashlib.sha256(built["file"].encode()).hexdigest()
        file = orjson.loads(built["file"])

        for each in file["coins"]:  # what the file says is missing is what it takes
            await chain.rpc("anvil_setBalance", [each["address"], hex(int(each["missingWei"]))])
        sent = {}
        for each in file["transfers"]:  # elsewhere, by whoever has the key
            key = WALLET.get_privkey_from_path(f"{ACCOUNT}/{each['path']}")
            signed = Account.sign_transaction(each["transaction"], key)
            sent[each["for"]] = await chain.rpc("eth_sendRawTransaction", [f"0x{bytes(signed.raw_transaction).hex()}"])
            await chain.mine()

        paid = [await chain.balance(USDT, recipient(number)) for number in range(MANY)]
        left = sorted([await chain.balance(USDT, each["from"]) for each in file["transfers"]])
        again = (await market.admin.ok("POST", "/api/admin/sweeps/build", BUILD))["sweep"]
        orders = [
            (await market.admin.ok("GET", f"/api/admin/instructions?limit=100&page={page}"))["payouts"]
            for page in (1, 2)
        ]
        for order in (each["instruction"] for page in orders for each in page):
            fake_scanner.carries_out(order, tx=sent[order["id"]])
            settle = f"/api/admin/instructions/{order['id']}/settle"
            await market.admin.ok("POST", settle, {"txHash": sent[order["id"]]}, 200)
        report = await market.admin.ok("GET", "/api/admin/reconciliation")

    assert (built["count"], built["skipped"], built["totalBaseUnits"]) == (MANY, [], str(MANY * TEN))
    assert paid == [TEN] * MANY
    assert left == list(range(MANY))
    assert (again["count"], {each["reason"] for each in again["skipped"]}) == (0, {"sent_already"})
    assert (report["ok"], len(purchases)) == (True, MANY)
