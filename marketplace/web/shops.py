"""Shops over HTTP: what sellers offer to everybody, and buying it in one call."""

from __future__ import annotations

from typing import Annotated, Any

from aiohttp import web
from pydantic import Field

from marketplace.model import Mode, ProductType, Rail, Role
from marketplace.payments.checkout import IntentDraft
from marketplace.shops.cart import MAX_LINES, MAX_QUANTITY, CartLine
from marketplace.shops.orders import OrderDraft, Ordered
from marketplace.shops.shops import OnSale, TemplateDraft
from marketplace.store.shops import CheckoutLine, Shop, Template
from marketplace.web import offers, payments, requests, shapes
from marketplace.web import shop_shapes as shop
from marketplace.web.answers import paged, success
from marketplace.web.bodies import Body, Id, Line, Listing, Text, current_actor, parse, parse_query, path_uuid
from marketplace.web.fields import Address, ChainId, Email
from marketplace.web.offers import DeliveryTime, Description, Price, Title
from marketplace.web.pricing import quoted
from marketplace.web.state import SERVICES
from protocol.codec import of

ACCEPTED = 202
MaxUses = Annotated[int, Field(strict=True, ge=0, le=1_000_000)]
Flag = Annotated[bool, Field(strict=True)]


class ShopText(Body):
    name: Annotated[Line, Field(min_length=1, max_length=100)]
    text: Annotated[Text, Field(max_length=2000)] = ""


class NewTemplate(Body):
    title: Title
    description: Description
    product_type: ProductType
    price: Price
    delivery_time: DeliveryTime
    pool_id: Id | None = None
    require_aml_check: Flag = False
    aml_block_on_failure: Flag = True
    listed: Flag = True
    max_uses: MaxUses = 0

    def draft(self) -> TemplateDraft:
        """Return the use case's input."""
        return TemplateDraft(
            title=self.title,
            description=self.description,
            product_type=self.product_type,
            price_amount=self.price.amount,
            price_currency=self.price.currency,
            delivery_amount=self.delivery_time.amount,
            delivery_unit=self.delivery_time.unit,
            pool_id=self.pool_id,
            require_aml_check=self.require_aml_check,
            aml_block_on_failure=self.aml_block_on_failure,
            listed=self.listed,
            max_uses=self.max_uses,
        )


class EditTemplate(Body):
    title: Title | None = None
    description: Description | None = None
    price: Price | None = None
    delivery_time: DeliveryTime | None = None
    pool_id: Id | None = None
    listed: Flag | None = None
    max_uses: MaxUses | None = None

    def changes(self) -> dict[str, Any]:
        """Return the columns to change; a field that is null or missing stays as it is."""
        found = self.model_dump(exclude={"price", "delivery_time"}, exclude_none=True)
        if self.price is not None:
            found |= {"price_amount": self.price.amount, "price_currency": self.price.currency}
        if self.delivery_time is not None:
            found |= {"delivery_amount": self.delivery_time.amount, "delivery_unit": self.delivery_time.unit}
        return found


class OrderedLine(Body):
    share_id: Id
    quantity: Annotated[int, Field(strict=True, ge=1, le=MAX_QUANTITY)] = 1


class NewCheckout(Body):
    """A cart, and how it is paid. What it costs is not for the buyer to say."""

    checkout_id: Id
    lines: Annotated[list[OrderedLine], Field(min_length=1, max_length=MAX_LINES)]
    email: Email | None = None
    rail: Rail
    mode: Mode | None = None
    chain_id: ChainId
    token: Address

    def draft(self) -> OrderDraft:
        """Return the use case's input."""
        how = IntentDraft(
            purchase_request_id="", rail=self.rail, mode=self.mode, chain_id=self.chain_id, token=self.token
        )
        lines = [CartLine(line.share_id, line.quantity) for line in self.lines]
        return OrderDraft(checkout_id=self.checkout_id, lines=lines, email=self.email, payment=how)


def shown(template: Template) -> shop.Template:
    """Return a template as its seller sees it."""
    return of(shop.Template, template, **_terms(template))


def _shared(found: OnSale) -> shop.SharedTemplate:
    """Return a template as anybody sees it."""
    given = found.template
    return of(shop.SharedTemplate, given, in_stock=found.left, uses_left=given.uses_left, **_terms(given))


def _terms(template: Template) -> dict[str, Any]:
    return {
        "price": shapes.Price(amount=template.price_amount, currency=template.price_currency),
        "delivery_time": shapes.DeliveryTime(amount=template.delivery_amount, unit=template.delivery_unit),
    }


def _one(template: Template) -> shop.OneTemplate:
    return shop.OneTemplate(template=shown(template))


def _shop(found: Shop) -> shop.Shop:
    return of(shop.Shop, found)


def _lines(found: list[CheckoutLine] | tuple[CheckoutLine, ...]) -> tuple[shop.CheckoutLine, ...]:
    return tuple(
        of(shop.CheckoutLine, each, price=shapes.Price(amount=each.price_amount, currency=each.price_currency))
        for each in found
    )


async def put(request: web.Request) -> web.Response:
    """PUT /api/marketplace/shop"""
    actor = current_actor(request, Role.SELLER)
    body = await parse(request, ShopText)
    return success(shop.OneShop(shop=_shop(await request.app[SERVICES].shops.put(actor, body.name, body.text))))


async def show(request: web.Request) -> web.Response:
    """GET /api/shops/{id}: everybody's, without a token"""
    page = parse_query(request, Listing).part()
    found, on_sale, total = await request.app[SERVICES].shops.show(path_uuid(request, "seller"), page)
    told = tuple(map(_shared, on_sale))
    return success(shop.ShopPage(shop=_shop(found), templates=told, total=total, page=page.page, limit=page.limit))


async def shared(request: web.Request) -> web.Response:
    """GET /api/templates/{id}: whoever's has the link, without a token"""
    found = await request.app[SERVICES].shops.shared(path_uuid(request, "template"))
    return success(shop.OneSharedTemplate(template=_shared(found)))


async def create(request: web.Request) -> web.Response:
    """POST /api/marketplace/templates"""
    actor = current_actor(request, Role.SELLER)
    body = await parse(request, NewTemplate)
    return success(_one(await request.app[SERVICES].shops.create(actor, body.draft())), status=201)


async def listing(request: web.Request) -> web.Response:
    """GET /api/marketplace/templates"""
    actor = current_actor(request, Role.SELLER, Role.ADMIN)
    page = parse_query(request, Listing).part()
    found, total = await request.app[SERVICES].shops.listing(actor, page)
    return paged(shop.TemplatePage, total, page, templates=map(shown, found))


async def edit(request: web.Request) -> web.Response:
    """PATCH /api/marketplace/templates/{id}"""
    actor = current_actor(request, Role.SELLER)
    body = await parse(request, EditTemplate)
    changed = await request.app[SERVICES].shops.change(actor, path_uuid(request, "template"), body.changes())
    return success(_one(changed))


async def share(request: web.Request) -> web.Response:
    """POST /api/marketplace/templates/{id}/share"""
    actor = current_actor(request, Role.SELLER)
    return success(_one(await request.app[SERVICES].shops.share_anew(actor, path_uuid(request, "template"))))


async def close(request: web.Request) -> web.Response:
    """POST /api/marketplace/templates/{id}/close"""
    actor = current_actor(request, Role.SELLER, Role.ADMIN)
    return success(_one(await request.app[SERVICES].shops.close(actor, path_uuid(request, "template"))))


async def checkout(request: web.Request) -> web.Response:
    """POST /api/payment/checkout"""
    actor = current_actor(request, Role.BUYER)
    body = await parse(request, NewCheckout)
    services = request.app[SERVICES]
    ordered = await services.orders.order(actor, body.draft())
    told = _checked_out(ordered, quoted(await services.checkout.quote(ordered.payment.id)))
    if ordered.payment.registered_at is None:
        return success(told, status=ACCEPTED)
    return success(told, status=201 if ordered.new else 200)


def _checked_out(ordered: Ordered, quote: Any) -> shop.CheckedOut:
    payment = ordered.payment
    known = payment.registered_at is not None
    through_proxy = payment.rail is Rail.PROXY
    return shop.CheckedOut(
        purchase_request=requests.shown(ordered.request, private=True),
        offer=offers.shown(ordered.offer),
        lines=_lines(tuple(ordered.lines)),
        payment=payments.shown(payment),
        checkout_block=(payment.checkout or {}) if known and through_proxy else None,
        instructions=payments.instructions(payment) if known and not through_proxy else None,
        quote=quote,
    )


async def lines(request: web.Request) -> web.Response:
    """GET /api/marketplace/purchase-requests/{id}/lines"""
    actor = current_actor(request)
    found = await request.app[SERVICES].orders.lines(actor, path_uuid(request, "purchase request"))
    return success(shop.CheckoutLines(lines=_lines(found)))
