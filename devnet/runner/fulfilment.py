"""The last part of a scenario: the goods are delivered, and the money leaves the escrow on chain."""

from __future__ import annotations

import asyncio
import time
from typing import Any

from devnet.runner.facts import Finding, FindingKind, FlowFailed
from devnet.runner.payment import CONFIRM_S, POLL_S, assert_held
from devnet.runner.scenario import Scenario, decimal

CONFLICT = 409
HIDDEN = frozenset({403, 404})


async def deliver(scenario: Scenario) -> None:
    """Let the seller say it is on its way."""
    data = await scenario.winner.ok("deliver", "PATCH", f"{scenario.path}/delivery", {"proof": "handed to the carrier"})
    _expect(data["purchaseRequest"], "delivery")
    scenario.context.log("delivered   the seller has handed it over")
    await scenario.assert_notified([scenario.buyer.user_id], "delivered", scenario.purchase.request_id)


async def confirm_delivery(scenario: Scenario) -> None:
    """Let the buyer say it arrived: by the delivery code, or by a confirmation."""
    if scenario.serial % 2:
        await _by_code(scenario)
    else:
        await scenario.buyer.ok(
            "confirm delivery", "PATCH", f"{scenario.path}/confirm-delivery", {"proof": "I have it"}
        )
        scenario.context.log("arrived     the buyer confirms")
    data = await scenario.buyer.ok("read request", "GET", scenario.path)
    if data["purchaseRequest"]["deliveryConfirmed"] is not True:
        raise FlowFailed("the delivery was confirmed and is not")
    await scenario.assert_notified([scenario.purchase.winner], "delivery_confirmed", scenario.purchase.request_id)


async def _by_code(scenario: Scenario) -> None:
    data = await scenario.buyer.ok("generate code", "POST", f"{scenario.path}/delivery-code/generate")
    scenario.codes.append(data["code"])
    body = {"code": data["code"]}
    status, answer = await scenario.winner.call("verify code", "POST", f"{scenario.path}/delivery-code/verify", body)
    # Used already: by our first attempt, whose answer was lost with the process.
    if status != 200 and not (status == CONFLICT and scenario.winner.http.max_downtime_s):
        raise FlowFailed(f"verify code: {status} {answer}")
    scenario.context.log("arrived     the buyer's delivery code is right")


async def release(scenario: Scenario) -> None:
    """Let the admin order the release; the ledger holds nothing from then on."""
    chain_actor = scenario.context.chain_actor
    scenario.sellers_wallet = scenario.sellers_wallet or await chain_actor.wallet()
    path = f"/api/admin/payments/{scenario.purchase.payment_id}/release"
    data = await scenario.context.admin.ok("release", "POST", path, {"toAddress": scenario.sellers_wallet})
    scenario.instruction = data["instruction"]
    ordered = (scenario.instruction["to"], int(scenario.instruction["amountBaseUnits"]), scenario.instruction["kind"])
    if ordered != (scenario.sellers_wallet, scenario.payout, "release"):
        scenario.fail(Finding(FindingKind.LEDGER, f"the instruction is {ordered}"))
    await assert_held(scenario, 0)
    scenario.context.log(f"released    {decimal(scenario.payout)} USDT, by instruction to {scenario.sellers_wallet}")
    await _everybody(scenario, "payment_release")


async def execute_payout(scenario: Scenario) -> None:
    """Carry the instruction out on chain, and say so: the seller is paid."""
    chain_actor = scenario.context.chain_actor
    sent, data = await settled(scenario, scenario.instruction)
    if data["payment"]["escrowState"] != "released":
        raise FlowFailed(f"the escrow is {data['payment']['escrowState']} after the payout")
    request = (await scenario.buyer.ok("read request", "GET", scenario.path))["purchaseRequest"]
    _expect(request, "seller_paid")
    has = await chain_actor.balance(scenario.sellers_wallet)
    if has != scenario.payout:
        scenario.fail(Finding(FindingKind.LEDGER, f"the seller's wallet has {has}, not {scenario.payout}"))
    scenario.context.log(f"seller paid {decimal(has)} USDT in the seller's wallet, transaction {sent}")
    await _everybody(scenario, "payment_released")


async def settled(scenario: Scenario, instruction: dict[str, Any]) -> tuple[str, dict[str, Any]]:
    """Carry an instruction out on chain, and say so until it is as deep as its payment had to be."""
    sent = await scenario.context.chain_actor.execute(instruction)
    path = f"/api/admin/instructions/{instruction['id']}/settle"
    data = await scenario.context.admin.ok("settle", "POST", path, {"txHash": sent})
    until = time.monotonic() + CONFIRM_S
    while data["instruction"]["status"] != "released":
        if time.monotonic() > until:
            raise FlowFailed(f"the instruction is {data['instruction']['status']} long after the payout")
        await asyncio.sleep(POLL_S)
        data = await scenario.context.admin.ok("settle again", "POST", path, {"txHash": sent})
    return sent, data


async def set_fee(scenario: Scenario) -> None:
    """Let the admin set the fee of each seller, another one in each scenario."""
    bps = 1 + scenario.serial * 101 % 2_500
    for seller_id in scenario.sellers:
        body = {"sellerId": seller_id, "bps": bps, "note": f"agreed with seller of {scenario.serial}"}
        await scenario.context.admin.ok("set fee", "PUT", "/api/admin/fees", body)
        await scenario.assert_notified([seller_id], "fee_changed", seller_id)
    scenario.agreed_bps = bps
    scenario.context.log(f"fee         {bps / 100:g} % of what each of the three would be paid")


async def _everybody(scenario: Scenario, kind: str) -> None:
    people = [scenario.buyer.user_id, scenario.purchase.winner, scenario.context.admin.user_id]
    await scenario.assert_notified(people, kind, scenario.purchase.payment_id)


async def probe_access(scenario: Scenario) -> None:
    """Try to read what belongs to others: a rejected seller reads our payment, our buyer another buyer's."""
    loser = scenario.sellers[scenario.losers[0]]
    attempts = [(loser, scenario.purchase.payment_id)]
    others = [payment for payment, buyer in scenario.context.paid.items() if buyer != scenario.buyer.user_id]
    attempts += [(scenario.buyer, payment) for payment in others[-1:]]
    for who, payment in attempts:
        status, _ = await who.call("read another's payment", "GET", f"/api/payment/{payment}")
        if status not in HIDDEN:
            scenario.fail(Finding(FindingKind.LEAK, f"{who.email} was answered {status} about payment {payment}"))
    mine = await scenario.buyer.ok("payment history", "GET", "/api/payment/history?role=all&limit=100")
    foreign = [each["id"] for each in mine["payments"] if each["buyerId"] != scenario.buyer.user_id]
    own = await scenario.buyer.ok("my requests", "GET", "/api/marketplace/purchase-requests/my?limit=100")
    foreign += [each["id"] for each in own["purchaseRequests"] if each["buyerId"] != scenario.buyer.user_id]
    if foreign:
        scenario.fail(Finding(FindingKind.LEAK, f"{scenario.buyer.email} is shown {foreign}"))


def _expect(request: dict[str, Any], status: str) -> None:
    if request["status"] != status:
        raise FlowFailed(f"the request is {request['status']}, not {status}")
