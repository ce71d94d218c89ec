"""What answers about shops are, one struct a JSON object (docs/shops.md)."""

from __future__ import annotations

from typing import Annotated

from msgspec import UNSET, UnsetType

from marketplace import model
from marketplace.web.shapes import (
    Count,
    DeliveryTime,
    Instructions,
    Offer,
    Open,
    Page,
    Payment,
    Price,
    PurchaseRequest,
    Quote,
    Time,
    one_of,
)
from protocol.wire import Wire


class Shop(Wire):
    seller_id: str
    name: str
    text: str
    created_at: Time
    updated_at: Time


class OneShop(Wire):
    shop: Shop


class SharedTemplate(Wire):
    share_id: str
    seller_id: str
    title: str
    description: str
    product_type: Annotated[str, one_of(model.ProductType)]
    price: Price
    delivery_time: DeliveryTime
    in_stock: Count | None
    uses_left: Count | None


class OneSharedTemplate(Wire):
    template: SharedTemplate


class ShopPage(Page):
    shop: Shop
    templates: tuple[SharedTemplate, ...]


class Template(Wire):
    id: str
    share_id: str
    seller_id: str
    title: str
    description: str
    product_type: Annotated[str, one_of(model.ProductType)]
    price: Price
    delivery_time: DeliveryTime
    pool_id: str | None
    require_aml_check: bool
    aml_block_on_failure: bool
    listed: bool
    max_uses: Count
    uses: Count
    closed_at: Time | None
    created_at: Time
    updated_at: Time


class OneTemplate(Wire):
    template: Template


class TemplatePage(Page):
    templates: tuple[Template, ...]


class CheckoutLine(Wire):
    template_id: str
    title: str
    quantity: Count
    price: Price


class CheckoutLines(Wire):
    lines: tuple[CheckoutLine, ...]


class CheckedOut(Wire):
    purchase_request: PurchaseRequest
    offer: Offer
    lines: tuple[CheckoutLine, ...]
    payment: Payment
    checkout_block: Open | None
    instructions: Instructions | None
    quote: Quote | UnsetType = UNSET
