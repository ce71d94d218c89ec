"""Digital goods over HTTP: a seller's stock, and what a buyer gets of it."""

from __future__ import annotations

from typing import Annotated, Any, Literal

from aiohttp import web
from pydantic import Field

from marketplace.goods.stock import CountedPool
from marketplace.model import Role
from marketplace.web import goods_shapes as shapes
from marketplace.web.answers import paged, success
from marketplace.web.bodies import Body, Line, Listing, current_actor, parse, parse_query, path_uuid
from marketplace.web.shapes import Time
from marketplace.web.state import SERVICES
from protocol.codec import of

Name = Annotated[Line, Field(min_length=1, max_length=100)]
LowAt = Annotated[int, Field(strict=True, ge=0, le=10_000)]


class NewStock(Body):
    name: Name
    low_at: LowAt = 0


class EditStock(Body):
    name: Name | None = None
    low_at: LowAt | None = None

    def changes(self) -> dict[str, Any]:
        """Return the columns to change."""
        return self.model_dump(exclude_none=True)


class ListItems(Listing):
    state: Literal["free", "reserved", "revealed", "expired", "withdrawn"] | None = None


def shown(counted: CountedPool) -> shapes.Stock:
    """Return a stock with its counts; what is in it is nobody's but the buyers'."""
    return of(shapes.Stock, counted.pool, counts=of(shapes.StockCounts, counted.counts))


def _one(counted: CountedPool) -> shapes.OneStock:
    return shapes.OneStock(stock=shown(counted))


async def create(request: web.Request) -> web.Response:
    """POST /api/marketplace/stocks"""
    actor = current_actor(request, Role.SELLER)
    body = await parse(request, NewStock)
    return success(_one(await request.app[SERVICES].stock.create(actor, body.name, body.low_at)), status=201)


async def listing(request: web.Request) -> web.Response:
    """GET /api/marketplace/stocks"""
    actor = current_actor(request, Role.SELLER, Role.ADMIN)
    page = parse_query(request, Listing).part()
    found, total = await request.app[SERVICES].stock.listing(actor, page)
    return paged(shapes.StockPage, total, page, stocks=map(shown, found))


async def show(request: web.Request) -> web.Response:
    """GET /api/marketplace/stocks/{id}"""
    actor = current_actor(request, Role.SELLER)
    return success(_one(await request.app[SERVICES].stock.show(actor, path_uuid(request, "stock"))))


async def edit(request: web.Request) -> web.Response:
    """PATCH /api/marketplace/stocks/{id}"""
    actor = current_actor(request, Role.SELLER)
    body = await parse(request, EditStock)
    changed = await request.app[SERVICES].stock.change(actor, path_uuid(request, "stock"), body.changes())
    return success(_one(changed))


async def upload(request: web.Request) -> web.Response:
    """POST /api/marketplace/stocks/{id}/items"""
    actor = current_actor(request, Role.SELLER)
    pool_id = path_uuid(request, "stock")
    filled, added = await request.app[SERVICES].stock.upload(actor, pool_id, await request.read())
    return success(shapes.FilledStock(stock=shown(filled), added=added), status=201)


async def items(request: web.Request) -> web.Response:
    """GET /api/marketplace/stocks/{id}/items"""
    actor = current_actor(request, Role.SELLER)
    query = parse_query(request, ListItems)
    page = query.part()
    found, total = await request.app[SERVICES].stock.items(actor, path_uuid(request, "stock"), page, query.state)
    return paged(shapes.StockItemPage, total, page, items=(of(shapes.StockItem, each) for each in found))


async def withdraw(request: web.Request) -> web.Response:
    """POST /api/marketplace/stock-items/{id}/withdraw"""
    actor = current_actor(request, Role.SELLER)
    return success(_one(await request.app[SERVICES].stock.withdraw(actor, path_uuid(request, "good"))))


async def purchased(request: web.Request) -> web.Response:
    """GET /api/marketplace/purchase-requests/{id}/goods"""
    actor = current_actor(request, Role.BUYER, Role.SELLER, Role.ADMIN)
    found = await request.app[SERVICES].purchased_goods.show(actor, path_uuid(request, "purchase request"))
    told = tuple(of(shapes.PurchasedItem, each, revealed=each.revealed_at is not None) for each in found.items)
    return success(shapes.PurchasedGoods(goods=told, waiting=found.waiting))


async def reveal(request: web.Request) -> web.Response:
    """POST /api/marketplace/purchase-requests/{id}/goods/reveal"""
    actor = current_actor(request, Role.BUYER)
    found = await request.app[SERVICES].purchased_goods.reveal(actor, path_uuid(request, "purchase request"))
    told = tuple(
        of(shapes.RevealedItem, each.item, content=each.content, revealed_at=Time(each.revealed_at)) for each in found
    )
    response = success(shapes.RevealedGoods(goods=told))
    response.headers["Cache-Control"] = "no-store"
    return response
