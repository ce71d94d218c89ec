"""Delivery codes: one live code a request, counted and used up by conditional updates."""

from __future__ import annotations

import uuid
from dataclasses import dataclass, field

from sqlalchemy import insert, select, update

from marketplace.store.database import Tx
from marketplace.store.rows import changed, one
from marketplace.store.tables import delivery_codes

_c = delivery_codes.c
ATTEMPTS = 5


@dataclass(frozen=True, slots=True, kw_only=True)
class DeliveryCode:
    """A code as it is stored: a salted digest."""

    id: str
    purchase_request_id: str
    salt: str = field(repr=False)
    code_hash: str = field(repr=False)
    attempts: int
    used_at: int | None
    replaced_at: int | None
    expires_at: int
    created_at: int

    @property
    def attempts_left(self) -> int:
        return ATTEMPTS - self.attempts


async def replace(tx: Tx, request_id: str, *, salt: str, code_hash: str, expires_at: int, now: int) -> None:
    """Store a code in the place of the one before."""
    live = (_c.purchase_request_id == request_id) & _c.used_at.is_(None) & _c.replaced_at.is_(None)
    await tx.execute(update(delivery_codes).where(live).values(replaced_at=now))
    row = {"id": str(uuid.uuid4()), "purchase_request_id": request_id, "salt": salt, "code_hash": code_hash}
    await tx.execute(insert(delivery_codes).values(**row, expires_at=expires_at, created_at=now))


async def latest(tx: Tx, request_id: str) -> DeliveryCode | None:
    """Return the code that is not replaced: live or used."""
    current = (_c.purchase_request_id == request_id) & _c.replaced_at.is_(None)
    newest = select(delivery_codes).where(current).order_by(_c.used_at.is_not(None), _c.created_at.desc()).limit(1)
    return await one(tx, newest, DeliveryCode)


async def use(tx: Tx, code_id: str, now: int) -> bool:
    """Use a code up; False when it is used, replaced, expired or spent."""
    usable = (_c.id == code_id) & _c.used_at.is_(None) & _c.replaced_at.is_(None)
    fresh = usable & (_c.expires_at > now) & (_c.attempts < ATTEMPTS)
    return await changed(tx, update(delivery_codes).where(fresh).values(used_at=now))


async def count_attempt(tx: Tx, code_id: str) -> None:
    """Count a wrong attempt."""
    spent = update(delivery_codes).where(_c.id == code_id, _c.attempts < ATTEMPTS)
    await tx.execute(spent.values(attempts=_c.attempts + 1))
