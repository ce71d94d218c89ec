"""The first half of a scenario: people come, one asks, three offer, the lowest is accepted."""

from __future__ import annotations

import secrets
from typing import Any

from devnet.runner.facts import FlowFailed
from devnet.runner.scenario import UNIT, Scenario, decimal
from devnet.runner.user import User

SELLERS = 3
CREATED, CONFLICT = 201, 409
MARKET = "/api/marketplace"


async def register_users(scenario: Scenario) -> None:
    """Let the admin create a buyer and three sellers, who log in and listen."""
    scenario.buyer = await _newcomer(scenario, "buyer")
    sellers = [await _newcomer(scenario, "seller") for _ in range(SELLERS)]
    scenario.sellers = {seller.user_id: seller for seller in sellers}
    scenario.update_purchase(buyer=scenario.buyer.user_id, sellers=tuple(scenario.sellers))
    scenario.context.listeners.sellers.update(scenario.sellers)
    for user in (scenario.buyer, *sellers):
        scenario.context.listeners.listen(user)
    scenario.context.log(f"people      a buyer and {SELLERS} sellers have accounts and are listening")


async def _newcomer(scenario: Scenario, role: str) -> User:
    password = secrets.token_urlsafe(12)
    email = f"{role}-{scenario.serial}-{secrets.token_hex(4)}@runner.test"
    body = {"email": email, "password": password, "role": role, "name": f"{role.title()} {scenario.serial}"}
    status, answer = await scenario.context.admin.call("create user", "POST", "/api/admin/users", body)
    # A conflict is our own first attempt, whose answer was lost with the process.
    if status != CREATED and not (status == CONFLICT and scenario.context.market.max_downtime_s):
        raise FlowFailed(f"create user: {status} {answer}")
    user = User(scenario.context.market, email, password)
    await user.login()
    return user


async def create_request(scenario: Scenario) -> None:
    """Publish what the buyer wants."""
    body = {
        "title": f"Bicycle number {scenario.serial}",
        "description": "Any colour, 28 inches, with lights.",
        "productType": scenario.product_type,
        "quantity": 1,
        "budget": {"min": "5", "max": "100", "currency": scenario.currency},
        "urgency": "medium",
        "deliveryInfo": {"deliveryType": "physical", "email": scenario.buyer.email},
    }
    data = await scenario.buyer.ok("create request", "POST", f"{MARKET}/purchase-requests", body)
    request = data["purchaseRequest"]
    if request["buyerId"] != scenario.buyer.user_id:
        raise FlowFailed(f"the request belongs to {request['buyerId']}")
    scenario.update_purchase(request_id=request["id"])
    scenario.context.log(f"request     {request['title']}, 5 to 100 {scenario.currency}")
    await scenario.assert_notified(scenario.sellers, "request_created", request["id"])


async def make_offers(scenario: Scenario) -> None:
    """Let each seller offer, inside the budget; which of them is lowest changes from scenario to scenario."""
    for place, seller in enumerate(scenario.sellers.values()):
        price = scenario.price + (place + scenario.serial) % SELLERS * UNIT
        offer_id = await _offer(scenario, seller, price)
        scenario.prices[offer_id] = price
        scenario.update_purchase(offers={**scenario.purchase.offers, offer_id: seller.user_id})
        scenario.context.log(f"offer       {decimal(price)} {scenario.currency} by seller {place + 1}")
        await scenario.assert_notified([scenario.buyer.user_id], "offer_received", offer_id)


async def _offer(scenario: Scenario, seller: User, price: int) -> str:
    body = {
        "title": f"My bicycle for {scenario.serial}",
        "description": "Blue.",
        "price": {"amount": decimal(price), "currency": scenario.currency},
        "deliveryTime": {"amount": 2, "unit": "days"},
        **({"poolId": scenario.pools[seller.user_id]} if scenario.pools else {}),
        **scenario.terms,
    }
    status, answer = await seller.call("create offer", "POST", f"{scenario.path}/offers", body)
    if status == CREATED:
        return str(answer["data"]["offer"]["id"])
    if status == CONFLICT and seller.http.max_downtime_s:  # it was taken, and the answer lost with the process
        path = f"{MARKET}/offers?requestId={scenario.purchase.request_id}"
        mine: list[Any] = (await seller.ok("list offers", "GET", path))["offers"]
        if mine:
            return str(mine[0]["id"])
    raise FlowFailed(f"create offer: {status} {answer}")


async def accept_lowest_offer(scenario: Scenario) -> None:
    """Accept the lowest offer."""
    chosen = min(scenario.prices, key=lambda offer: scenario.prices[offer])
    if scenario.prices[chosen] != scenario.price:
        raise FlowFailed(f"the lowest offer is {scenario.prices[chosen]}, not {scenario.price}")
    data = await scenario.buyer.ok("accept offer", "POST", f"{scenario.path}/select-offer", {"offerId": chosen})
    accepted = (data["offer"]["status"], data["purchaseRequest"]["status"], data["purchaseRequest"]["selectedOfferId"])
    if accepted != ("accepted", "payment", chosen):
        raise FlowFailed(f"accepting ended as {accepted}")
    scenario.update_purchase(winner=scenario.purchase.offers[chosen])
    scenario.fee_bps = data["offer"]["platformFee"]["bps"]
    if scenario.agreed_bps not in {None, scenario.fee_bps}:
        raise FlowFailed(f"the fee is {scenario.fee_bps} bps, and {scenario.agreed_bps} were set")
    scenario.context.log(
        f"accepted    the lowest: {decimal(scenario.price)} {scenario.currency}; the other two are rejected"
    )
    await scenario.assert_notified([scenario.purchase.winner], "offer_accepted", chosen)
    for offer, seller in scenario.purchase.offers.items():
        if offer != chosen:
            await scenario.assert_notified([seller], "offer_rejected", offer)
