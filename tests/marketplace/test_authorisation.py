"""Who may call what: one row a route, so that a route without a row fails."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

import orjson
import pytest

from marketplace.model import Role
from marketplace.web.pages.routes import PAGES
from tests.marketplace.accepted_purchase import DONE_IN, SELLERS_WALLET, AcceptedPurchase
from tests.marketplace.goods_for_sale import send_file
from tests.marketplace.harness import ADMIN as ADMIN_ACCOUNT
from tests.marketplace.harness import MARKET, PASSWORD, Api, offer_body, request_body
from tests.marketplace.shopping import checkout_body, new_template, template_body

UNAUTHORIZED, FORBIDDEN, NOT_FOUND = 401, 403, 404
REQUEST = f"{MARKET}/purchase-requests/{{id}}"
OFFER = f"{MARKET}/offers/{{id}}"
STOCK = f"{MARKET}/stocks/{{id}}"
NEEDS_A_NODE = "POST /api/admin/sweeps/build"
TEMPLATE = f"{MARKET}/templates/{{id}}"
EVERYBODY = frozenset(Role)
SIDES = frozenset({Role.BUYER, Role.SELLER})
JUDGES = frozenset({Role.ADMIN, Role.RESOLVER})
BUYER, SELLER, ADMIN = frozenset({Role.BUYER}), frozenset({Role.SELLER}), frozenset({Role.ADMIN})


@dataclass(frozen=True, slots=True)
class Row:
    """
    Who may call a route.

    Attributes:
        roles: the roles that are not refused for what they are.
        stranger: what somebody of such a role is reported about an object of others; None where there is no object.
        over: the roles that need not own it.
        body: one that is accepted as far as its form goes; names in braces are the world's.
    """

    roles: frozenset[Role]
    stranger: int | None = None
    over: frozenset[Role] = frozenset()
    body: dict[str, Any] | None = field(default=None)
    query: str = ""
    file: str = ""


NEW_PASSWORD = "POST /api/auth/password"
PRICE = {"price": {"amount": "9", "currency": "USDT"}}
OPEN = Row(EVERYBODY)
OPEN_TO_ALL = {
    "GET /health",
    "GET /api/version",
    "GET /api/health",
    "GET /openapi.json",
    "GET /assets/{version}/{name}",
    "GET /favicon.ico",
    "POST /api/auth/login",
    "POST /api/auth/refresh-token",
    "POST /api/auth/join",  # a link is its own token
    "POST /api/auth/reset-password",
    "POST /api/auth/register",
    f"GET {MARKET}/purchase-requests",
    "GET /api/shops/{id}",
    "GET /api/templates/{id}",
    "POST /api/payment/amn-scanner/webhook",  # the signature is its token
    "POST /api/payment/shkeeper/webhook",
    "POST /api/payment/request-network/webhook",
}
TABLE: dict[str, Row] = {
    "GET /api/auth/me": OPEN,
    "POST /api/admin/users": Row(
        ADMIN, body={"email": "new@example.test", "password": PASSWORD, "role": "buyer", "name": "New"}
    ),
    "GET /api/admin/users": Row(ADMIN),
    NEW_PASSWORD: Row(EVERYBODY, body={"currentPassword": "{password}", "newPassword": "{password}"}),
    "GET /api/admin/users/{id}": Row(ADMIN),
    "GET /api/admin/users/{id}/history": Row(ADMIN),
    "POST /api/admin/users/{id}/reset": Row(ADMIN),
    "POST /api/admin/users/{id}/remove-second-factor": Row(ADMIN),
    "POST /api/auth/second-factor/confirm": Row(JUDGES, body={"code": "000000"}),
    "POST /api/auth/second-factor": Row(JUDGES, body={"password": "{password}"}),
    "POST /api/auth/second-factor/remove": Row(JUDGES, body={"password": "{password}", "code": "000000"}),
    "POST /api/admin/invitations": Row(ADMIN, body={"email": "guest@example.test", "role": "buyer"}),
    "GET /api/admin/invitations": Row(ADMIN),
    "POST /api/admin/invitations/{id}/revoke": Row(ADMIN),
    "POST /api/admin/users/{id}/suspend": Row(ADMIN, body={"reason": "because"}),
    "POST /api/admin/users/{id}/unsuspend": Row(ADMIN),
    "POST /api/admin/users/{id}/end-sessions": Row(ADMIN),
    f"POST {MARKET}/purchase-requests": Row(BUYER, body=request_body()),
    f"GET {MARKET}/purchase-requests/my": OPEN,
    f"GET {REQUEST}": Row(EVERYBODY, FORBIDDEN, over=JUDGES),
    f"POST {REQUEST}/offers": Row(SELLER, body=offer_body()),
    f"POST {REQUEST}/select-offer": Row(BUYER, FORBIDDEN, body={"offerId": "{offer}"}),
    f"GET {MARKET}/offers": Row(EVERYBODY, FORBIDDEN, over=JUDGES, query="?requestId={request}"),
    f"PATCH {OFFER}": Row(SELLER, FORBIDDEN, body=PRICE),
    f"POST {OFFER}/withdraw": Row(SELLER, FORBIDDEN),
    f"POST {OFFER}/counter": Row(SIDES, FORBIDDEN, body=PRICE),
    f"POST {OFFER}/counter/answer": Row(SIDES, FORBIDDEN, body={"answer": "declined"}),
    f"GET {OFFER}/rounds": Row(SIDES, FORBIDDEN),
    f"PATCH {REQUEST}/delivery": Row(SELLER | ADMIN, FORBIDDEN, over=ADMIN, body={"proof": "sent"}),
    f"PATCH {REQUEST}/confirm-delivery": Row(BUYER | ADMIN, FORBIDDEN, over=ADMIN, body={}),
    f"POST {REQUEST}/delivery-code/generate": Row(BUYER, FORBIDDEN),
    f"POST {REQUEST}/delivery-code/verify": Row(SELLER | ADMIN, FORBIDDEN, over=ADMIN, body={"code": "123456"}),
    f"GET {REQUEST}/delivery-code/status": Row(SIDES | ADMIN, FORBIDDEN, over=ADMIN),
    f"POST {MARKET}/stocks": Row(SELLER, body={"name": "Cards"}),
    f"GET {MARKET}/stocks": Row(SELLER | ADMIN),
    f"GET {STOCK}": Row(SELLER, NOT_FOUND),
    f"PATCH {STOCK}": Row(SELLER, NOT_FOUND, body={"lowAt": 1}),
    f"POST {STOCK}/items": Row(SELLER, NOT_FOUND, file="content\nZ-1\n"),
    f"GET {STOCK}/items": Row(SELLER, NOT_FOUND),
    f"POST {MARKET}/stock-items/{{id}}/withdraw": Row(SELLER, NOT_FOUND),
    f"PUT {MARKET}/shop": Row(SELLER, body={"name": "My shop"}),
    f"POST {MARKET}/templates": Row(SELLER, body=template_body()),
    f"GET {MARKET}/templates": Row(SELLER | ADMIN),
    f"PATCH {TEMPLATE}": Row(SELLER, NOT_FOUND, body={"listed": False}),
    f"POST {TEMPLATE}/share": Row(SELLER, NOT_FOUND),
    f"POST {TEMPLATE}/close": Row(SELLER | ADMIN, FORBIDDEN, over=ADMIN),
    f"GET {REQUEST}/lines": Row(EVERYBODY, FORBIDDEN, over=JUDGES),
    "POST /api/payment/checkout": Row(BUYER, body=checkout_body("{share}")),
    f"GET {REQUEST}/goods": Row(SIDES | ADMIN, FORBIDDEN, over=ADMIN),
    f"POST {REQUEST}/goods/reveal": Row(BUYER, FORBIDDEN),
    "POST /api/payment/intents": Row(
        BUYER, FORBIDDEN, body={"purchaseRequestId": "{request}", "rail": "proxy", "chainId": 97, "token": "USDT"}
    ),
    "GET /api/payment/options": Row(BUYER, FORBIDDEN, query="?requestId={request}"),
    "GET /api/payment/history": OPEN,
    "GET /api/payment/{id}": Row(EVERYBODY, FORBIDDEN, over=JUDGES),
    "POST /api/payment/{id}/cancel": Row(BUYER | ADMIN, FORBIDDEN, over=ADMIN),
    "POST /api/payment/amn-scanner/direct-balance/check/{paymentId}": Row(BUYER | ADMIN, FORBIDDEN, over=ADMIN),
    "GET /api/admin/payments/awaiting-confirmation": Row(ADMIN),
    "POST /api/admin/payments/{id}/release": Row(ADMIN, body={"toAddress": SELLERS_WALLET}),
    "POST /api/admin/payments/{id}/refund": Row(ADMIN, body={"toAddress": SELLERS_WALLET, "reason": "because"}),
    "POST /api/admin/payments/{id}/hold": Row(ADMIN, body={"until": None}),
    "POST /api/admin/payments/{id}/stop-watch": Row(ADMIN),
    "POST /api/admin/payments/{id}/clear-reorg": Row(ADMIN, body={"note": "I looked at it."}),
    "GET /api/admin/instructions": Row(ADMIN),
    "POST /api/admin/instructions/{id}/settle": Row(ADMIN, body={"txHash": DONE_IN}),
    "GET /api/admin/addresses": Row(ADMIN),
    "GET /api/admin/payout-addresses": Row(ADMIN),
    "GET /api/payout-addresses": Row(SELLER),
    "POST /api/payout-addresses": Row(
        SELLER, NOT_FOUND, body={"challengeId": "00000000-0000-4000-8000-000000000000", "signature": "0x"}
    ),
    "POST /api/payout-addresses/challenge": Row(SELLER, body={"chainId": 97, "address": SELLERS_WALLET}),
    "POST /api/admin/sweeps/build": Row(ADMIN, body={"chainId": 97, "token": "USDT", "purpose": "instructions"}),
    "GET /api/admin/recoveries": Row(ADMIN),
    "GET /api/admin/reconciliation": Row(ADMIN),
    "GET /api/admin/networks": Row(ADMIN),
    "GET /api/admin/settings/confirmation-thresholds": Row(ADMIN),
    "PUT /api/admin/settings/confirmation-thresholds": Row(
        ADMIN, body={"thresholds": [{"chainId": 97, "confirmations": 9}]}
    ),
    "GET /api/admin/fees": Row(ADMIN),
    "PUT /api/admin/fees": Row(ADMIN, body={"sellerId": "{seller}", "bps": 100, "note": "Agreed by mail."}),
    "POST /api/disputes": Row(
        SIDES, FORBIDDEN, body={"purchaseRequestId": "{request}", "reason": "It is broken.", "category": "quality"}
    ),
    "GET /api/disputes": OPEN,  # buyers and sellers their own
    "GET /api/disputes/{id}": Row(EVERYBODY, FORBIDDEN, over=JUDGES),
    "POST /api/disputes/{id}/evidence": Row(EVERYBODY, FORBIDDEN, over=JUDGES, body={"text": "Look at this."}),
    "GET /api/disputes/{id}/messages": Row(EVERYBODY, FORBIDDEN, over=JUDGES),
    "POST /api/disputes/{id}/messages": Row(EVERYBODY, FORBIDDEN, over=JUDGES, body={"text": "When did it come?"}),
    "POST /api/disputes/{id}/deadline": Row(JUDGES, body={"dueAt": "2027-01-31T12:00:00Z"}),
    "POST /api/disputes/{id}/assign": Row(JUDGES, body={"userId": None}),
    "POST /api/disputes/{id}/resolve": Row(JUDGES, body={"outcome": "no_action", "note": "Nothing to see."}),
    "GET /api/events": OPEN,
    "GET /api/notifications": OPEN,
    "POST /api/notifications/read": OPEN,
    "GET /api/notifications/channels": OPEN,
    "PUT /api/notifications/channels": Row(EVERYBODY, body={"choices": [{"channel": "email", "category": "payment"}]}),
    "POST /api/notifications/telegram/link": OPEN,
    "POST /api/notifications/telegram/unlink": OPEN,
    "GET /metrics": Row(ADMIN),
    "GET /api/notifications/unread-count": OPEN,
    "PATCH /api/notifications/{id}/read": Row(EVERYBODY, NOT_FOUND),
}


@dataclass(slots=True)
class Accounts:
    """A deal with one of everything, its two sides, and people who have nothing to do with it."""

    purchase: AcceptedPurchase
    names: dict[str, str]
    strangers: dict[Role, Api]

    async def status(self, call: str, who: Api | None) -> int:
        """Return what a call is answered with; the body is not waited for, since one has no end."""
        method, path = call.split(" ")
        row = TABLE[call]
        url = self.purchase.buyer.url + self._named(path) + self._filled(row.query)
        headers = {} if who is None else {"Authorization": f"Bearer {who.token}"}
        text = None if row.body is None else self._filled(orjson.dumps(row.body).decode())
        password = ADMIN_ACCOUNT[1] if who is self.purchase.market.admin else PASSWORD
        data = (row.file.encode() or None) if text is None else text.replace("{password}", password).encode()
        async with self.purchase.buyer.session.request(method, url, data=data, headers=headers) as response:
            if call == NEW_PASSWORD and who is not None and response.status == 200:  # their other tokens are over
                who.token = (await response.json())["data"]["tokens"]["accessToken"]
            return response.status

    def _named(self, path: str) -> str:
        kind = next((kind for kind in self.names if f"/{kind}s/{{" in path or f"/{kind}/{{" in path), "payment")
        return path.replace("{id}", self.names[kind]).replace("{paymentId}", self.names["payment"])

    def _filled(self, text: str) -> str:
        for name, found in {
            "request": "purchase-request",
            "offer": "offer",
            "seller": "seller",
            "share": "share",
        }.items():
            text = text.replace(f"{{{name}}}", self.names[found])
        return text

    def owners(self) -> dict[Role, Api]:
        return {**self.strangers, Role.BUYER: self.purchase.buyer, Role.SELLER: self.purchase.seller}


async def filled_stock(seller: Api) -> tuple[str, str]:
    """Return a stock, and a good in it."""
    stock = (await seller.ok("POST", f"{MARKET}/stocks", {"name": "A stock"}))["stock"]["id"]
    assert (await send_file(seller, stock, b"content\nA-1\n"))[0] == 201
    return stock, (await seller.ok("GET", f"{MARKET}/stocks/{stock}/items"))["items"][0]["id"]


@pytest.fixture
async def world(purchase: AcceptedPurchase) -> Accounts:
    admin = purchase.market.admin
    await purchase.fund()
    argued = {"purchaseRequestId": purchase.request_id, "reason": "It never came.", "category": "not_received"}
    dispute = (await purchase.buyer.ok("POST", "/api/disputes", argued))["dispute"]["id"]
    await admin.ok("POST", f"/api/disputes/{dispute}/resolve", {"outcome": "no_action", "note": "It did."})
    await purchase.buyer.ok("PATCH", purchase.path("confirm-delivery"))
    _, released = await purchase.release()
    stock, good = await filled_stock(purchase.seller)
    template, taken = [await new_template(purchase.seller) for _ in range(2)]
    notes = (await purchase.buyer.ok("GET", "/api/notifications"))["notifications"]
    strangers = {role: admin if role is Role.ADMIN else await purchase.market.user(role) for role in Role}
    names = {
        "purchase-request": purchase.request_id,
        "offer": purchase.offer_id,
        "stock": stock,
        "stock-item": good,
        "template": template["id"],
        "share": taken["shareId"],
        "payment": purchase.payment_id,
        "instruction": released["data"]["instruction"]["id"],
        "dispute": dispute,
        "seller": purchase.seller.user_id,
        "notification": notes[0]["id"],
        "invitation": (await invitation_of(admin)),
        "user": (await market_user(admin)),
    }
    return Accounts(purchase, names, strangers)


async def invitation_of(admin: Api) -> str:
    body = {"email": "guest@example.com", "role": "buyer"}
    return str((await admin.ok("POST", "/api/admin/invitations", body))["invitation"]["id"])


async def market_user(admin: Api) -> str:
    """Return somebody who has nothing to do with anything."""
    body = {"email": "somebody@example.test", "password": PASSWORD, "role": "buyer", "name": "Somebody"}
    return str((await admin.ok("POST", "/api/admin/users", body))["user"]["id"])


async def test_every_route_has_its_row(purchase: AcceptedPurchase) -> None:
    routes = purchase.market.marketplace.app.router.routes()
    served = {(r.method, r.resource.canonical) for r in routes if r.resource is not None and r.method != "HEAD"}
    pages = {(method, path) for method, path, _, _ in PAGES}  # with a table of their own

    assert pages <= served
    assert {f"{method} {path}" for method, path in served - pages} == set(TABLE) | OPEN_TO_ALL


async def test_without_a_token_every_guarded_route_is_401(world: Accounts) -> None:
    assert {call: await world.status(call, None) for call in TABLE} == dict.fromkeys(TABLE, UNAUTHORIZED)


async def test_an_expired_token_is_401_everywhere_whoever_held_it(world: Accounts) -> None:
    world.purchase.clock.advance(15 * 60 + 1)

    found = {(call, role): await world.status(call, who) for call in TABLE for role, who in world.owners().items()}

    assert found == dict.fromkeys(found, UNAUTHORIZED)


async def test_every_other_role_is_403(world: Accounts) -> None:
    people = world.owners()  # even those whose deal it is
    others = [(call, role) for call, row in TABLE.items() for role in EVERYBODY - row.roles]

    found = {(call, role): await world.status(call, people[role]) for call, role in others}

    assert len(others) > len(TABLE)
    assert found == dict.fromkeys(found, FORBIDDEN)


async def test_somebody_else_of_the_right_role_gets_nothing_of_a_strangers(world: Accounts) -> None:
    expected = {
        (call, role): row.stranger
        for call, row in TABLE.items()
        if row.stranger is not None
        for role in row.roles - row.over
    }

    found = {(call, role): await world.status(call, world.strangers[role]) for call, role in expected}

    assert found == expected


async def test_whom_a_route_is_for_is_refused_for_no_reason_of_identity(world: Accounts) -> None:
    """Without this, a row whose path or body is wrong would prove nothing."""
    people = world.owners()
    wanted = [(call, role) for call, row in TABLE.items() for role in row.roles if row.stranger is None]
    wanted += [(call, role) for call, row in TABLE.items() for role in row.over]
    wanted += [(call, role) for call, row in TABLE.items() if row.stranger == FORBIDDEN for role in row.roles & SIDES]
    wanted.append(("PATCH /api/notifications/{id}/read", Role.BUYER))

    found = {(call, role): await world.status(call, people[role]) for call, role in wanted}

    refused = {UNAUTHORIZED, FORBIDDEN, NOT_FOUND}
    assert found.pop((NEEDS_A_NODE, Role.ADMIN)) == 503
    assert {key: status for key, status in found.items() if status in refused or status >= 500} == {}
    assert {key: status for key, status in found.items() if status in {400, 422}} == {}
