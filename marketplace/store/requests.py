"""Purchase requests."""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import asdict
from typing import Any

from sqlalchemy import insert, select, update

from marketplace.model import OPEN_FOR_OFFERS, Page, PurchaseRequest, RequestStatus
from marketplace.store.database import Tx
from marketplace.store.rows import changed, one, paged
from marketplace.store.tables import purchase_requests

_r = purchase_requests.c


async def add(tx: Tx, request: PurchaseRequest) -> None:
    await tx.execute(insert(purchase_requests).values(**asdict(request)))


async def get(tx: Tx, request_id: str) -> PurchaseRequest | None:
    return await one(tx, select(purchase_requests).where(_r.id == request_id), PurchaseRequest)


async def of_buyer(tx: Tx, buyer_id: str, page: Page) -> tuple[list[PurchaseRequest], int]:
    """Return a buyer's requests, newest first."""
    mine = select(purchase_requests).where(_r.buyer_id == buyer_id).order_by(_r.created_at.desc(), _r.id)
    return await paged(tx, mine, PurchaseRequest, page)


async def feed(tx: Tx, page: Page) -> tuple[list[PurchaseRequest], int]:
    """Return what sellers may still bid on, newest first."""
    opened = select(purchase_requests).where(_r.status.in_(OPEN_FOR_OFFERS)).order_by(_r.created_at.desc(), _r.id)
    return await paged(tx, opened, PurchaseRequest, page)


async def change(tx: Tx, request_id: str, now: int, *, expected: Collection[RequestStatus], **values: Any) -> bool:
    """Change a request that is in one of the expected statuses; False when it is in another."""
    guarded = update(purchase_requests).where(_r.id == request_id, _r.status.in_(expected))
    return await changed(tx, guarded.values(**values, updated_at=now))
