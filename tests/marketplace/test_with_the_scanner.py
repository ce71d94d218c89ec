"""The whole way with the real scanner on a local chain: real transfers become money that is held."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from devnet.evm.anvil import Anvil
from tests.cases.scanned_nodes import registry
from tests.harness import USDC, USDT, FakeClock, environment, running
from tests.marketplace import harness
from tests.marketplace.accepted_purchase import SELLERS_WALLET, TEN
from tests.marketplace.harness import MARKET, Api, Running, new_offer, new_request, notes, select
from tests.marketplace.test_gate import OPT_IN, list_of

pytestmark = pytest.mark.anvil
KEY = "a-key-of-the-scanner"
PUBLIC = "https://pay.example"


@dataclass(slots=True)
class LiveSystem:
    """A chain, a scanner, a marketplace, and two people who made a deal."""

    chain: Anvil
    scanner_url: str
    market: Running
    buyer: Api
    seller: Api
    request_id: str

    async def open(self, rail: str, **fields: Any) -> dict[str, Any]:
        body = {"purchaseRequestId": self.request_id, "rail": rail, "chainId": 97, "token": "USDT", **fields}
        return dict(await self.buyer.ok("POST", "/api/payment/intents", body, 201))

    async def until(self, payment_id: str, condition: Callable[[dict[str, Any]], bool]) -> dict[str, Any]:
        payment: dict[str, Any] = {}
        async with asyncio.timeout(30):
            while True:
                payment = (await self.buyer.ok("GET", f"/api/payment/{payment_id}"))["payment"]
                if condition(payment):
                    return payment
                await asyncio.sleep(0.05)  # a page polls as well

    async def check(self, payment_id: str) -> dict[str, Any]:
        return dict(await self.buyer.ok("POST", f"/api/payment/amn-scanner/direct-balance/check/{payment_id}"))

    async def recoveries(self) -> list[str]:
        rows = (await self.market.admin.ok("GET", "/api/admin/recoveries"))["recoveries"]
        return [row["reason"] for row in rows]


@asynccontextmanager
async def settled_in(
    chain: Anvil,
    folder: Path,
    offer: dict[str, Any],
    clock: FakeClock | None = None,
    *,
    registered: dict[str, Any] | None = None,
    **env: str,
) -> AsyncIterator[LiveSystem]:
    """A scanner and a marketplace with these settings, and a deal; `registered` changes the chain's entry."""
    more = {"SCANNER_PUBLIC_URL": PUBLIC, "BALANCE_WATCH_TICK_SEC": "0.1"}
    if registered is not None:
        more["CHAINS_JSON_PATH"] = registry(folder, registered)
    scans = environment(folder, chain.url, SCANNER_API_KEY=KEY, **more)
    async with running(scans, clock=clock) as scanner:
        sells = harness.environment(folder, scanner.api.url, **env)
        async with harness.running(sells, clock=clock) as market:
            if market.marketplace.screener is not None:
                await market.marketplace.screener.refresh()
            buyer, seller = await market.user("buyer"), await market.user("seller")
            request_id = await new_request(buyer)
            await select(buyer, request_id, await new_offer(seller, request_id, **offer))
            yield LiveSystem(chain, scanner.api.url, market, buyer, seller, request_id)


@pytest.fixture
async def system(chain: Anvil, tmp_path: Path) -> AsyncIterator[LiveSystem]:
    async with settled_in(chain, tmp_path, {}) as found:
        yield found


@pytest.fixture
async def screened(chain: Anvil, tmp_path: Path) -> AsyncIterator[LiveSystem]:
    """An offer that asks for screening; the third account of the chain is on the list."""
    listed = list_of(tmp_path, chain.accounts[3])
    async with settled_in(chain, tmp_path, OPT_IN, OFAC_SDN_PATH=listed) as found:
        for account in (3, 4):
            await chain.fund(USDT, chain.accounts[account])
        yield found


def funded(payment: dict[str, Any]) -> bool:
    return payment["status"] == "completed"


async def test_a_payment_through_the_proxy_ends_with_the_seller_paid(system: LiveSystem) -> None:
    data = await system.open("proxy")
    block, payment_id = data["checkoutBlock"], data["payment"]["id"]

    tx = await system.chain.pay(USDT, block["destination"], TEN, block["paymentReference"])
    await system.chain.mine(6)
    payment = await system.until(payment_id, funded)
    path = f"{MARKET}/purchase-requests/{system.request_id}"
    await system.seller.ok("PATCH", f"{path}/delivery", {"proof": "handed over"})
    code = (await system.buyer.ok("POST", f"{path}/delivery-code/generate"))["code"]
    await system.seller.ok("POST", f"{path}/delivery-code/verify", {"code": code})
    released = await system.market.admin.ok(
        "POST", f"/api/admin/payments/{payment_id}/release", {"toAddress": SELLERS_WALLET}
    )
    instruction = released["instruction"]["id"]
    sent = await system.chain.transfer(USDT, SELLERS_WALLET, TEN)
    await system.chain.mine(6)
    settled = await system.market.admin.ok("POST", f"/api/admin/instructions/{instruction}/settle", {"txHash": sent})

    assert (payment["txHash"], payment["evidence"]["sender"]) == (tx, system.chain.accounts[1])
    assert settled["payment"]["escrowState"] == "released"
    assert [kind for kind, _ in await notes(system.seller)][-4:] == [
        "payment_confirmed",
        "delivery_confirmed",
        "payment_release",
        "payment_released",
    ]
    assert (await system.market.admin.ok("GET", "/api/admin/reconciliation"))["ok"] is True


async def test_a_plain_transfer_to_a_fresh_address_is_found(system: LiveSystem) -> None:
    data = await system.open("direct")
    page = data["payment"]["paymentUrl"].removeprefix(PUBLIC)
    async with system.buyer.session.get(system.scanner_url + page) as shown:  # a buyer has no key
        assert data["instructions"]["address"] in await shown.text()

    tx = await system.chain.transfer(USDT, data["instructions"]["address"], TEN)
    await system.chain.mine(6)

    assert (await system.until(data["payment"]["id"], funded))["txHash"] == tx


async def test_i_paid_waits_for_depth_and_then_counts(system: LiveSystem) -> None:
    data = await system.open("direct_balance")
    payment_id, address = data["payment"]["id"], data["instructions"]["address"]
    nothing = await system.check(payment_id)
    await system.chain.transfer(USDT, address, TEN - 1)
    await system.chain.mine(6)
    short = await system.check(payment_id)
    await system.chain.transfer(USDT, address, 1)
    shallow = await system.check(payment_id)
    await system.chain.mine(6)

    found = await system.check(payment_id)

    assert nothing["reason"] == f"underpaid:delta=0,expected={TEN}"
    assert short["reason"] == f"underpaid:delta={TEN - 1},expected={TEN}"
    assert shallow["reason"] == "awaiting-confirmations"
    assert (found["funded"], found["deltaBaseUnits"]) == (True, str(TEN))


async def test_i_paid_need_not_wait_for_the_watch_which_is_stopped_then(system: LiveSystem) -> None:
    data = await system.open("direct_balance", mode="watch")

    await system.chain.transfer(USDT, data["instructions"]["address"], TEN)
    await system.chain.mine(6)
    result = await system.check(data["payment"]["id"])

    assert result["funded"] is True
    assert result["payment"]["stopReason"] == "paid"


async def test_another_token_is_not_credited_and_an_admin_sees_it(system: LiveSystem) -> None:
    data = await system.open("direct")
    await system.chain.fund(USDC, system.chain.accounts[1])

    await system.chain.transfer(USDC, data["instructions"]["address"], TEN)
    await system.chain.mine(6)
    async with asyncio.timeout(30):
        while await system.recoveries() != ["wrong_token"]:  # noqa: ASYNC110 - seen over HTTP
            await asyncio.sleep(0.05)

    assert (await system.until(data["payment"]["id"], lambda payment: True))["status"] == "pending"
    assert ("payment-wrong-token", data["payment"]["id"]) in await notes(system.buyer)


async def test_money_after_cancelling_is_not_credited_and_an_admin_sees_it(system: LiveSystem) -> None:
    data = await system.open("direct")
    payment_id = data["payment"]["id"]
    await system.buyer.ok("POST", f"/api/payment/{payment_id}/cancel")

    await system.chain.transfer(USDT, data["instructions"]["address"], TEN)
    await system.chain.mine(6)
    async with asyncio.timeout(30):
        while not await system.recoveries():  # noqa: ASYNC110 - seen over HTTP
            await asyncio.sleep(0.05)

    payment = await system.until(payment_id, lambda payment: True)
    assert (payment["status"], payment["escrowState"]) == ("cancelled", "cancelled")
    assert (await system.buyer.ok("GET", f"/api/payment/{payment_id}"))["ledger"]["held"] == "0"


CRUMB = 10**15


def judged(payment: dict[str, Any]) -> bool:
    return payment["status"] == "completed" or payment["holdReason"] is not None


@pytest.mark.parametrize("crumbs", [0, 5, 20, 25])
async def test_crumbs_from_a_clean_sender_do_not_hide_who_paid(screened: LiveSystem, crumbs: int) -> None:
    data = await screened.open("direct")
    address, chain = data["instructions"]["address"], screened.chain

    await chain.transfer(USDT, address, TEN - crumbs * CRUMB, sender=chain.accounts[3])
    for _ in range(crumbs):
        await chain.transfer(USDT, address, CRUMB, sender=chain.accounts[4])
    await chain.mine(6)

    payment = await screened.until(data["payment"]["id"], judged)
    assert (payment["status"], payment["holdReason"]) == ("processing", "aml_sanctions")


async def test_dust_from_a_listed_sender_freezes_nobody(screened: LiveSystem) -> None:
    data = await screened.open("direct")
    address, chain = data["instructions"]["address"], screened.chain

    await chain.transfer(USDT, address, CRUMB, sender=chain.accounts[3])
    await chain.transfer(USDT, address, TEN, sender=chain.accounts[4])
    await chain.mine(6)

    payment = await screened.until(data["payment"]["id"], judged)
    assert (payment["status"], payment["evidence"]["screening"]) == ("completed", "clear")
    rows = (await screened.market.admin.ok("GET", "/api/admin/recoveries"))["recoveries"]
    assert [(row["reason"], row["amountBaseUnits"]) for row in rows] == [("aml_sanctions", str(CRUMB))]


@pytest.mark.parametrize("last", [1, CRUMB])
async def test_a_watched_balance_is_judged_over_all_its_changes(chain: Anvil, tmp_path: Path, last: int) -> None:
    clock, listed = FakeClock(), list_of(tmp_path, chain.accounts[3])
    async with settled_in(chain, tmp_path, OPT_IN, clock, OFAC_SDN_PATH=listed) as system:
        data = await system.open("direct_balance", mode="watch")
        payment_id, address = data["payment"]["id"], data["instructions"]["address"]
        for account in (3, 4):
            await chain.fund(USDT, chain.accounts[account])

        await chain.transfer(USDT, address, TEN - last, sender=chain.accounts[3])
        await chain.mine(6)
        clock.advance(301)  # until the watch is read again
        await system.until(payment_id, lambda payment: payment["escrowState"] == "partial")
        await chain.transfer(USDT, address, last, sender=chain.accounts[4])
        await chain.mine(6)
        clock.advance(301)

        payment = await system.until(payment_id, judged)
        assert (payment["status"], payment["holdReason"]) == ("processing", "aml_sanctions")


async def test_the_recovery_names_the_token_that_moved(system: LiveSystem) -> None:
    data = await system.open("direct")
    await system.chain.fund(USDC, system.chain.accounts[1])

    await system.chain.transfer(USDC, data["instructions"]["address"], TEN)
    await system.chain.mine(6)
    rows: list[dict[str, Any]] = []
    async with asyncio.timeout(30):
        while not rows:
            await asyncio.sleep(0.05)  # seen over HTTP
            rows = (await system.market.admin.ok("GET", "/api/admin/recoveries"))["recoveries"]

    assert [(row["reason"], row["tokenAddress"].lower()) for row in rows] == [("wrong_token", USDC.lower())]


@pytest.mark.parametrize("rail", ["proxy", "direct"])
async def test_where_proofs_are_required_the_chain_itself_proves_the_payment(
    chain: Anvil, tmp_path: Path, rail: str
) -> None:
    env = {"MARKETPLACE_REQUIRE_PROOF": "true", "RPC_BSC_TESTNET": chain.url}
    async with settled_in(chain, tmp_path, {}, registered={"proof": "receipts"}, **env) as system:
        data = await system.open(rail)
        payment_id, destination = data["payment"]["id"], data["payment"]["destination"]
        if rail == "proxy":
            await chain.pay(USDT, destination, TEN, data["checkoutBlock"]["paymentReference"])
        else:
            await chain.transfer(USDT, destination, TEN - 7)
            await chain.transfer(USDT, destination, 7)
        await chain.mine(6)
        await system.until(payment_id, funded)
        with system.market.opened() as store:
            assert len(store.execute("SELECT 1 FROM proven_transfers").fetchall()) == (1 if rail == "proxy" else 2)


async def test_where_proofs_are_required_a_scanner_without_them_is_not_believed(chain: Anvil, tmp_path: Path) -> None:
    env = {"MARKETPLACE_REQUIRE_PROOF": "true", "RPC_BSC_TESTNET": chain.url}
    async with settled_in(chain, tmp_path, {}, **env) as system:
        data = await system.open("proxy")
        await chain.pay(USDT, data["payment"]["destination"], TEN, data["checkoutBlock"]["paymentReference"])
        await chain.mine(6)
        held = await system.until(data["payment"]["id"], lambda payment: payment["holdReason"] is not None)

    assert held["holdReason"] == "proof_missing"
