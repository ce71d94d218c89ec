"""A shop, from its first template to a cart that is sent twice."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from tests.marketplace.harness import MARKET
from tests.marketplace.shopping import checkout_body, template_body

if TYPE_CHECKING:
    from tests.golden.marketplace_story import Market

REFUSED = range(400, 500)
CHECKOUT = "/api/payment/checkout"
NAMES = [f"{number:08x}-0000-4000-8000-000000000000" for number in range(1, 9)]


async def tell(m: Market) -> None:
    seller, buyer = m.people["seller"], m.people["buyer"]
    me = (await seller.ask("GET", "/api/auth/me"))["data"]["user"]["id"]
    await m.nobody.ask("GET", f"/api/shops/{me}", status=REFUSED)
    await seller.ask("PUT", f"{MARKET}/shop", {"name": "Posters", "text": "On paper."})
    poster, print_ = [await _template(m, **fields) for fields in ({"maxUses": 2}, {"listed": False})]
    await seller.ask("POST", f"{MARKET}/templates", template_body(price={"amount": "1", "currency": "XAU"}), status=422)
    await seller.ask("PATCH", f"{MARKET}/templates/{print_['id']}", {"price": {"amount": "4.5", "currency": "USDT"}})
    print_ = (await seller.ask("POST", f"{MARKET}/templates/{print_['id']}/share"))["data"]["template"]
    for who in (seller, m.admin):
        await who.ask("GET", f"{MARKET}/templates")
    await m.nobody.ask("GET", f"/api/shops/{me}")
    await m.nobody.ask("GET", f"/api/templates/{print_['shareId']}")

    cart = checkout_body(poster["shareId"], print_["shareId"], checkoutId=NAMES[0])
    made = await buyer.ask("POST", CHECKOUT, cart, status=201)
    await buyer.ask("POST", CHECKOUT, cart)
    await buyer.ask("POST", CHECKOUT, {**cart, "lines": cart["lines"][:1]}, status=REFUSED)
    await buyer.ask("GET", f"{MARKET}/purchase-requests/{made['data']['purchaseRequest']['id']}/lines")
    direct = checkout_body(poster["shareId"], checkoutId=NAMES[1], rail="direct")
    m.scanner.down = True
    await buyer.ask("POST", CHECKOUT, direct, status=202)
    m.scanner.down = False
    await buyer.ask("POST", CHECKOUT, direct)
    await buyer.ask("POST", CHECKOUT, checkout_body(poster["shareId"], checkoutId=NAMES[2]), status=REFUSED)
    await seller.ask("POST", f"{MARKET}/templates/{poster['id']}/close")
    await m.nobody.ask("GET", f"/api/templates/{poster['shareId']}", status=REFUSED)


async def _template(m: Market, **fields: Any) -> dict[str, Any]:
    body = template_body(**fields)
    return dict((await m.people["seller"].ask("POST", f"{MARKET}/templates", body, status=201))["data"]["template"])
