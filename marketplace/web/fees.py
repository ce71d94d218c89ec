"""Fees over HTTP: the platform's rate, what it brought, and the rates of single sellers."""

from __future__ import annotations

from typing import Annotated

from aiohttp import web
from pydantic import Field

from marketplace.catalog import Catalog
from marketplace.model import Role
from marketplace.payments.fees import MAX_FEE_BPS, FeeOverview
from marketplace.payments.money import to_decimal
from marketplace.store.ledger import Collected
from marketplace.web import shapes
from marketplace.web.answers import success
from marketplace.web.bodies import Body, Id, Listing, Text, current_actor, parse, parse_query
from marketplace.web.state import SERVICES
from protocol.codec import of
from protocol.wire import Wire


class ListFees(Listing):
    seller_id: Id | None = None
    in_force: bool | None = None


class SetFee(Body):
    seller_id: Id
    bps: Annotated[int, Field(strict=True, ge=0, le=MAX_FEE_BPS)] | None  # named, so that no slip takes a rate back
    note: Annotated[Text, Field(min_length=1, max_length=2000)]


class CollectedFee(Wire):
    chain_id: shapes.Count
    token_address: str
    token_symbol: str | None
    amount: shapes.Money | None
    amount_base_units: shapes.BaseUnits


class FeeChange(Wire):
    seller_id: str
    bps: shapes.Count | None
    note: str
    set_by: str
    created_at: shapes.Time
    in_force: bool


class FeePage(shapes.Page):
    platform_fee_bps: shapes.Count
    collected: tuple[CollectedFee, ...]
    changes: tuple[FeeChange, ...]


def collected(found: Collected, catalog: Catalog) -> CollectedFee:
    """Return what fees of one token brought; a token that left the registry has no name and no decimals."""
    token = catalog.token(found.chain_id, found.token_address) if found.chain_id in catalog.chains else None
    return CollectedFee(
        chain_id=found.chain_id,
        token_address=found.token_address,
        token_symbol=None if token is None else token.symbol,
        amount=None if token is None else to_decimal(found.amount_base, token.decimals),
        amount_base_units=shapes.BaseUnits(found.amount_base),
    )


async def listing(request: web.Request) -> web.Response:
    """GET /api/admin/fees"""
    current_actor(request, Role.ADMIN)
    return await _answer(request, parse_query(request, ListFees))


async def change(request: web.Request) -> web.Response:
    """PUT /api/admin/fees"""
    actor = current_actor(request, Role.ADMIN)
    body = await parse(request, SetFee)
    await request.app[SERVICES].fees.change(actor, body.seller_id, body.bps, body.note)
    return await _answer(request, ListFees.model_validate({"sellerId": body.seller_id}))


async def _answer(request: web.Request, query: ListFees) -> web.Response:
    services, page = request.app[SERVICES], query.part()
    found: FeeOverview = await services.fees.overview(page, seller_id=query.seller_id, in_force=query.in_force)
    return success(
        FeePage(
            total=found.total,
            page=page.page,
            limit=page.limit,
            platform_fee_bps=found.platform_bps,
            collected=tuple(collected(each, services.catalog) for each in found.collected),
            changes=tuple(of(FeeChange, each) for each in found.changes),
        )
    )
