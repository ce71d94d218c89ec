"""Haggling: turns, rounds, time, and what a pending counter-offer blocks."""

from __future__ import annotations

import asyncio
import sqlite3
from dataclasses import dataclass
from typing import Any

import pytest

from tests.harness import FakeClock
from tests.marketplace.harness import MARKET, Api, Running, new_offer, new_request, notes, select

FORBIDDEN = (403, "forbidden")
CONFLICT = (409, "conflict")


@dataclass(slots=True)
class Negotiation:
    shop: Running
    buyer: Api
    seller: Api
    request_id: str
    offer_id: str

    async def counter(self, who: Api, amount: str) -> tuple[int, Any]:
        body = {"price": {"amount": amount, "currency": "USDT"}}
        return await who.call("POST", f"{MARKET}/offers/{self.offer_id}/counter", body)

    async def answer(self, who: Api, answer: str) -> tuple[int, Any]:
        return await who.call("POST", f"{MARKET}/offers/{self.offer_id}/counter/answer", {"answer": answer})

    async def price(self) -> str:
        offers = (await self.buyer.ok("GET", f"{MARKET}/offers?requestId={self.request_id}"))["offers"]
        return str(offers[0]["price"]["amount"])


@pytest.fixture
async def negotiation(shop: Running) -> Negotiation:
    buyer, seller = await shop.user("buyer"), await shop.user("seller")
    request_id = await new_request(buyer)
    return Negotiation(shop, buyer, seller, request_id, await new_offer(seller, request_id))


async def test_accepted_terms_become_the_offers(negotiation: Negotiation) -> None:
    made = await negotiation.counter(negotiation.buyer, "8")
    blocked = await select(negotiation.buyer, negotiation.request_id, negotiation.offer_id)

    answered = await negotiation.answer(negotiation.seller, "accepted")

    assert (made[0], made[1]["data"]["round"]["round"], blocked[0], answered[0]) == (201, 1, 409, 200)
    assert await negotiation.price() == "8"
    assert (await notes(negotiation.buyer))[-1] == ("counter_accepted", negotiation.offer_id)
    assert (await select(negotiation.buyer, negotiation.request_id, negotiation.offer_id))[0] == 200


async def test_a_declined_counter_leaves_the_offer_as_it_was(negotiation: Negotiation) -> None:
    await negotiation.counter(negotiation.buyer, "8")
    await negotiation.answer(negotiation.seller, "declined")

    assert await negotiation.price() == "10"
    assert (await select(negotiation.buyer, negotiation.request_id, negotiation.offer_id))[0] == 200


async def test_the_sides_take_turns_for_five_rounds_and_no_more(negotiation: Negotiation) -> None:
    sides = [negotiation.buyer, negotiation.seller]
    made = [(await negotiation.counter(sides[i % 2], str(5 + i)))[0] for i in range(5)]

    assert made == [201] * 5
    assert (await negotiation.counter(negotiation.seller, "7"))[0] == 409
    rounds = (await negotiation.seller.ok("GET", f"{MARKET}/offers/{negotiation.offer_id}/rounds"))["rounds"]
    assert [(one["round"], one["answer"]) for one in rounds] == [
        (1, "countered"),
        (2, "countered"),
        (3, "countered"),
        (4, "countered"),
        (5, None),
    ]
    assert (await negotiation.answer(negotiation.seller, "accepted"))[0] == 200
    assert await negotiation.price() == "9"


async def test_nobody_moves_out_of_turn(negotiation: Negotiation) -> None:
    assert (await negotiation.counter(negotiation.seller, "9"))[0] == 409
    assert (await negotiation.answer(negotiation.seller, "accepted"))[0] == 409
    await negotiation.counter(negotiation.buyer, "8")
    assert (await negotiation.counter(negotiation.buyer, "7"))[0] == 409
    assert (await negotiation.answer(negotiation.buyer, "accepted"))[0] == 409


async def test_without_an_answer_in_two_days_a_counter_is_void(negotiation: Negotiation, clock: FakeClock) -> None:
    await negotiation.counter(negotiation.buyer, "8")
    clock.advance(48 * 3600)
    tokens = negotiation.shop.marketplace.services.tokens
    negotiation.buyer.token, negotiation.seller.token = (
        tokens.issue(negotiation.buyer.user_id, "buyer"),
        tokens.issue(negotiation.seller.user_id, "seller"),
    )

    late = await negotiation.answer(negotiation.seller, "accepted")

    assert late[0] == 409
    assert await negotiation.price() == "10"
    assert (await select(negotiation.buyer, negotiation.request_id, negotiation.offer_id))[0] == 200


async def test_simultaneous_counters_are_one_round(negotiation: Negotiation) -> None:
    answers = await asyncio.gather(*(negotiation.counter(negotiation.buyer, "8") for _ in range(10)))

    assert sorted(status for status, _ in answers) == [201] + [409] * 9


async def test_accepting_against_choosing_another_price_never_mixes(negotiation: Negotiation) -> None:
    await negotiation.counter(negotiation.buyer, "8")

    await asyncio.gather(
        negotiation.answer(negotiation.seller, "accepted"),
        select(negotiation.buyer, negotiation.request_id, negotiation.offer_id),
    )

    assert await negotiation.price() == "8"


async def test_rounds_are_only_ever_added(negotiation: Negotiation) -> None:
    await negotiation.counter(negotiation.buyer, "8")

    with pytest.raises(sqlite3.IntegrityError, match="append-only"):
        await negotiation.shop.write("UPDATE negotiation_rounds SET price_amount = '1'")


async def test_negotiations_are_between_two(negotiation: Negotiation) -> None:
    rival, stranger = await negotiation.shop.user("seller"), await negotiation.shop.user("buyer")
    await negotiation.counter(negotiation.buyer, "8")

    for somebody in (rival, stranger):
        assert (await negotiation.counter(somebody, "1"))[0] == 403
        assert (await negotiation.answer(somebody, "accepted"))[0] == 403
        assert await somebody.refused("GET", f"{MARKET}/offers/{negotiation.offer_id}/rounds") == FORBIDDEN


async def test_one_answer_does_not_end_what_another_seller_still_negotiates(negotiation: Negotiation) -> None:
    rival = await negotiation.shop.user("seller")
    theirs = await new_offer(rival, negotiation.request_id)
    await negotiation.counter(negotiation.buyer, "8")
    body = {"price": {"amount": "7", "currency": "USDT"}}
    await negotiation.buyer.ok("POST", f"{MARKET}/offers/{theirs}/counter", body)
    path = f"{MARKET}/purchase-requests/{negotiation.request_id}"

    await negotiation.answer(negotiation.seller, "declined")
    meanwhile = (await negotiation.buyer.ok("GET", path))["purchaseRequest"]["status"]
    await rival.ok("POST", f"{MARKET}/offers/{theirs}/counter/answer", {"answer": "declined"})

    assert meanwhile == "in_negotiation"
    assert (await negotiation.buyer.ok("GET", path))["purchaseRequest"]["status"] == "received_offers"
