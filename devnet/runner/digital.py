"""Digital goods in a scenario: stocks, a shop, and that each good goes to one buyer."""

from __future__ import annotations

import uuid
from typing import Any

from devnet.runner.facts import Finding, FindingKind, FlowFailed
from devnet.runner.payment import check_opened, registered
from devnet.runner.scenario import Scenario, decimal

MARKET = "/api/marketplace"
CREATED, CONFLICT, FORBIDDEN = 201, 409, 403
GOODS = 2  # that each seller has


async def fill_stocks(scenario: Scenario) -> None:
    """Let each seller put codes into a stock that nobody else has."""
    for place, seller in enumerate(scenario.sellers.values()):
        body = {"name": f"Codes for {scenario.serial}"}
        status, answer = await seller.call("create stock", "POST", f"{MARKET}/stocks", body)
        if status == CONFLICT and seller.http.max_downtime_s:  # it was made, and the answer lost with the process
            answer = {"data": {"stock": (await seller.ok("list stocks", "GET", f"{MARKET}/stocks"))["stocks"][0]}}
        elif status != CREATED:
            raise FlowFailed(f"create stock: {status} {answer}")
        stock_id = answer["data"]["stock"]["id"]
        codes = [f"CODE-{scenario.serial}-{place}-{number}-{uuid.uuid4()}" for number in range(GOODS)]
        await _fill(scenario, seller.user_id, stock_id, codes)
    scenario.context.log(f"stocks      {GOODS} codes of each seller, sealed")


async def _fill(scenario: Scenario, seller_id: str, stock_id: str, codes: list[str]) -> None:
    seller, path = scenario.sellers[seller_id], f"{MARKET}/stocks/{stock_id}"
    lines = "\n".join(["content", *codes]).encode()
    status, answer = await seller.call("fill stock", "POST", f"{path}/items", lines)
    # Refused since they are there: by our first attempt, whose answer was lost with the process.
    if status != CREATED and not seller.http.max_downtime_s:
        raise FlowFailed(f"fill stock: {status} {answer}")
    free = (await seller.ok("read stock", "GET", path))["stock"]["counts"]["free"]
    if free != GOODS:
        raise FlowFailed(f"the stock has {free} goods, not {GOODS}")
    scenario.pools[seller_id] = stock_id
    scenario.stocked[seller_id] = frozenset(codes)
    scenario.update_purchase(stocks={**scenario.purchase.stocks, stock_id: seller_id})


async def offer_in_a_shop(scenario: Scenario) -> None:
    """Let one seller open a shop with a template that may be taken once."""
    seller_id = scenario.purchase.sellers[scenario.serial % len(scenario.sellers)]
    seller = scenario.sellers[seller_id]
    await seller.ok("open shop", "PUT", f"{MARKET}/shop", {"name": f"Shop {scenario.serial}", "text": "Codes."})
    body = {
        "title": f"A code of {scenario.serial}",
        "description": "Works once.",
        "productType": scenario.product_type,
        "price": {"amount": decimal(scenario.price), "currency": scenario.currency},
        "deliveryTime": {"amount": 1, "unit": "hours"},
        "poolId": scenario.pools[seller_id],
        "maxUses": 1,
    }
    made = await seller.ok("create template", "POST", f"{MARKET}/templates", body)
    scenario.share_id = made["template"]["shareId"]
    scenario.update_purchase(winner=seller_id)
    shop = await scenario.buyer.ok("read shop", "GET", f"/api/shops/{seller_id}")
    if [each["shareId"] for each in shop["templates"]] != [scenario.share_id]:
        raise FlowFailed(f"the shop shows {shop['templates']}")
    scenario.context.log(
        f"shop        one template for {decimal(scenario.price)} {scenario.currency}, to be taken once"
    )


async def check_out(scenario: Scenario) -> None:
    """Buy it in one call, and send the call again: it is one order."""
    chain_actor = scenario.context.chain_actor
    body = {
        "checkoutId": str(uuid.uuid4()),
        "lines": [{"shareId": scenario.share_id, "quantity": 1}],
        **scenario.rail.body,
        "chainId": chain_actor.chain_id,
        "token": chain_actor.token,
    }
    scenario.answer = await registered(scenario, "check out", "/api/payment/checkout", body)
    again = await registered(scenario, "check out again", "/api/payment/checkout", body)
    if again["payment"]["id"] != scenario.answer["payment"]["id"]:
        scenario.fail(Finding(FindingKind.GOODS, f"one checkout became {scenario.answer['payment']['id']} and another"))
    await _sold_out(scenario, {**body, "checkoutId": str(uuid.uuid4())})
    offer = scenario.answer["offer"]
    scenario.fee_bps = offer["platformFee"]["bps"]
    scenario.update_purchase(
        request_id=scenario.answer["purchaseRequest"]["id"], offers={offer["id"]: scenario.purchase.winner}
    )
    scenario.context.log(f"checkout    request, accepted offer and payment in one call, for {offer['price']['amount']}")
    await scenario.assert_notified([scenario.purchase.winner], "offer_accepted", offer["id"])
    await check_opened(scenario)


async def _sold_out(scenario: Scenario, body: dict[str, Any]) -> None:
    status, answer = await scenario.buyer.call("check out beyond", "POST", "/api/payment/checkout", body)
    if status != CONFLICT or answer["error"]["code"] != "sold_out":
        scenario.fail(Finding(FindingKind.GOODS, f"a template that may be taken once was taken again: {status}"))


async def reveal_goods(scenario: Scenario) -> None:
    """Let the buyer look at what they bought: one code of the winner's, which nobody else was ever shown."""
    await scenario.assert_notified([scenario.buyer.user_id], "goods_ready", scenario.purchase.payment_id)
    for other in scenario.sellers.values():
        status, _ = await other.call("reveal another's", "POST", f"{scenario.path}/goods/reveal")
        if status != FORBIDDEN:
            scenario.fail(Finding(FindingKind.LEAK, f"a seller was answered {status} where goods are shown"))
    shown = [await _revealed(scenario) for _ in range(2)]
    fault = goods_fault(shown, scenario.stocked[scenario.purchase.winner], scenario.context.shown)
    if fault is not None:
        scenario.fail(Finding(FindingKind.GOODS, f"{scenario.purchase.payment_id}: {fault}"))
    scenario.context.shown.update(shown[0])
    scenario.context.log("revealed    one code, to its buyer alone")
    await scenario.assert_notified([scenario.purchase.winner], "goods_revealed", scenario.purchase.payment_id)


async def _revealed(scenario: Scenario) -> list[str]:
    data = await scenario.buyer.ok("reveal goods", "POST", f"{scenario.path}/goods/reveal")
    return [each["content"] for each in data["goods"]]


def goods_fault(shown: list[list[str]], stocked: frozenset[str], before: set[str]) -> str | None:
    """Return what is wrong with what a buyer was shown, each time they asked; None when nothing is."""
    first = shown[0]
    if len(first) != 1:
        return f"{len(first)} goods for one"
    if any(each != first for each in shown):
        return "another good each time"
    if first[0] not in stocked:
        return "a good that its seller never had"
    return "a good that somebody else was shown" if first[0] in before else None
