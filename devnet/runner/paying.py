"""The middle of a story: a payment is opened, made on chain, found by the scanner, and held."""

from __future__ import annotations

import asyncio
import time
from typing import Any

from devnet.runner.facts import Fault, Finding, FlowFailed
from devnet.runner.tale import Tale, decimal
from devnet.runner.verdicts import evidence_fault, held_fault

CONFIRM_S = 120.0
POLL_S = 0.5
ACCEPTED = 202
UNAUTHORIZED = 401
WEBHOOK = "/api/payment/amn-scanner/webhook"


async def open_payment(tale: Tale) -> None:
    """Open the payment; the buyer is shown where to pay once the scanner looks there."""
    street = tale.world.street
    body = {
        "purchaseRequestId": tale.deal.request_id,
        **tale.rail.body,
        "chainId": street.chain_id,
        "token": street.token,
        "amount": "0.01",  # what a client says of the amount counts for nothing
    }
    tale.answer = await _registered(tale, body)
    payment = tale.answer["payment"]
    tale.learn(payment_id=payment["id"])
    if int(payment["amountBaseUnits"]) != tale.lowest:
        tale.accuse(Finding(Fault.UNPROVEN, f"{payment['id']} asks for {payment['amountBaseUnits']}"))
    if payment["status"] != "pending" or payment["escrowState"] is not None:
        tale.accuse(Finding(Fault.UNPROVEN, f"{payment['id']} is {payment['status']} before anybody paid"))
    tale.world.paid[payment["id"]] = tale.buyer.user_id
    tale.world.say(f"intent      {payment['paymentRef']}: {tale.lowest} base units of {payment['tokenSymbol']}")
    await tale.told([tale.buyer.user_id], "pending_payment", payment["id"])


async def _registered(tale: Tale, body: dict[str, Any]) -> dict[str, Any]:
    until = time.monotonic() + CONFIRM_S
    while True:
        status, answer = await tale.buyer.call("create payment intent", "POST", "/api/payment/intents", body)
        if status not in {200, 201, ACCEPTED}:
            raise FlowFailed(f"create payment intent: {status} {answer}")
        if status != ACCEPTED:
            return dict(answer["data"])
        if time.monotonic() > until:
            raise FlowFailed("the scanner never registered the payment")
        await asyncio.sleep(POLL_S)


async def pay(tale: Tale) -> None:
    """Pay on chain, out of a wallet of the buyer's own."""
    street = tale.world.street
    tale.wallet = tale.wallet or await street.wallet()
    if tale.rail.name == "proxy":
        block = tale.answer["checkoutBlock"]
        calldata = block["calldata"]
        tale.world.say(f"checkout    call {block['proxyAddress']} with reference {block['paymentReference']}")
        tale.world.say(f"            calldata {calldata[:42]}… ({len(calldata) // 2 - 1} bytes)")
        tale.tx_hash = await street.pay_through_proxy(tale.wallet, block)
    else:
        where = tale.answer["instructions"]
        tale.world.say(f"instructions {where['amount']} {where['tokenSymbol']} to {where['address']}")
        tale.tx_hash = await street.pay_plainly(tale.wallet, where["address"], int(where["amountBaseUnits"]))
    tale.world.say(f"paid        transaction {tale.tx_hash}")


async def confirm(tale: Tale) -> None:
    """Wait until the money is held, and ask the chain itself whether it came."""
    payment = await funded(tale)
    seen = await tale.world.street.look(tale.tx_hash, payment["destination"])
    fault = evidence_fault(payment, tale.owed, seen)
    if fault is not None:
        tale.accuse(Finding(Fault.UNPROVEN, fault))
    await _webhook(tale)
    await holds(tale, tale.lowest)
    tale.world.say(
        f"held        {decimal(tale.lowest)} USDT in escrow, {seen.depth} blocks deep; buyer and seller know"
    )
    both = [tale.buyer.user_id, tale.deal.winner]
    await tale.told(both, "payment_confirmed", tale.deal.payment_id)


async def _webhook(tale: Tale) -> None:
    """See that the scanner told it once, and that nobody else can: what is not signed counts for nothing."""
    forged = {"intentId": tale.deal.payment_id, "status": "confirmed", "txHash": tale.tx_hash}
    status, _ = await tale.world.market.ask("forged webhook", "POST", WEBHOOK, forged)
    if status != UNAUTHORIZED:
        tale.accuse(Finding(Fault.UNPROVEN, f"a webhook without a signature was answered {status}"))
    if tale.rail.name == "direct_balance":
        return
    view = await tale.world.at_scanner("read intent", f"/intents/{tale.deal.payment_id}")
    told = [each for each in view["intent"]["deliveries"] if each["eventType"] == "payment.confirmed"]
    if len(told) != 1:
        tale.accuse(Finding(Fault.DUPLICATE, f"{len(told)} events say that {tale.deal.payment_id} is confirmed"))
    event = told[0]["eventId"]
    tale.world.say(
        f"webhook     payment.confirmed {event}, signature verified by the marketplace; a forged one gets 401"
    )


async def holds(tale: Tale, amount: int) -> None:
    """Compare the ledger with what it must hold."""
    view = await tale.buyer.ok("read payment", "GET", f"/api/payment/{tale.deal.payment_id}")
    fault = held_fault(view["ledger"], amount, tale.beyond)
    if fault is not None:
        tale.accuse(Finding(fault.fault, f"{tale.deal.payment_id}: {fault.detail}"))


async def funded(tale: Tale) -> dict[str, Any]:
    """Return the payment once the marketplace counts it as paid."""
    wait_s = CONFIRM_S + tale.world.market.patience_s
    until, shown = time.monotonic() + wait_s, ""
    while True:
        if tale.rail.name == "direct_balance":
            path = f"/api/payment/amn-scanner/direct-balance/check/{tale.deal.payment_id}"
            await tale.buyer.ok("balance check", "POST", path)
        else:
            shown = await _watched(tale, shown)
        view = await tale.buyer.ok("read payment", "GET", f"/api/payment/{tale.deal.payment_id}")
        if view["payment"]["status"] == "completed":
            return dict(view["payment"])
        if time.monotonic() > until:
            payment = view["payment"]
            raise FlowFailed(f"{payment['id']} is {payment['status']} {wait_s:.0f} s after it was paid")
        await asyncio.sleep(POLL_S)


async def _watched(tale: Tale, shown: str) -> str:
    """Look at the scanner's side of it, and tell what is new."""
    view = await tale.world.at_scanner("read intent", f"/intents/{tale.deal.payment_id}")
    intent = view["intent"]
    now = f"{intent['status']:<11} {intent['confirmations']}/{intent['confirmationsRequired']}"
    if now != shown:
        tale.world.say(now)
    return now
