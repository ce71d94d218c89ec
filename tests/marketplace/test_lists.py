"""What admins and resolvers look through: disputes and who looks after them, instructions, people."""

from __future__ import annotations

import pytest

from tests.marketplace.accepted_purchase import DONE_IN, AcceptedPurchase, accept_purchase
from tests.marketplace.harness import Api, Running, notes


async def dispute(purchase: AcceptedPurchase) -> str:
    await purchase.fund()
    body = {"purchaseRequestId": purchase.request_id, "reason": "It never came.", "category": "not_received"}
    return str((await purchase.buyer.ok("POST", "/api/disputes", body))["dispute"]["id"])


async def listed(who: Api, query: str = "") -> list[str]:
    return [each["id"] for each in (await who.ok("GET", f"/api/disputes{query}"))["disputes"]]


async def test_disputes_are_listed_newest_first_and_by_status_and_person(purchase: AcceptedPurchase) -> None:
    resolver = await purchase.market.user("resolver")
    first = await dispute(purchase)
    purchase.clock.advance(1)
    second = await dispute(await accept_purchase(purchase.market, purchase.scanner, purchase.clock))
    resolution = {"outcome": "no_action", "note": "It came."}
    await resolver.ok("POST", f"/api/disputes/{first}/assign", {"userId": resolver.user_id})
    await resolver.ok("POST", f"/api/disputes/{first}/resolve", resolution)

    assert await listed(resolver) == [second, first]
    assert await listed(resolver, "?status=open") == [second]
    assert await listed(resolver, f"?assignedTo={resolver.user_id}") == [first]
    assert await listed(resolver, "?limit=1&page=2") == [first]


async def test_who_looks_after_a_dispute_is_told_once(purchase: AcceptedPurchase) -> None:
    market, resolver = purchase.market, await purchase.market.user("resolver")
    about = await dispute(purchase)
    path = f"/api/disputes/{about}/assign"

    for _ in range(2):
        given = await market.admin.ok("POST", path, {"userId": resolver.user_id})
        assert given["dispute"]["assignedTo"] == resolver.user_id
    assert (await notes(resolver)).count(("dispute_assigned", about)) == 1

    assert (await market.admin.ok("POST", path, {"userId": None}))["dispute"]["assignedTo"] is None
    await resolver.ok("POST", path, {"userId": resolver.user_id})
    assert (await notes(resolver)).count(("dispute_assigned", about)) == 1


async def test_only_who_may_decide_looks_after_a_dispute_and_only_while_it_is_open(purchase: AcceptedPurchase) -> None:
    admin, about = purchase.market.admin, await dispute(purchase)
    path = f"/api/disputes/{about}"

    for nobody in (purchase.buyer.user_id, "00000000-0000-4000-8000-000000000000"):
        assert await admin.refused("POST", f"{path}/assign", {"userId": nobody}) == (422, "invalid")
    assert await admin.refused("POST", f"{path}/assign", {}) == (422, "invalid")
    await admin.ok("POST", f"{path}/resolve", {"outcome": "no_action", "note": "It came."})
    assert await admin.refused("POST", f"{path}/assign", {"userId": admin.user_id}) == (409, "conflict")


async def test_instructions_stand_beside_what_they_empty(purchase: AcceptedPurchase) -> None:
    admin = purchase.market.admin
    await purchase.fund()
    _, ordered = await purchase.refund()
    instruction = ordered["data"]["instruction"]["id"]

    async def ids(status: str) -> list[tuple[str, str]]:
        found = (await admin.ok("GET", f"/api/admin/instructions?status={status}"))["payouts"]
        return [(each["payment"]["id"], each["instruction"]["id"]) for each in found]

    assert (await ids("pending"), await ids("released")) == ([(purchase.payment_id, instruction)], [])
    purchase.scanner.carries_out(ordered["data"]["instruction"], tx=DONE_IN)
    await admin.ok("POST", f"/api/admin/instructions/{instruction}/settle", {"txHash": DONE_IN})
    assert (await ids("pending"), await ids("released")) == ([], [(purchase.payment_id, instruction)])
    assert await admin.refused("GET", "/api/admin/instructions?status=lost") == (422, "invalid")


@pytest.mark.parametrize(
    ("query", "found"),
    [
        ("role=seller", ["Zoe_1"]),
        ("q=zoe_", ["Zoe_1"]),
        ("q=ZOE", ["ZoeX1", "Zoe_1"]),
        ("q=%25", []),
        ("q=zoe&role=buyer", ["ZoeX1"]),
        ("limit=1", ["ZoeX1"]),
    ],
)
async def test_people_are_found_by_a_part_of_their_name(shop: Running, query: str, found: list[str]) -> None:
    await shop.user("seller", name="Zoe_1", email="a@example.test")
    shop.marketplace.clock.advance(1)  # type: ignore[attr-defined]  # the tests' own
    await shop.user("buyer", name="ZoeX1", email="b@example.test")

    users = (await shop.admin.ok("GET", f"/api/admin/users?{query}"))["users"]

    assert [user["name"] for user in users] == found
