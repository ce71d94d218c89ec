"""The pages of money that leaves: addresses, files that empty them, and where sellers are paid."""

from __future__ import annotations

import hashlib
from collections.abc import AsyncIterator, Mapping
from pathlib import Path

import orjson
import pytest

from tests.cases.test_proved_payout_addresses import Wallet, prove
from tests.harness import FakeClock
from tests.marketplace.accepted_purchase import SELLERS_WALLET, TEN, AcceptedPurchase
from tests.marketplace.evm_node_stub import EvmNodeStub, run_evm_node
from tests.marketplace.fake_scanner import FakeScanner
from tests.marketplace.harness import Running, environment, running
from tests.plain_browser import Browser


@pytest.fixture
async def node() -> AsyncIterator[EvmNodeStub]:
    async with run_evm_node() as found:
        yield found


@pytest.fixture
async def market(
    tmp_path: Path, clock: FakeClock, fake_scanner: FakeScanner, place: Mapping[str, str], node: EvmNodeStub
) -> AsyncIterator[Running]:
    env = environment(tmp_path, fake_scanner.url, RPC_BSC_TESTNET=node.url, **place)
    async with running(env, clock=clock) as found:
        yield found


async def test_addresses_are_listed_and_a_file_that_empties_them_is_built(
    purchase: AcceptedPurchase, admin: Browser, node: EvmNodeStub
) -> None:
    address = (await purchase.fund("direct"))["destination"]
    await purchase.buyer.ok("PATCH", purchase.path("confirm-delivery"))
    await purchase.release()
    node.tokens[address.lower()] = TEN
    purchase.scanner.balances[address] = TEN
    form = {"chainId": "97", "token": "USDT", "purpose": "instructions"}

    listed = await admin.get("/admin/addresses?chainId=97")
    built = await admin.submit("/admin/addresses", "/admin/sweeps/build", **form)
    wrong = await admin.submit("/admin/addresses", "/admin/sweeps/build", **{**form, "token": "DOGE"})
    treasury = await admin.submit("/admin/addresses", "/admin/sweeps/build", **{**form, "purpose": "treasury"})

    file = orjson.loads(built.text)
    assert address in listed.said
    assert "10 USDT" in listed.said
    assert built.status == 200
    assert [each["to"] for each in file["transfers"]] == [SELLERS_WALLET]
    assert built.headers["X-Checksum-Sha256"] == hashlib.sha256(built.text.encode()).hexdigest()
    assert built.headers["X-Checksum-Sha256"][:16] in built.headers["Content-Disposition"]
    assert (wrong.status, "is no token of a chain" in wrong.said) == (422, True)
    assert (treasury.status, "MARKETPLACE_TREASURY_ADDRESSES" in treasury.said) == (503, True)


async def test_where_a_seller_proved_to_be_paid_is_shown_and_is_where_the_release_goes(
    purchase: AcceptedPurchase, admin: Browser
) -> None:
    await purchase.fund()
    await purchase.buyer.ok("PATCH", purchase.path("confirm-delivery"))
    await prove(purchase.seller, Wallet(1))
    path = f"/admin/payments/{purchase.payment_id}"

    listed = await admin.get("/admin/payout-addresses")
    shown = await admin.get(path)
    other = await admin.submit(path, f"{path}/release", toAddress=SELLERS_WALLET)
    done = await admin.submit(path, f"{path}/release", toAddress="")

    assert Wallet(1).evm in listed.said
    assert f'value="{Wallet(1).evm}"' in shown.text
    assert (other.status, "the seller proved another address" in other.said) == (409, True)
    assert done.status == 303
    assert Wallet(1).evm in (await admin.get("/admin/instructions")).said
