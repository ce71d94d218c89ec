"""A scenario that ends before a judge: the money is split, and each part arrives."""

from __future__ import annotations

from typing import Any

from devnet.runner.facts import Finding, FindingKind, FlowFailed
from devnet.runner.fulfilment import settled
from devnet.runner.scenario import BPS, Scenario, decimal

OK, CREATED, CONFLICT = 200, 201, 409
SOMEBODY = "0x90F79bf6EB2c4f870365E785982E1f101E93b906"


async def argue(scenario: Scenario) -> None:
    """Let the buyer open a dispute."""
    body = {"purchaseRequestId": scenario.purchase.request_id, "reason": "One half is missing.", "category": "quality"}
    status, answer = await scenario.buyer.call("open dispute", "POST", "/api/disputes", body)
    if status == CREATED:
        dispute_id = answer["data"]["dispute"]["id"]
    elif status == CONFLICT and scenario.context.market.max_downtime_s:  # opened, and the answer lost with the process
        dispute_id = (await _open(scenario))["id"]
    else:
        raise FlowFailed(f"open dispute: {status} {answer}")
    scenario.update_purchase(dispute_id=dispute_id)
    path = f"/api/admin/payments/{scenario.purchase.payment_id}/release"
    status, _ = await scenario.context.admin.call("release early", "POST", path, {"toAddress": SOMEBODY})
    if status != CONFLICT:
        scenario.fail(Finding(FindingKind.LEDGER, f"a release while a dispute is open was answered {status}"))
    scenario.context.log("dispute     opened by the buyer; nothing is released meanwhile")
    await scenario.assert_notified(_everybody(scenario), "dispute_opened", dispute_id)


async def _open(scenario: Scenario) -> dict[str, Any]:
    listed = await scenario.context.admin.ok("list disputes", "GET", "/api/disputes?status=open&limit=100")
    request_id = scenario.purchase.request_id
    return next(each for each in listed["disputes"] if each["purchaseRequestId"] == request_id)


def buyer_part(scenario: Scenario) -> int:
    """Return which part of a split is the buyer's, in basis points: another one in each scenario."""
    return 500 + scenario.serial * 37 % 9_000


async def split(scenario: Scenario) -> None:
    """Let the admin split the money."""
    scenario.buyer_bps = buyer_part(scenario)
    body = {"outcome": "split", "buyerBps": scenario.buyer_bps, "note": "Both have a point."}
    path = f"/api/disputes/{scenario.purchase.dispute_id}"
    status, answer = await scenario.context.admin.call("split", "POST", f"{path}/resolve", body)
    if status not in {OK, CONFLICT}:
        raise FlowFailed(f"split: {status} {answer}")
    dispute = (await scenario.context.admin.ok("read dispute", "GET", path))["dispute"]
    if (dispute["status"], dispute["outcome"], dispute["buyerBps"]) != ("resolved", "split", scenario.buyer_bps):
        raise FlowFailed(f"the dispute is {dispute}")
    scenario.context.log(f"split       {scenario.buyer_bps / 100:g} % to the buyer, the rest to the seller")
    await scenario.assert_notified(_everybody(scenario), "dispute_resolved", scenario.purchase.dispute_id)


async def execute_parts(scenario: Scenario) -> None:
    """Send both parts, and compare what arrived with what each is owed, to the unit."""
    chain_actor = scenario.context.chain_actor
    parts = {
        "refund": (await chain_actor.wallet(), scenario.due * scenario.buyer_bps // BPS, {"reason": "as decided"}),
        "release": (await chain_actor.wallet(), scenario.payout, {}),
    }
    for kind, (wallet, owed, more) in parts.items():
        path = f"/api/admin/payments/{scenario.purchase.payment_id}/{kind}"
        data = await scenario.context.admin.ok(kind, "POST", path, {"toAddress": wallet, **more})
        await settled(scenario, data["instruction"])
        has = await chain_actor.balance(wallet)
        if has != owed:
            scenario.fail(Finding(FindingKind.LEDGER, f"the {kind} brought {has}, not {owed}"))
    await _closed(scenario, parts)


async def _closed(scenario: Scenario, parts: dict[str, Any]) -> None:
    view = await scenario.buyer.ok("read payment", "GET", f"/api/payment/{scenario.purchase.payment_id}")
    fee = scenario.due - sum(owed for _, owed, _ in parts.values())
    found = (
        view["payment"]["escrowState"],
        *(int(view["ledger"][name]) for name in ("heldBaseUnits", "platformFeeBaseUnits")),
    )
    if found != ("released", 0, fee):
        scenario.fail(Finding(FindingKind.LEDGER, f"after the split the books say {found}, not {('released', 0, fee)}"))
    sent = " and ".join(f"{decimal(owed)} by {kind}" for kind, (_, owed, _) in parts.items())
    scenario.context.log(f"parts sent  {sent}; the platform keeps {decimal(fee)}")


def _everybody(scenario: Scenario) -> list[str]:
    return [scenario.buyer.user_id, scenario.purchase.winner, scenario.context.admin.user_id]
