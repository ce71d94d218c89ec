"""Shops: templates that anybody may take, so often and no more, and a cart that is ordered once."""

from __future__ import annotations

import asyncio
from decimal import Decimal
from typing import Any

import pytest

from marketplace.shops import shops
from tests.harness import FakeClock
from tests.marketplace.accepted_purchase import AcceptedPurchase
from tests.marketplace.fake_scanner import FakeScanner
from tests.marketplace.goods_for_sale import open_shelf, revealed
from tests.marketplace.harness import MARKET, Api, Running, notes
from tests.marketplace.shopping import checkout_body, new_template, template_body

BOTH = pytest.mark.parametrize("engine", ["sqlite", "postgresql"], indirect=True)
CHECKOUT = "/api/payment/checkout"
TEMPLATES = f"{MARKET}/templates"


@pytest.fixture
async def seller(market: Running) -> Api:
    return await market.user("seller")


@pytest.fixture
async def buyer(market: Running) -> Api:
    return await market.user("buyer")


async def uses(seller: Api, template_id: str) -> int:
    listed = (await seller.ok("GET", TEMPLATES))["templates"]
    return next(int(each["uses"]) for each in listed if each["id"] == template_id)


def rows(market: Running, table: str) -> int:
    with market.opened() as store:
        return int(store.execute(f"SELECT count(*) FROM {table}").fetchall()[0][0])  # noqa: S608 - names of ours


# -- one template ----------------------------------------------------------------------------------------


@BOTH
async def test_a_template_becomes_a_request_an_accepted_offer_and_a_payment_in_one_call(
    market: Running, fake_scanner: FakeScanner, clock: FakeClock, seller: Api, buyer: Api
) -> None:
    template = await new_template(seller)

    status, answer = await buyer.call("POST", CHECKOUT, checkout_body(template["shareId"], quantity=3))

    data = answer["data"]
    assert status == 201
    assert (data["purchaseRequest"]["status"], data["purchaseRequest"]["quantity"]) == ("payment", 3)
    assert data["purchaseRequest"]["selectedOfferId"] == data["offer"]["id"]
    assert (data["offer"]["status"], data["offer"]["sellerId"]) == ("accepted", seller.user_id)
    assert (data["offer"]["price"]["amount"], data["payment"]["amount"]) == ("30", "30")
    assert data["checkoutBlock"]
    assert data["instructions"] is None
    assert [kind for kind, _ in await notes(seller)] == ["offer_accepted"]
    purchase = _purchase(market, fake_scanner, clock, buyer, seller, data)
    await purchase.hook(fake_scanner.pay(purchase.payment_id))
    assert (await purchase.payment())["escrowState"] == "funded"
    assert await purchase.findings() == []


async def test_a_checkout_that_is_sent_again_after_it_was_paid_is_told_so(
    market: Running, fake_scanner: FakeScanner, clock: FakeClock, seller: Api, buyer: Api
) -> None:
    template = await new_template(seller)
    body = checkout_body(template["shareId"])
    data = await buyer.ok("POST", CHECKOUT, body)
    purchase = _purchase(market, fake_scanner, clock, buyer, seller, data)
    await purchase.hook(fake_scanner.pay(purchase.payment_id))

    status, answer = await buyer.call("POST", CHECKOUT, {**body, "rail": "direct"})

    assert (status, answer["data"]["payment"]["id"]) == (200, purchase.payment_id)
    assert answer["data"]["payment"]["escrowState"] == "funded"


@BOTH
async def test_a_checkout_that_is_sent_again_is_the_same_one(seller: Api, buyer: Api, market: Running) -> None:
    template = await new_template(seller)
    body = checkout_body(template["shareId"])

    first, second = [await buyer.call("POST", CHECKOUT, body) for _ in range(2)]

    assert (first[0], second[0]) == (201, 200)
    assert first[1]["data"]["payment"]["id"] == second[1]["data"]["payment"]["id"]
    assert first[1]["data"]["lines"] == second[1]["data"]["lines"]
    assert (await uses(seller, template["id"]), rows(market, "purchase_requests"), rows(market, "payments")) == (
        1,
        1,
        1,
    )


@BOTH
async def test_a_checkout_that_is_sent_many_times_at_once_is_one(seller: Api, buyer: Api, market: Running) -> None:
    template = await new_template(seller)
    body = checkout_body(template["shareId"])

    answers = await asyncio.gather(*(buyer.call("POST", CHECKOUT, body) for _ in range(6)))

    assert {status for status, _ in answers} <= {200, 201, 202}, answers
    assert len({answer["data"]["payment"]["id"] for _, answer in answers}) == 1
    assert (await uses(seller, template["id"]), rows(market, "purchase_requests"), rows(market, "payments")) == (
        1,
        1,
        1,
    )


async def test_one_name_stands_for_one_cart(seller: Api, buyer: Api) -> None:
    one, other = await new_template(seller), await new_template(seller)
    body = checkout_body(one["shareId"])
    await buyer.ok("POST", CHECKOUT, body)
    changed = {**body, "lines": [{"shareId": other["shareId"], "quantity": 1}]}

    assert (await buyer.refused("POST", CHECKOUT, changed)) == (409, "conflict")
    assert await uses(seller, other["id"]) == 0


async def test_a_name_is_its_buyers_own(market: Running, seller: Api, buyer: Api) -> None:
    template = await new_template(seller)
    body = checkout_body(template["shareId"])
    other = await market.user("buyer")

    mine, theirs = [await who.ok("POST", CHECKOUT, body) for who in (buyer, other)]

    assert mine["payment"]["id"] != theirs["payment"]["id"]


async def test_what_cannot_be_paid_that_way_counts_no_use_and_orders_nothing(
    seller: Api, buyer: Api, market: Running
) -> None:
    template = await new_template(seller)
    body = checkout_body(template["shareId"])

    for wrong in ({"token": "NOPE"}, {"chainId": 5}, {"rail": "proxy", "chainId": 728126428}):
        assert (await buyer.call("POST", CHECKOUT, {**body, **wrong}))[0] == 422
    assert (await uses(seller, template["id"]), rows(market, "purchase_requests")) == (0, 0)
    await buyer.ok("POST", CHECKOUT, body)


async def test_an_order_whose_scanner_was_away_goes_on_under_its_name(
    seller: Api, buyer: Api, market: Running, fake_scanner: FakeScanner
) -> None:
    template = await new_template(seller)
    body = checkout_body(template["shareId"], rail="direct")
    fake_scanner.down = True
    status, answer = await buyer.call("POST", CHECKOUT, body)
    assert (status, answer["data"]["instructions"], answer["data"]["checkoutBlock"]) == (202, None, None)
    fake_scanner.down = False

    status, again = await buyer.call("POST", CHECKOUT, body)

    assert status == 200
    assert again["data"]["payment"]["id"] == answer["data"]["payment"]["id"]
    assert again["data"]["instructions"]["address"]
    assert rows(market, "purchase_requests") == 1


# -- how often -------------------------------------------------------------------------------------------


@BOTH
async def test_a_template_is_taken_as_often_as_it_may_be_however_many_come_at_once(
    market: Running, seller: Api
) -> None:
    template = await new_template(seller, maxUses=2)
    buyers = [await market.user("buyer") for _ in range(5)]

    answers = await asyncio.gather(*(who.call("POST", CHECKOUT, checkout_body(template["shareId"])) for who in buyers))

    assert sorted(status for status, _ in answers) == [201, 201, 409, 409, 409]
    assert {answer["error"]["code"] for status, answer in answers if status == 409} == {"sold_out"}
    assert await uses(seller, template["id"]) == 2
    assert rows(market, "purchase_requests") == 2


async def test_how_often_may_be_raised_and_not_set_below_what_was_taken(seller: Api, buyer: Api) -> None:
    template = await new_template(seller, maxUses=1)
    await buyer.ok("POST", CHECKOUT, checkout_body(template["shareId"]))
    path = f"{TEMPLATES}/{template['id']}"
    assert (await buyer.refused("POST", CHECKOUT, checkout_body(template["shareId"]))) == (409, "sold_out")

    assert (await seller.ok("PATCH", path, {"maxUses": 2}))["template"]["maxUses"] == 2
    await buyer.ok("POST", CHECKOUT, checkout_body(template["shareId"]))

    assert (await seller.call("PATCH", path, {"maxUses": 1}))[0] == 409
    await seller.ok("PATCH", path, {"maxUses": 0})
    await buyer.ok("POST", CHECKOUT, checkout_body(template["shareId"]))


async def test_a_buyer_who_does_not_pay_uses_no_template_up(
    market: Running, fake_scanner: FakeScanner, clock: FakeClock, seller: Api, buyer: Api
) -> None:
    template = await new_template(seller, maxUses=10)
    orders = [checkout_body(template["shareId"]) for _ in range(8)]

    answers = await asyncio.gather(*(buyer.call("POST", CHECKOUT, body) for body in orders))

    assert sorted(status for status, _ in answers) == [201] * 3 + [409] * 5
    assert await uses(seller, template["id"]) == 3
    await (await market.user("buyer")).ok("POST", CHECKOUT, checkout_body(template["shareId"]))
    paid = next(answer["data"] for status, answer in answers if status == 201)
    purchase = _purchase(market, fake_scanner, clock, buyer, seller, paid)
    await purchase.hook(fake_scanner.pay(purchase.payment_id))
    await buyer.ok("POST", CHECKOUT, checkout_body(template["shareId"]))


async def test_the_store_itself_counts_no_use_too_many(seller: Api, market: Running) -> None:
    template = await new_template(seller, maxUses=1)

    with pytest.raises(Exception, match="request_templates_uses"):
        await market.write("UPDATE request_templates SET uses = 2 WHERE id = ?", [template["id"]])


# -- links and shops -------------------------------------------------------------------------------------


async def test_a_link_shows_its_template_to_anybody_and_another_one_takes_its_place(seller: Api, buyer: Api) -> None:
    template = await new_template(seller, listed=False, maxUses=5)
    shown = (await seller.nobody().ok("GET", f"/api/templates/{template['shareId']}"))["template"]
    assert (shown["title"], shown["usesLeft"], shown["inStock"]) == ("A poster", 5, None)
    assert set(shown) & {"id", "poolId", "uses"} == set()

    anew = (await seller.ok("POST", f"{TEMPLATES}/{template['id']}/share"))["template"]

    assert anew["shareId"] != template["shareId"]
    assert (await seller.nobody().call("GET", f"/api/templates/{template['shareId']}"))[0] == 404
    assert (await buyer.call("POST", CHECKOUT, checkout_body(template["shareId"])))[0] == 404
    assert (await buyer.call("POST", CHECKOUT, checkout_body(anew["shareId"])))[0] == 201


async def test_a_shop_shows_what_is_on_sale_and_nothing_else(seller: Api, buyer: Api) -> None:
    place = f"/api/shops/{seller.user_id}"
    assert (await seller.nobody().call("GET", place))[0] == 404
    await seller.ok("PUT", f"{MARKET}/shop", {"name": "Posters", "text": "All of them."})
    await seller.ok("PUT", f"{MARKET}/shop", {"name": "Prints", "text": "All of them."})
    listed, gone, once = await new_template(seller), await new_template(seller), await new_template(seller, maxUses=1)
    await new_template(seller, listed=False)
    await seller.ok("POST", f"{TEMPLATES}/{gone['id']}/close")
    await buyer.ok("POST", CHECKOUT, checkout_body(once["shareId"]))

    shop = await seller.nobody().ok("GET", place)

    assert (shop["shop"]["name"], shop["total"]) == ("Prints", 1)
    assert [each["shareId"] for each in shop["templates"]] == [listed["shareId"]]


async def test_what_is_closed_is_sold_to_nobody_any_more(seller: Api, buyer: Api, market: Running) -> None:
    template, other = await new_template(seller), await new_template(seller)
    await seller.ok("POST", f"{TEMPLATES}/{template['id']}/close")
    await market.admin.ok("POST", f"{TEMPLATES}/{other['id']}/close")

    for each in (template, other):
        assert (await buyer.refused("POST", CHECKOUT, checkout_body(each["shareId"]))) == (409, "sold_out")
        assert (await seller.nobody().call("GET", f"/api/templates/{each['shareId']}"))[0] == 404
        assert (await seller.call("PATCH", f"{TEMPLATES}/{each['id']}", {"listed": True}))[0] == 409
        await seller.ok("POST", f"{TEMPLATES}/{each['id']}/close")


async def test_who_is_suspended_has_no_shop(seller: Api, buyer: Api, market: Running) -> None:
    await seller.ok("PUT", f"{MARKET}/shop", {"name": "Posters"})
    template = await new_template(seller)
    await market.write("UPDATE users SET suspended_at = 1 WHERE id = ?", [seller.user_id])

    assert (await buyer.call("POST", CHECKOUT, checkout_body(template["shareId"])))[0] == 404
    assert (await buyer.nobody().call("GET", f"/api/shops/{seller.user_id}"))[0] == 404
    assert (await buyer.nobody().call("GET", f"/api/templates/{template['shareId']}"))[0] == 404


async def test_a_template_is_changed_for_those_who_take_it_afterwards(seller: Api, buyer: Api) -> None:
    template = await new_template(seller)
    before = await buyer.ok("POST", CHECKOUT, checkout_body(template["shareId"]))
    change = {"price": {"amount": "12.5", "currency": "USDC"}, "deliveryTime": {"amount": 1, "unit": "weeks"}}
    await seller.ok("PATCH", f"{TEMPLATES}/{template['id']}", change)

    after = await buyer.ok("POST", CHECKOUT, checkout_body(template["shareId"]))

    assert (before["offer"]["price"], after["offer"]["price"]) == (
        {"amount": "10", "currency": "USDT"},
        {"amount": "12.5", "currency": "USDC"},
    )
    lines = (await buyer.ok("GET", f"{MARKET}/purchase-requests/{before['purchaseRequest']['id']}/lines"))["lines"]
    assert [line["price"]["amount"] for line in lines] == ["10"]


@pytest.mark.parametrize(
    "fields",
    [
        {"price": {"amount": "10", "currency": "XAU"}},
        {"price": {"amount": "0", "currency": "USDT"}},
        {"maxUses": -1},
        {"productType": "nothing"},
        {"poolId": "00000000-0000-4000-8000-000000000000"},
        {"title": ""},
    ],
)
async def test_a_template_that_nobody_could_take_is_refused(seller: Api, fields: dict[str, Any]) -> None:
    assert (await seller.call("POST", TEMPLATES, template_body(**fields)))[0] == 422


async def test_a_seller_has_so_many_templates_and_no_more(seller: Api, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(shops, "MAX_TEMPLATES", 1)
    await new_template(seller)

    assert (await seller.call("POST", TEMPLATES, template_body()))[0] == 409


# -- carts -----------------------------------------------------------------------------------------------


async def test_a_cart_is_one_request_whose_price_is_the_sum_of_its_lines(seller: Api, buyer: Api) -> None:
    prices = ["0.1", "0.2", "19.999999"]
    made = [await new_template(seller, price={"amount": price, "currency": "USDT"}) for price in prices]
    lines = [{"shareId": each["shareId"], "quantity": count} for count, each in enumerate(made, 1)]

    data = await buyer.ok("POST", CHECKOUT, {**checkout_body("x"), "lines": lines})

    total = sum(Decimal(price) * count for count, price in enumerate(prices, 1))
    assert data["payment"]["amount"] == str(total)
    assert (data["purchaseRequest"]["quantity"], data["purchaseRequest"]["title"]) == (6, "A poster and 2 more")
    assert [(line["quantity"], line["price"]["amount"]) for line in data["lines"]] == list(enumerate(prices, 1))
    assert [await uses(seller, each["id"]) for each in made] == [1, 1, 1]


async def test_a_cart_has_twenty_lines_of_one_seller_in_one_currency_and_no_more(
    market: Running, seller: Api, buyer: Api
) -> None:
    made = [await new_template(seller) for _ in range(21)]
    share_ids = [each["shareId"] for each in made]
    rival = await new_template(await market.user("seller"))
    other = await new_template(seller, price={"amount": "1", "currency": "USDC"})

    refused = [
        checkout_body(*share_ids),
        checkout_body(share_ids[0], rival["shareId"]),
        checkout_body(share_ids[0], other["shareId"]),
        checkout_body(share_ids[0], share_ids[0]),
        checkout_body(*share_ids[:2], quantity=51),
        checkout_body(),
        checkout_body(share_ids[0], quantity=0),
    ]
    assert [(await buyer.call("POST", CHECKOUT, body))[0] for body in refused] == [422] * len(refused)
    assert rows(market, "purchase_requests") == 0

    data = await buyer.ok("POST", CHECKOUT, checkout_body(*share_ids[:20]))
    assert (len(data["lines"]), data["payment"]["amount"]) == (20, "200")


async def test_a_cart_costs_as_much_as_a_request_may_and_no_more(seller: Api, buyer: Api) -> None:
    dear = await new_template(seller, price={"amount": "50000.000000000000000001", "currency": "USDT"})

    assert (await buyer.refused("POST", CHECKOUT, checkout_body(dear["shareId"], quantity=2))) == (422, "invalid")
    await buyer.ok("POST", CHECKOUT, checkout_body(dear["shareId"]))


@BOTH
async def test_a_cart_of_digital_goods_hands_over_what_each_line_is(
    market: Running, fake_scanner: FakeScanner, clock: FakeClock, buyer: Api
) -> None:
    cards = await open_shelf(market, fake_scanner, clock, "CARD-1", "CARD-2", "CARD-3")
    seller = cards.seller
    digital = {"productType": "digital_product"}
    card = await new_template(seller, **digital, poolId=cards.stock_id)
    advice = await new_template(seller, productType="consultation")

    shop = (await buyer.nobody().ok("GET", f"/api/templates/{card['shareId']}"))["template"]
    assert shop["inStock"] == 3
    lines = [{"shareId": card["shareId"], "quantity": 2}, {"shareId": advice["shareId"], "quantity": 1}]
    data = await buyer.ok("POST", CHECKOUT, {**checkout_body("x"), "lines": lines})
    purchase = _purchase(market, fake_scanner, clock, buyer, seller, data)
    await purchase.hook(fake_scanner.pay(purchase.payment_id))

    assert await revealed(purchase) == ["CARD-1", "CARD-2"]
    assert (await purchase.request())["status"] == "processing"  # the rest of it is not there yet
    too_many = checkout_body(card["shareId"], quantity=2)
    assert (await buyer.refused("POST", CHECKOUT, too_many)) == (409, "out_of_stock")
    assert await uses(seller, card["id"]) == 1


async def test_what_was_ordered_is_shown_to_its_two_sides_alone(market: Running, seller: Api, buyer: Api) -> None:
    template = await new_template(seller)
    data = await buyer.ok("POST", CHECKOUT, checkout_body(template["shareId"]))
    path = f"{MARKET}/purchase-requests/{data['purchaseRequest']['id']}/lines"

    for who in (buyer, seller, market.admin):
        assert [line["title"] for line in (await who.ok("GET", path))["lines"]] == ["A poster"]
    for who in (await market.user("buyer"), await market.user("seller")):
        assert (await who.call("GET", path))[0] == 403


def _purchase(
    market: Running, scanner: FakeScanner, clock: FakeClock, buyer: Api, seller: Api, data: dict[str, Any]
) -> AcceptedPurchase:
    request, offer, payment = (data[name]["id"] for name in ("purchaseRequest", "offer", "payment"))
    return AcceptedPurchase(market, scanner, clock, buyer, seller, request, offer, payment)
