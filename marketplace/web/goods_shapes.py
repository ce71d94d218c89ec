"""What answers about digital goods are, one struct a JSON object (docs/goods.md)."""

from __future__ import annotations

from typing import Annotated

from marketplace.store import stock
from marketplace.web.shapes import Count, Page, Time, one_of
from protocol.wire import Wire


class StockCounts(Wire):
    free: Count
    reserved: Count
    revealed: Count
    expired: Count
    withdrawn: Count


class Stock(Wire):
    id: str
    seller_id: str
    name: str
    low_at: Count
    counts: StockCounts
    created_at: Time
    updated_at: Time


class OneStock(Wire):
    stock: Stock


class StockPage(Page):
    stocks: tuple[Stock, ...]


class FilledStock(Wire):
    stock: Stock
    added: Count


class StockItem(Wire):
    id: str
    state: Annotated[str, one_of(stock.STATES)]
    line: Count
    expires_at: Time | None
    payment_id: str | None
    reserved_at: Time | None
    created_at: Time


class StockItemPage(Page):
    items: tuple[StockItem, ...]


class PurchasedItem(Wire):
    id: str
    revealed: bool
    revealed_at: Time | None
    expires_at: Time | None
    reserved_at: Time


class PurchasedGoods(Wire):
    goods: tuple[PurchasedItem, ...]
    waiting: Count


class RevealedItem(Wire):
    id: str
    content: str
    expires_at: Time | None
    revealed_at: Time


class RevealedGoods(Wire):
    goods: tuple[RevealedItem, ...]
