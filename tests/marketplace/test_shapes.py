"""What clients rely on (docs/marketplace.md): names, statuses, times and money of every answer."""

from __future__ import annotations

import re
from typing import Any

import jsonschema_rs
import pytest

from marketplace.web.routes import ROUTES
from tests.marketplace.accepted_purchase import BUYERS_WALLET, DONE_IN, TEN, AcceptedPurchase
from tests.marketplace.harness import MARKET, PASSWORD, Running, described, new_request, offer_body, request_body

TIME = re.compile(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{3}Z")
DECIMAL = re.compile(r"-?(0|[1-9]\d*)(\.\d+)?")
PAYMENT = {
    "id",
    "paymentRef",
    "purchaseRequestId",
    "sellerOfferId",
    "buyerId",
    "sellerId",
    "provider",
    "providerPaymentId",
    "direction",
    "rail",
    "mode",
    "chainId",
    "tokenAddress",
    "tokenSymbol",
    "decimals",
    "amount",
    "amountBaseUnits",
    "destination",
    "paymentUrl",
    "status",
    "escrowState",
    "evidence",
    "expiresAt",
    "createdAt",
    "updatedAt",
}
INSTRUCTIONS = {
    "address",
    "tokenAddress",
    "tokenSymbol",
    "decimals",
    "chainId",
    "amount",
    "amountBaseUnits",
    "paymentUri",
    "expiresAt",
}


MONEY = {"amount", "held", "releasable", "available", "delta", "expected", "baselineBalance", "min", "max"}


def walk(value: Any, name: str = "") -> list[tuple[str, Any]]:
    """Return every named leaf of an answer."""
    if isinstance(value, dict):
        return [leaf for key, each in value.items() if key != "deliveryTime" for leaf in walk(each, key)]
    if isinstance(value, list):
        return [leaf for each in value for leaf in walk(each, name)]
    return [(name, value)]


def check(data: Any) -> None:
    """Hold every time and every amount of an answer against the rules for all of them."""
    for name, value in walk(data):
        if value is None:
            continue
        if name.endswith("At"):
            assert TIME.fullmatch(value), (name, value)
        elif name.endswith("BaseUnits"):
            assert re.fullmatch(r"-?\d+", value), (name, value)
        elif name in MONEY:
            assert DECIMAL.fullmatch(value), (name, value)


async def test_users_and_logins(shop: Running) -> None:
    body = {"email": "shape@example.test", "password": PASSWORD, "role": "seller", "name": "Shape"}
    status, made = await shop.admin.call("POST", "/api/admin/users", body)
    login = await shop.nobody.ok("POST", "/api/auth/login", {"email": body["email"], "password": PASSWORD}, 200)
    token = {"refreshToken": login["tokens"]["refreshToken"]}
    renewed = await shop.nobody.ok("POST", "/api/auth/refresh-token", token, 200)

    assert (status, set(made["data"]), set(made["data"]["user"])) == (201, {"user"}, {"id", "email", "role", "name"})
    assert set(login) == {"tokens", "user"}
    assert set(login["tokens"]) == set(renewed["tokens"]) == {"accessToken", "refreshToken"}
    assert login["user"] == made["data"]["user"]


async def test_requests_and_offers(shop: Running) -> None:
    buyer, seller = await shop.user("buyer"), await shop.user("seller")
    asked = await buyer.ok("POST", f"{MARKET}/purchase-requests", request_body(), 201)
    path = f"{MARKET}/purchase-requests/{asked['purchaseRequest']['id']}"
    offered = await seller.ok("POST", f"{path}/offers", offer_body(), 201)
    chosen = await buyer.ok("POST", f"{path}/select-offer", {"offerId": offered["offer"]["id"]}, 200)

    assert set(asked["purchaseRequest"]) >= {"id", "status", "buyerId", "selectedOfferId", "deliveryConfirmed"}
    assert set(offered["offer"]) >= {"id", "status", "sellerId", "price"}
    assert set(chosen) == {"purchaseRequest", "offer"}
    for data in (asked, offered, chosen):
        check(data)


async def test_a_proxy_intent(purchase: AcceptedPurchase) -> None:
    status, answer = await purchase.buyer.call("POST", "/api/payment/intents", purchase.intent())

    assert (status, set(answer["data"])) == (201, {"payment", "checkoutBlock"})
    assert set(answer["data"]["payment"]) >= PAYMENT
    check(answer["data"]["payment"])


@pytest.mark.parametrize(
    ("rail", "mode", "more"),
    [
        ("direct", None, set()),
        ("direct_balance", "check", {"baselineBalance"}),
        ("direct_balance", "watch", {"baselineBalance", "watchId", "nextCheckAt"}),
    ],
)
async def test_an_intent_of_a_direct_rail(
    purchase: AcceptedPurchase, rail: str, mode: str | None, more: set[str]
) -> None:
    status, answer = await purchase.buyer.call("POST", "/api/payment/intents", purchase.intent(rail, mode=mode))

    reported = answer["data"]["instructions"]
    assert (status, set(answer["data"])) == (201, {"payment", "instructions"})
    assert set(reported) - {"baselineBalanceBaseUnits"} == INSTRUCTIONS | more
    assert (reported["amount"], reported["amountBaseUnits"]) == ("10", str(TEN))
    check(answer["data"])


async def test_an_intent_while_the_scanner_is_away(purchase: AcceptedPurchase) -> None:
    purchase.scanner.down = True

    status, answer = await purchase.buyer.call("POST", "/api/payment/intents", purchase.intent("direct"))

    assert (status, set(answer["data"]), answer["data"]["payment"]["status"]) == (202, {"payment"}, "pending")
    assert answer["data"]["payment"]["destination"] is None


async def test_a_look_at_a_balance(purchase: AcceptedPurchase) -> None:
    address = (await purchase.open("direct_balance"))["instructions"]["address"]
    purchase.scanner.balances[address] = TEN - 1

    found = await purchase.check()

    assert set(found) >= {"payment", "funded", "reason", "delta", "expected", "currency"}
    assert (found["funded"], found["delta"], found["expected"]) == (False, "9.999999999999999999", "10")
    assert found["reason"] == f"underpaid:delta={TEN - 1},expected={TEN}"
    check(found)


async def test_a_balance_that_was_there_before_is_reported_in_both_units(purchase: AcceptedPurchase) -> None:
    purchase.scanner.newest = _Everywhere()

    reported = (await purchase.open("direct_balance"))["instructions"]

    assert (reported["baselineBalance"], reported["baselineBalanceBaseUnits"]) == ("1.5", str(15 * 10**17))


class _Everywhere(dict[str, int]):
    """Every account holds one and a half."""

    def get(self, _key: str, _default: Any = None) -> Any:
        return 15 * 10**17


async def test_a_payment_from_delivery_to_refund(purchase: AcceptedPurchase) -> None:
    await purchase.fund()
    shown = await purchase.buyer.ok("GET", f"/api/payment/{purchase.payment_id}", status=200)
    sent = await purchase.seller.ok("PATCH", purchase.path("delivery"), {"proof": "a picture"}, 200)
    code = await purchase.buyer.ok("POST", purchase.path("delivery-code/generate"), status=200)
    verified = await purchase.seller.ok("POST", purchase.path("delivery-code/verify"), {"code": code["code"]}, 200)
    confirmed = await purchase.buyer.ok("PATCH", purchase.path("confirm-delivery"), {"proof": "thanks"}, 200)
    argued = {"purchaseRequestId": purchase.request_id, "reason": "It is broken.", "category": "quality"}
    dispute = await purchase.buyer.ok("POST", "/api/disputes", argued, 201)
    path = f"/api/disputes/{dispute['dispute']['id']}/resolve"
    resolved = await purchase.market.admin.ok("POST", path, {"outcome": "refund", "note": "It is."}, 200)
    status, refunded = await purchase.refund(BUYERS_WALLET)
    settle = f"/api/admin/instructions/{refunded['data']['instruction']['id']}/settle"
    purchase.scanner.carries_out(refunded["data"]["instruction"], tx=DONE_IN)
    settled = await purchase.market.admin.ok("POST", settle, {"txHash": DONE_IN}, 200)
    report = await purchase.market.admin.ok("GET", "/api/admin/reconciliation", status=200)

    assert set(shown["ledger"]) >= {"held", "releasable", "available"}
    assert set(code) == {"code", "expiresAt"}
    assert set(sent) == set(verified) == set(confirmed) == {"purchaseRequest"}
    assert set(dispute["dispute"]) >= {"id", "status"}
    assert set(resolved) == {"dispute"}
    assert (status, set(refunded["data"])) == (200, {"payment", "instruction"})
    instruction = {"id", "kind", "chainId", "tokenAddress", "to", "amountBaseUnits", "status"}
    assert set(refunded["data"]["instruction"]) >= instruction
    assert set(settled) == {"payment", "instruction"}
    assert (set(report), report["ok"], report["checked"]) == ({"ok", "checked", "findings"}, True, 2)
    for data in (shown, sent, code, verified, dispute, resolved, refunded["data"], settled):
        check(data)


async def test_every_list_has_its_page_and_its_total(purchase: AcceptedPurchase) -> None:
    await purchase.open()
    admin = purchase.market.admin
    lists = {
        f"{MARKET}/purchase-requests": (admin, "purchaseRequests"),
        f"{MARKET}/purchase-requests/my": (purchase.buyer, "purchaseRequests"),
        f"{MARKET}/offers": (purchase.buyer, "offers"),
        "/api/payment/history": (purchase.buyer, "payments"),
        "/api/admin/payments/awaiting-confirmation": (admin, "payments"),
        "/api/admin/recoveries": (admin, "recoveries"),
        "/api/notifications": (purchase.buyer, "notifications"),
    }
    for path, (who, name) in lists.items():
        found = await who.ok("GET", path)
        assert set(found) == {name, "total", "page", "limit"}, path
        assert (found["page"], found["limit"]) == (1, 20), path
        assert len(found[name]) == found["total"], path
        assert await who.refused("GET", f"{path}?limit=101") == (422, "invalid"), path
        check(found)


async def test_every_notification_says_what_and_where(shop: Running) -> None:
    buyer, seller = await shop.user("buyer"), await shop.user("seller")
    request_id = await new_request(buyer)

    (note,) = (await seller.ok("GET", "/api/notifications"))["notifications"]

    assert set(note) == {"id", "category", "type", "title", "relatedId", "actionUrl", "read", "createdAt"}
    assert (note["category"], note["relatedId"]) == ("request", request_id)
    assert note["actionUrl"] == f"/purchase-requests/{request_id}"
    assert set(await seller.ok("GET", "/api/notifications/unread-count")) == {"count"}


def test_every_call_has_its_answers_described() -> None:
    assert len({(route.method, route.path) for route in ROUTES}) == len(ROUTES)
    assert all(route.answers for route in ROUTES)
    beside = {(route.method, route.path) for route in ROUTES if not route.enveloped}
    assert beside == {("GET", "/api/events"), ("GET", "/metrics"), ("GET", "/openapi.json")}


@pytest.mark.parametrize("change", [{"more": 1}, {"id": None}, {"createdAt": "today"}, {"status": "archived"}])
async def test_an_answer_that_is_not_described_is_noticed(purchase: AcceptedPurchase, change: dict[str, Any]) -> None:
    """Every answer of these tests is held against the description: this shows that it is."""
    path = purchase.path("").rstrip("/")
    status, answer = await purchase.buyer.call("GET", path)
    answer["data"]["purchaseRequest"] |= change

    with pytest.raises(jsonschema_rs.ValidationError):
        described("GET", path, status, answer)


async def test_a_field_that_is_missing_and_a_status_nobody_described_are_noticed(purchase: AcceptedPurchase) -> None:
    path = purchase.path("").rstrip("/")
    status, answer = await purchase.buyer.call("GET", path)
    with pytest.raises(AssertionError):
        described("GET", path, 201, answer)
    del answer["data"]["purchaseRequest"]["budget"]

    with pytest.raises(jsonschema_rs.ValidationError):
        described("GET", path, status, answer)


def test_what_has_no_route_is_refused_in_the_one_shape_or_noticed() -> None:
    reported = {"code": "not_found", "message": "there is nothing here", "details": {}}
    described("GET", "/nowhere", 404, {"success": False, "error": reported})
    for answer in ({"error": "there is nothing here"}, {"success": False, "error": reported | {"code": "gone"}}):
        with pytest.raises(jsonschema_rs.ValidationError):
            described("GET", "/nowhere", 404, answer)
    with pytest.raises(AssertionError):
        described("GET", "/nowhere", 200, {"success": True, "data": {}})
