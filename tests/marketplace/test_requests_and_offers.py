"""Asking, offering, choosing: who may, what is told to whom, and one outcome whoever is faster."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest

from protocol.wire import rfc3339
from tests.harness import FakeClock
from tests.marketplace.harness import (
    MARKET,
    Api,
    Running,
    new_offer,
    new_request,
    notes,
    offer_body,
    request_body,
    select,
)

REQUESTS = f"{MARKET}/purchase-requests"


async def show(api: Api, request_id: str) -> dict[str, Any]:
    return dict((await api.ok("GET", f"{REQUESTS}/{request_id}"))["purchaseRequest"])


async def offers_of(api: Api, request_id: str) -> dict[str, str]:
    found = (await api.ok("GET", f"{MARKET}/offers?requestId={request_id}"))["offers"]
    return {offer["id"]: offer["status"] for offer in found}


async def test_a_request_is_stored_published_and_reported_to_every_seller(shop: Running) -> None:
    buyer, seller, other = await shop.user("buyer"), await shop.user("seller"), await shop.user("buyer")

    request_id = await new_request(buyer)

    mine = (await buyer.ok("GET", f"{REQUESTS}/my"))["purchaseRequests"]
    feed = await shop.nobody.ok("GET", REQUESTS)
    assert [each["id"] for each in mine] == [each["id"] for each in feed["purchaseRequests"]] == [request_id]
    assert (feed["total"], feed["page"], feed["limit"]) == (1, 1, 20)
    assert (mine[0]["status"], mine[0]["buyerId"], mine[0]["deliveryConfirmed"]) == ("pending", buyer.user_id, False)
    assert await notes(seller) == [("request_created", request_id)]
    assert await notes(buyer) == await notes(other) == []


async def test_where_to_deliver_is_the_buyers_own_business(shop: Running) -> None:
    buyer, seller = await shop.user("buyer"), await shop.user("seller")
    request_id = await new_request(buyer)

    assert (await show(buyer, request_id))["deliveryInfo"]["email"] == "buyer@example.test"
    assert (await show(seller, request_id))["deliveryInfo"]["email"] is None


@pytest.mark.parametrize(
    ("field", "fields"),
    [
        ("title", {"title": "ab"}),
        ("title", {"title": "x" * 201}),
        ("description", {"description": "too short"}),
        ("productType", {"productType": "weapon"}),
        ("productLink", {"productLink": "javascript:alert(1)"}),
        ("productLink", {"productLink": "ftp://example.test/x"}),
        ("quantity", {"quantity": 0}),
        ("quantity", {"quantity": 101}),
        ("quantity", {"quantity": "1"}),
        ("quantity", {"quantity": 1.5}),
        ("budget.min", {"budget": {"min": "10", "max": "5", "currency": "USDT"}}),
        ("budget.max", {"budget": {"min": "1", "max": "100000.01", "currency": "USDT"}}),
        ("budget.min", {"budget": {"min": "0", "max": "5", "currency": "USDT"}}),
        ("budget.min", {"budget": {"min": 1, "max": "5", "currency": "USDT"}}),
        ("budget.min", {"budget": {"min": "1e1", "max": "50", "currency": "USDT"}}),
        ("budget.currency", {"budget": {"min": "1", "max": "5"}}),
        ("urgency", {"urgency": "now"}),
        ("deliveryInfo.deliveryType", {"deliveryInfo": {"deliveryType": "drone"}}),
        ("deliveryInfo.email", {"deliveryInfo": {"deliveryType": "online", "email": "nobody"}}),
        ("deliveryInfo", {"deliveryInfo": None}),
    ],
)
async def test_a_bad_request_names_its_field(shop: Running, field: str, fields: dict[str, Any]) -> None:
    buyer = await shop.user("buyer")

    status, answer = await buyer.call("POST", REQUESTS, request_body(**fields))

    assert (status, answer["error"]["details"]["field"]) == (422, field)


async def test_the_actor_comes_from_the_token_and_not_from_the_body(shop: Running) -> None:
    buyer, other = await shop.user("buyer"), await shop.user("buyer")

    request_id = await new_request(buyer, buyerId=other.user_id, status="completed")

    found = await show(buyer, request_id)
    assert (found["buyerId"], found["status"]) == (buyer.user_id, "pending")


@pytest.mark.parametrize("role", ["seller", "resolver", "admin"])
async def test_only_buyers_ask(shop: Running, role: str) -> None:
    somebody = await shop.user(role)

    assert await somebody.refused("POST", REQUESTS, request_body()) == (403, "forbidden")


async def test_an_offer_reaches_the_buyer_and_no_other_seller(shop: Running) -> None:
    buyer, seller, rival = await shop.user("buyer"), await shop.user("seller"), await shop.user("seller")
    request_id = await new_request(buyer)

    offer_id = await new_offer(seller, request_id)

    assert (await show(buyer, request_id))["status"] == "received_offers"
    assert await notes(buyer) == [("offer_received", offer_id)]
    assert await offers_of(buyer, request_id) == {offer_id: "pending"}
    assert await offers_of(rival, request_id) == {}


async def test_a_seller_has_one_live_offer_a_request_and_may_bid_again_after_withdrawing(shop: Running) -> None:
    buyer, seller = await shop.user("buyer"), await shop.user("seller")
    request_id = await new_request(buyer)
    first = await new_offer(seller, request_id)
    path = f"{REQUESTS}/{request_id}/offers"

    assert await seller.refused("POST", path, offer_body()) == (409, "conflict")
    await seller.ok("POST", f"{MARKET}/offers/{first}/withdraw")
    second = await new_offer(seller, request_id)

    assert await offers_of(buyer, request_id) == {first: "withdrawn", second: "pending"}


async def test_a_sellers_simultaneous_offers_become_one(shop: Running) -> None:
    buyer, seller = await shop.user("buyer"), await shop.user("seller")
    path = f"{REQUESTS}/{await new_request(buyer)}/offers"

    answers = await asyncio.gather(*(seller.call("POST", path, offer_body()) for _ in range(10)))

    assert sorted(status for status, _ in answers) == [201] + [409] * 9


@pytest.mark.parametrize(
    ("field", "fields"),
    [
        ("price.amount", {"price": {"amount": "0", "currency": "USDT"}}),
        ("price.amount", {"price": {"amount": "-1", "currency": "USDT"}}),
        ("price.amount", {"price": {"amount": "1.0000000000000000001", "currency": "USDT"}}),
        ("price.currency", {"price": {"amount": "1", "currency": "$"}}),
        ("deliveryTime.unit", {"deliveryTime": {"amount": 1, "unit": "years"}}),
        ("deliveryTime.amount", {"deliveryTime": {"amount": 0, "unit": "days"}}),
        ("validUntil", {"validUntil": "2020-01-01T00:00:00Z"}),
        ("validUntil", {"validUntil": "tomorrow"}),
        ("requireAmlCheck", {"requireAmlCheck": "yes"}),
    ],
)
async def test_a_bad_offer_names_its_field(shop: Running, field: str, fields: dict[str, Any]) -> None:
    buyer, seller = await shop.user("buyer"), await shop.user("seller")
    request_id = await new_request(buyer)

    status, answer = await seller.call("POST", f"{REQUESTS}/{request_id}/offers", offer_body(**fields))

    assert (status, answer["error"]["details"]["field"]) == (422, field)


async def test_an_offer_can_be_edited_by_its_seller_until_it_is_decided(shop: Running) -> None:
    buyer, seller, rival = await shop.user("buyer"), await shop.user("seller"), await shop.user("seller")
    request_id = await new_request(buyer)
    offer_id = await new_offer(seller, request_id)
    path = f"{MARKET}/offers/{offer_id}"
    cheaper = {"price": {"amount": "9.5", "currency": "USDT"}}

    edited = (await seller.ok("PATCH", path, cheaper))["offer"]
    assert await rival.refused("PATCH", path, cheaper) == (403, "forbidden")
    await select(buyer, request_id, offer_id)
    status, answer = await seller.call("PATCH", path, cheaper)

    assert edited["price"]["amount"] == "9.5"
    assert (status, answer["error"]["details"]["status"]) == (409, "accepted")


async def test_accepting_rejects_the_others_and_tells_exactly_them(shop: Running) -> None:
    buyer, winner, loser, gone = (
        await shop.user("buyer"),
        await shop.user("seller"),
        await shop.user("seller"),
        await shop.user("seller"),
    )
    request_id = await new_request(buyer)
    won, lost, left = (
        await new_offer(winner, request_id),
        await new_offer(loser, request_id),
        await new_offer(gone, request_id),
    )
    await gone.ok("POST", f"{MARKET}/offers/{left}/withdraw")

    status, answer = await select(buyer, request_id, won)

    assert (status, answer["data"]["offer"]["status"]) == (200, "accepted")
    chosen = answer["data"]["purchaseRequest"]
    assert (chosen["status"], chosen["selectedOfferId"]) == ("payment", won)
    assert await offers_of(buyer, request_id) == {won: "accepted", lost: "rejected", left: "withdrawn"}
    reported = ("request_created", request_id)
    assert await notes(winner) == [reported, ("offer_accepted", won)]
    assert await notes(loser) == [reported, ("offer_rejected", lost)]
    assert await notes(gone) == [reported]


async def test_accepting_again_changes_and_tells_nothing(shop: Running) -> None:
    buyer, seller = await shop.user("buyer"), await shop.user("seller")
    request_id = await new_request(buyer)
    offer_id = await new_offer(seller, request_id)
    await select(buyer, request_id, offer_id)
    before = await notes(seller)

    status, _ = await select(buyer, request_id, offer_id)

    assert status == 200
    assert await notes(seller) == before


async def test_of_two_simultaneous_choices_one_holds(shop: Running) -> None:
    buyer, one, two = await shop.user("buyer"), await shop.user("seller"), await shop.user("seller")
    request_id = await new_request(buyer)
    offers = [await new_offer(one, request_id), await new_offer(two, request_id)]

    answers = await asyncio.gather(*(select(buyer, request_id, offers[i % 2]) for i in range(10)))

    winner = (await show(buyer, request_id))["selectedOfferId"]
    expected = [200 if offers[i % 2] == winner else 409 for i in range(10)]
    assert [status for status, _ in answers] == expected
    assert sorted((await offers_of(buyer, request_id)).values()) == ["accepted", "rejected"]


@pytest.mark.parametrize("attempt", range(5))
async def test_withdrawing_against_choosing_has_one_outcome(shop: Running, attempt: int) -> None:
    buyer, seller = await shop.user("buyer"), await shop.user("seller")
    request_id = await new_request(buyer)
    offer_id = await new_offer(seller, request_id)
    moves = [select(buyer, request_id, offer_id), seller.call("POST", f"{MARKET}/offers/{offer_id}/withdraw")]

    answers = await asyncio.gather(*(moves if attempt % 2 else reversed(moves)))

    found = await show(buyer, request_id)
    outcome = ((await offers_of(buyer, request_id))[offer_id], found["selectedOfferId"], found["status"])
    assert sorted(status for status, _ in answers) == [200, 409]
    assert outcome in [("accepted", offer_id, "payment"), ("withdrawn", None, "received_offers")]


async def test_an_offer_that_ran_out_cannot_be_accepted(shop: Running, clock: FakeClock) -> None:
    buyer, seller = await shop.user("buyer"), await shop.user("seller")
    request_id = await new_request(buyer)
    offer_id = await new_offer(seller, request_id, validUntil="2100-01-01T00:00:00Z")
    until = (await buyer.ok("GET", f"{MARKET}/offers"))["offers"][0]["validUntil"]
    assert until == "2100-01-01T00:00:00.000Z"
    await seller.ok("PATCH", f"{MARKET}/offers/{offer_id}", {"validUntil": soon(clock)})
    clock.advance(120)

    status, answer = await select(buyer, request_id, offer_id)

    assert (status, answer["error"]["message"]) == (409, "the offer is no longer valid")


def soon(clock: FakeClock) -> str:
    return rfc3339(clock.now_ms() + 60_000)


async def test_strangers_choose_nothing_and_see_nothing_once_it_is_decided(shop: Running) -> None:
    buyer, seller, stranger, late = (
        await shop.user("buyer"),
        await shop.user("seller"),
        await shop.user("buyer"),
        await shop.user("seller"),
    )
    request_id = await new_request(buyer)
    offer_id = await new_offer(seller, request_id)

    assert (await select(stranger, request_id, offer_id))[0] == 403
    assert (await select(seller, request_id, offer_id))[0] == 403
    assert (await select(shop.nobody, request_id, offer_id))[0] == 401
    await select(buyer, request_id, offer_id)

    assert await stranger.refused("GET", f"{REQUESTS}/{request_id}") == (403, "forbidden")
    assert await stranger.refused("GET", f"{MARKET}/offers?requestId={request_id}") == (403, "forbidden")
    assert await late.refused("POST", f"{REQUESTS}/{request_id}/offers", offer_body()) == (409, "conflict")


async def test_an_offer_of_another_request_cannot_be_chosen(shop: Running) -> None:
    buyer, seller = await shop.user("buyer"), await shop.user("seller")
    mine, other = await new_request(buyer), await new_request(buyer)
    offer_id = await new_offer(seller, other)

    assert (await select(buyer, mine, offer_id))[0] == 404


async def test_what_is_not_there_is_404(shop: Running) -> None:
    path = f"{REQUESTS}/00000000-0000-0000-0000-000000000000"
    assert await shop.admin.refused("GET", path) == (404, "not_found")


@pytest.mark.parametrize("path", ["nonsense", "%00", "00000000-0000-0000-0000-000000000000%0A", "1"])
async def test_what_is_no_id_is_400(shop: Running, path: str) -> None:
    assert await shop.admin.refused("GET", f"{REQUESTS}/{path}") == (400, "bad_request")


@pytest.mark.parametrize("query", ["page=0", "limit=0", "limit=101", "page=x"])
async def test_a_bad_page_is_named(shop: Running, query: str) -> None:
    status, answer = await shop.nobody.call("GET", f"{REQUESTS}?{query}")

    assert (status, answer["error"]["details"]["field"]) == (422, query.split("=", maxsplit=1)[0])


async def test_two_buyers_selecting_at_once_leave_one_choice_and_it_is_the_owners(shop: Running) -> None:
    buyer, other = await shop.user("buyer"), await shop.user("buyer")
    one, two = await shop.user("seller"), await shop.user("seller")
    request_id = await new_request(buyer)
    first, second = await new_offer(one, request_id), await new_offer(two, request_id)

    answers = await asyncio.gather(
        *(select(who, request_id, offer) for _ in range(5) for who, offer in ((other, second), (buyer, first)))
    )

    assert [status for status, _ in answers] == [403, 200] * 5
    assert await offers_of(buyer, request_id) == {first: "accepted", second: "rejected"}
    assert [kind for kind, _ in await notes(one)].count("offer_accepted") == 1


async def test_the_chosen_seller_learns_where_to_deliver_and_the_losing_one_does_not(shop: Running) -> None:
    buyer, winner, loser = await shop.user("buyer"), await shop.user("seller"), await shop.user("seller")
    request_id = await new_request(buyer)
    won = await new_offer(winner, request_id)
    await new_offer(loser, request_id)

    await select(buyer, request_id, won)

    observed = {who: (await show(who, request_id))["deliveryInfo"]["email"] for who in (winner, loser, shop.admin)}
    assert list(observed.values()) == ["buyer@example.test", None, "buyer@example.test"]


@pytest.mark.parametrize("page", [1, 2, 3])
async def test_a_list_is_cut_into_pages_and_tells_how_much_there_is(shop: Running, page: int) -> None:
    buyer = await shop.user("buyer")
    made = [await new_request(buyer) for _ in range(3)]

    found = await buyer.ok("GET", f"{REQUESTS}/my?page={page}&limit=2")

    assert (found["total"], found["page"], found["limit"]) == (3, page, 2)
    assert len(found["purchaseRequests"]) == [2, 1, 0][page - 1]
    assert {each["id"] for each in found["purchaseRequests"]} <= set(made)


CONTROL = ["\x00", "\x1b", "\x7f", "\x08"]


@pytest.mark.parametrize("character", CONTROL)
async def test_control_characters_are_400_wherever_they_stand_in_a_body(shop: Running, character: str) -> None:
    buyer = await shop.user("buyer")

    for body in (
        request_body(title=f"A used{character}bicycle"),
        request_body(description=f"Any colour, 28 inches.{character}"),
        request_body(deliveryInfo={"deliveryType": "online", "email": f"a@b.test{character}"}),
        request_body(unknown={"deep": [{f"key{character}": 1}]}),
        request_body(unknown=[[[character]]]),
    ):
        assert await buyer.refused("POST", REQUESTS, body) == (400, "bad_request")
    assert (await buyer.ok("GET", f"{REQUESTS}/my"))["total"] == 0


@pytest.mark.parametrize("query", ["page=1%0A", "limit=5%00", "page=1&x=%1B", "%0Apage=1"])
async def test_control_characters_in_a_query_are_400(shop: Running, query: str) -> None:
    assert await shop.admin.refused("GET", f"{REQUESTS}?{query}") == (400, "bad_request")


async def test_a_line_break_belongs_into_a_description_and_not_into_a_title(shop: Running) -> None:
    buyer = await shop.user("buyer")

    assert await buyer.refused("POST", REQUESTS, request_body(title="A used\nbicycle")) == (400, "bad_request")
    await buyer.ok("POST", REQUESTS, request_body(description="Any colour.\n28 inches.\twith lights"), 201)


async def test_a_body_may_nest_as_deep_as_anything_that_is_asked_for(shop: Running) -> None:
    deep = b'{"x":' + b"[" * 30 + b"]" * 30 + b"}"
    deeper = b'{"x":' + b"[" * 20_000 + b"]" * 20_000 + b"}"

    for raw, expected in ((deep, 422), (deeper, 400)):
        assert (await shop.admin.call("POST", "/api/admin/users", raw))[0] == expected
