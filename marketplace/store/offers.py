"""Offers."""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import asdict
from typing import Any

from sqlalchemy import insert, select, update

from marketplace.model import OPEN_OFFERS, Offer, OfferStatus, Page
from marketplace.store.database import Tx
from marketplace.store.rows import changed, many, one, paged
from marketplace.store.tables import offers, purchase_requests

_o = offers.c
LIVE = (*OPEN_OFFERS, OfferStatus.ACCEPTED)


async def add(tx: Tx, offer: Offer) -> None:
    await tx.execute(insert(offers).values(**asdict(offer)))


async def get(tx: Tx, offer_id: str) -> Offer | None:
    return await one(tx, select(offers).where(_o.id == offer_id), Offer)


async def live_of(tx: Tx, request_id: str, seller_id: str) -> Offer | None:
    """Return the seller's live offer for a request."""
    mine = (_o.purchase_request_id == request_id) & (_o.seller_id == seller_id)
    return await one(tx, select(offers).where(mine, _o.status.in_(LIVE)), Offer)


async def listing(
    tx: Tx, page: Page, *, request_id: str | None = None, seller_id: str | None = None, buyer_id: str | None = None
) -> tuple[list[Offer], int]:
    """Return offers, oldest first; each filter that is given has to hold."""
    found = select(offers).order_by(_o.created_at, _o.id)
    if request_id is not None:
        found = found.where(_o.purchase_request_id == request_id)
    if seller_id is not None:
        found = found.where(_o.seller_id == seller_id)
    if buyer_id is not None:
        theirs = select(purchase_requests.c.id).where(purchase_requests.c.buyer_id == buyer_id)
        found = found.where(_o.purchase_request_id.in_(theirs))
    return await paged(tx, found, Offer, page)


async def has_offered(tx: Tx, request_id: str, seller_id: str) -> bool:
    """Say whether a seller ever made an offer for a request."""
    mine = select(_o.id).where(_o.purchase_request_id == request_id, _o.seller_id == seller_id).limit(1)
    return (await tx.execute(mine)).first() is not None


async def open_siblings(tx: Tx, offer: Offer) -> list[Offer]:
    """Return the other offers for the same request that could still be accepted."""
    others = (_o.purchase_request_id == offer.purchase_request_id) & (_o.id != offer.id)
    return await many(tx, select(offers).where(others, _o.status.in_(OPEN_OFFERS)), Offer)


async def agreed_fees(tx: Tx) -> dict[str, int]:
    """Return the basis points of every offer that was accepted, by its id."""
    found = await tx.execute(select(_o.id, _o.platform_fee_bps).where(_o.status == OfferStatus.ACCEPTED))
    return {row.id: int(row.platform_fee_bps) for row in found}


async def currencies(tx: Tx) -> dict[str, str]:
    """Return the currency of every accepted offer's price."""
    found = select(_o.id, _o.price_currency).where(_o.status == OfferStatus.ACCEPTED)
    return {row.id: row.price_currency for row in await tx.execute(found)}


async def change(tx: Tx, offer_id: str, now: int, *, expected: Collection[OfferStatus], **values: Any) -> bool:
    """Change an offer that is in one of the expected statuses; False when it is in another."""
    guarded = update(offers).where(_o.id == offer_id, _o.status.in_(expected))
    return await changed(tx, guarded.values(**values, updated_at=now))
