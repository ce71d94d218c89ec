"""The middle of a scenario: a payment is opened, made on chain, found by the scanner, and held."""

from __future__ import annotations

import asyncio
import time
from typing import Any

from devnet.runner.checks import evidence_fault, held_fault, quote_fault
from devnet.runner.facts import Finding, FindingKind, FlowFailed
from devnet.runner.scenario import Scenario, decimal

CONFIRM_S = 120.0
POLL_S = 0.5
ACCEPTED = 202
UNAUTHORIZED = 401
WEBHOOK = "/api/payment/amn-scanner/webhook"


async def open_payment(scenario: Scenario) -> None:
    """Open the payment; the buyer is shown where to pay once the scanner watches that address."""
    chain_actor = scenario.context.chain_actor
    body = {
        "purchaseRequestId": scenario.purchase.request_id,
        **scenario.rail.body,
        "chainId": chain_actor.chain_id,
        "token": chain_actor.token,
        "amount": "0.01",  # what a client says of the amount counts for nothing
    }
    scenario.answer = await registered(scenario, "create payment intent", "/api/payment/intents", body)
    await check_opened(scenario)


async def check_opened(scenario: Scenario) -> None:
    """Compare what is asked for with what was agreed; nothing is paid yet."""
    payment, quote = scenario.answer["payment"], scenario.answer.get("quote")
    scenario.due = scenario.price if quote is None else int(payment["amountBaseUnits"])
    if quote is not None:
        fault = quote_fault(quote, scenario.price, scenario.currency, scenario.due)
        if fault is not None:
            scenario.fail(Finding(FindingKind.UNPROVEN, f"{payment['id']}: {fault}"))
        scenario.context.log(
            f"quote       {quote['offerAmount']} {quote['offerCurrency']} at {quote['fxRate']}: {quote['note']}"
        )
    elif scenario.currency != "USDT":
        scenario.fail(Finding(FindingKind.UNPROVEN, f"{payment['id']}: a price in {scenario.currency} without a quote"))
    scenario.update_purchase(payment_id=payment["id"])
    if int(payment["amountBaseUnits"]) != scenario.due:
        scenario.fail(Finding(FindingKind.UNPROVEN, f"{payment['id']} asks for {payment['amountBaseUnits']}"))
    if payment["status"] != "pending" or payment["escrowState"] is not None:
        scenario.fail(Finding(FindingKind.UNPROVEN, f"{payment['id']} is {payment['status']} before anybody paid"))
    scenario.context.paid[payment["id"]] = scenario.buyer.user_id
    scenario.context.log(f"intent      {payment['paymentRef']}: {scenario.due} base units of {payment['tokenSymbol']}")
    await scenario.assert_notified([scenario.buyer.user_id], "pending_payment", payment["id"])


async def registered(scenario: Scenario, operation: str, path: str, body: dict[str, Any]) -> dict[str, Any]:
    """Ask for a payment until the scanner watches for it, and return the answer."""
    until = time.monotonic() + CONFIRM_S
    while True:
        status, answer = await scenario.buyer.call(operation, "POST", path, body)
        if status not in {200, 201, ACCEPTED}:
            raise FlowFailed(f"{operation}: {status} {answer}")
        if status != ACCEPTED:
            return dict(answer["data"])
        if time.monotonic() > until:
            raise FlowFailed("the scanner never registered the payment")
        await asyncio.sleep(POLL_S)


async def pay(scenario: Scenario) -> None:
    """Pay on chain, out of a wallet of the buyer's own."""
    chain_actor = scenario.context.chain_actor
    scenario.wallet = scenario.wallet or await chain_actor.wallet()
    if scenario.rail.name == "proxy":
        block = scenario.answer["checkoutBlock"]
        calldata = block["calldata"]
        scenario.context.log(f"checkout    call {block['proxyAddress']} with reference {block['paymentReference']}")
        scenario.context.log(f"            calldata {calldata[:42]}… ({len(calldata) // 2 - 1} bytes)")
        scenario.tx_hash = await chain_actor.pay_through_proxy(scenario.wallet, block)
    else:
        where = scenario.answer["instructions"]
        scenario.context.log(f"instructions {where['amount']} {where['tokenSymbol']} to {where['address']}")
        scenario.tx_hash = await chain_actor.pay_directly(
            scenario.wallet, where["address"], int(where["amountBaseUnits"])
        )
    scenario.context.log(f"paid        transaction {scenario.tx_hash}")


async def await_confirmation(scenario: Scenario) -> None:
    """Wait until the money is held, and ask the chain itself whether it came."""
    payment = await wait_until_funded(scenario)
    seen = await scenario.context.chain_actor.observe(scenario.tx_hash, payment["destination"])
    fault = evidence_fault(payment, scenario.expected_payment, seen)
    if fault is not None:
        scenario.fail(Finding(FindingKind.UNPROVEN, fault))
    await _webhook(scenario)
    await assert_held(scenario, scenario.due)
    scenario.context.log(
        f"held        {decimal(scenario.due)} USDT in escrow, {seen.depth} blocks deep; buyer and seller know"
    )
    both = [scenario.buyer.user_id, scenario.purchase.winner]
    await scenario.assert_notified(both, "payment_confirmed", scenario.purchase.payment_id)


async def _webhook(scenario: Scenario) -> None:
    """Check that the scanner reported it once, and that an unsigned webhook is refused."""
    forged = {"intentId": scenario.purchase.payment_id, "status": "confirmed", "txHash": scenario.tx_hash}
    status, _ = await scenario.context.market.request("forged webhook", "POST", WEBHOOK, forged)
    if status != UNAUTHORIZED:
        scenario.fail(Finding(FindingKind.UNPROVEN, f"a webhook without a signature was answered {status}"))
    if scenario.rail.name == "direct_balance":
        return
    view = await scenario.context.ask_scanner("read intent", f"/intents/{scenario.purchase.payment_id}")
    confirmations = [each for each in view["intent"]["deliveries"] if each["eventType"] == "payment.confirmed"]
    if len(confirmations) != 1:
        scenario.fail(
            Finding(
                FindingKind.DUPLICATE,
                f"{len(confirmations)} events say that {scenario.purchase.payment_id} is confirmed",
            )
        )
    event = confirmations[0]["eventId"]
    scenario.context.log(
        f"webhook     payment.confirmed {event}, signature verified by the marketplace; a forged one gets 401"
    )


async def assert_held(scenario: Scenario, amount: int) -> None:
    """Compare the ledger with what it must hold."""
    view = await scenario.buyer.ok("read payment", "GET", f"/api/payment/{scenario.purchase.payment_id}")
    finding = held_fault(view["ledger"], amount, scenario.surplus)
    if finding is not None:
        scenario.fail(Finding(finding.kind, f"{scenario.purchase.payment_id}: {finding.detail}"))


async def wait_until_funded(scenario: Scenario) -> dict[str, Any]:
    """Return the payment once the marketplace counts it as paid."""
    wait_s = CONFIRM_S + scenario.context.market.max_downtime_s
    until, shown = time.monotonic() + wait_s, ""
    while True:
        if scenario.rail.name == "direct_balance":
            path = f"/api/payment/amn-scanner/direct-balance/check/{scenario.purchase.payment_id}"
            await scenario.buyer.ok("balance check", "POST", path)
        else:
            shown = await _watched(scenario, shown)
        view = await scenario.buyer.ok("read payment", "GET", f"/api/payment/{scenario.purchase.payment_id}")
        if view["payment"]["status"] == "completed":
            return dict(view["payment"])
        if time.monotonic() > until:
            payment = view["payment"]
            raise FlowFailed(f"{payment['id']} is {payment['status']} {wait_s:.0f} s after it was paid")
        await asyncio.sleep(POLL_S)


async def _watched(scenario: Scenario, shown: str) -> str:
    """Read the scanner's intent, and log what is new."""
    view = await scenario.context.ask_scanner("read intent", f"/intents/{scenario.purchase.payment_id}")
    intent = view["intent"]
    now = f"{intent['status']:<11} {intent['confirmations']}/{intent['confirmationsRequired']}"
    if now != shown:
        scenario.context.log(now)
    return now
