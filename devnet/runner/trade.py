"""The first half of a story: people come, one asks, three offer, the lowest is accepted."""

from __future__ import annotations

import secrets
from typing import Any

from devnet.runner.facts import FlowFailed
from devnet.runner.person import Person
from devnet.runner.tale import UNIT, Tale, decimal

SELLERS = 3
CREATED, CONFLICT = 201, 409
MARKET = "/api/marketplace"


async def people_arrive(tale: Tale) -> None:
    """Let the admin create a buyer and three sellers, who log in and listen."""
    tale.buyer = await _newcomer(tale, "buyer")
    sellers = [await _newcomer(tale, "seller") for _ in range(SELLERS)]
    tale.sellers = {seller.user_id: seller for seller in sellers}
    tale.learn(buyer=tale.buyer.user_id, sellers=tuple(tale.sellers))
    tale.world.hall.sellers.update(tale.sellers)
    for person in (tale.buyer, *sellers):
        tale.world.hall.listen(person)
    tale.world.say(f"people      a buyer and {SELLERS} sellers have accounts and are listening")


async def _newcomer(tale: Tale, role: str) -> Person:
    password = secrets.token_urlsafe(12)
    email = f"{role}-{tale.serial}-{secrets.token_hex(4)}@runner.test"
    body = {"email": email, "password": password, "role": role, "name": f"{role.title()} {tale.serial}"}
    status, answer = await tale.world.admin.call("create user", "POST", "/api/admin/users", body)
    # A conflict is our own first attempt, whose answer was lost with the process.
    if status != CREATED and not (status == CONFLICT and tale.world.market.patience_s):
        raise FlowFailed(f"create user: {status} {answer}")
    person = Person(tale.world.market, email, password)
    await person.login()
    return person


async def ask(tale: Tale) -> None:
    """Publish what the buyer wants."""
    body = {
        "title": f"Bicycle number {tale.serial}",
        "description": "Any colour, 28 inches, with lights.",
        "productType": "physical_product",
        "quantity": 1,
        "budget": {"min": "5", "max": "100", "currency": "USDT"},
        "urgency": "medium",
        "deliveryInfo": {"deliveryType": "physical", "email": tale.buyer.email},
    }
    data = await tale.buyer.ok("create request", "POST", f"{MARKET}/purchase-requests", body)
    request = data["purchaseRequest"]
    if request["buyerId"] != tale.buyer.user_id:
        raise FlowFailed(f"the request belongs to {request['buyerId']}")
    tale.learn(request_id=request["id"])
    tale.world.say(f"request     {request['title']}, 5 to 100 USDT")
    await tale.told(tale.sellers, "request_created", request["id"])


async def bid(tale: Tale) -> None:
    """Let each seller offer, inside the budget; which of them is lowest changes from story to story."""
    for place, seller in enumerate(tale.sellers.values()):
        price = tale.lowest + (place + tale.serial) % SELLERS * UNIT
        offer_id = await _offer(tale, seller, price)
        tale.prices[offer_id] = price
        tale.learn(offers={**tale.deal.offers, offer_id: seller.user_id})
        tale.world.say(f"offer       {decimal(price)} USDT by seller {place + 1}")
        await tale.told([tale.buyer.user_id], "offer_received", offer_id)


async def _offer(tale: Tale, seller: Person, price: int) -> str:
    body = {
        "title": f"My bicycle for {tale.serial}",
        "description": "Blue.",
        "price": {"amount": decimal(price), "currency": "USDT"},
        "deliveryTime": {"amount": 2, "unit": "days"},
        **tale.terms,
    }
    status, answer = await seller.call("create offer", "POST", f"{tale.path}/offers", body)
    if status == CREATED:
        return str(answer["data"]["offer"]["id"])
    if status == CONFLICT and seller.line.patience_s:  # it was taken, and the answer lost with the process
        path = f"{MARKET}/offers?requestId={tale.deal.request_id}"
        mine: list[Any] = (await seller.ok("list offers", "GET", path))["offers"]
        if mine:
            return str(mine[0]["id"])
    raise FlowFailed(f"create offer: {status} {answer}")


async def accept(tale: Tale) -> None:
    """Accept the lowest offer."""
    chosen = min(tale.prices, key=lambda offer: tale.prices[offer])
    if tale.prices[chosen] != tale.lowest:
        raise FlowFailed(f"the lowest offer is {tale.prices[chosen]}, not {tale.lowest}")
    data = await tale.buyer.ok("accept offer", "POST", f"{tale.path}/select-offer", {"offerId": chosen})
    accepted = (data["offer"]["status"], data["purchaseRequest"]["status"], data["purchaseRequest"]["selectedOfferId"])
    if accepted != ("accepted", "payment", chosen):
        raise FlowFailed(f"accepting ended as {accepted}")
    tale.learn(winner=tale.deal.offers[chosen])
    tale.world.say(f"accepted    the lowest: {decimal(tale.lowest)} USDT; the other two are told so")
    await tale.told([tale.deal.winner], "offer_accepted", chosen)
    for offer, seller in tale.deal.offers.items():
        if offer != chosen:
            await tale.told([seller], "offer_rejected", offer)
