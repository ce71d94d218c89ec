"""Disputes and what their parties say."""

from __future__ import annotations

import uuid
from dataclasses import asdict, dataclass

from sqlalchemy import insert, select, update

from marketplace.model import Dispute, DisputeOutcome, DisputeStatus, Page
from marketplace.store.database import Tx
from marketplace.store.rows import changed, many, one, paged
from marketplace.store.tables import dispute_evidence, disputes

_d = disputes.c


@dataclass(frozen=True, slots=True, kw_only=True)
class Ruling:
    """How a dispute ends; `buyer_bps` of a split is the buyer's share."""

    outcome: DisputeOutcome
    note: str
    buyer_bps: int | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Evidence:
    """What one party says."""

    id: str
    dispute_id: str
    by_user_id: str
    text: str
    link: str | None
    created_at: int


async def add(tx: Tx, dispute: Dispute) -> None:
    await tx.execute(insert(disputes).values(**asdict(dispute)))


async def get(tx: Tx, dispute_id: str) -> Dispute | None:
    return await one(tx, select(disputes).where(_d.id == dispute_id), Dispute)


async def open_of(tx: Tx, payment_id: str) -> Dispute | None:
    """Return the open dispute about a payment."""
    opened = (_d.payment_id == payment_id) & (_d.status == DisputeStatus.OPEN)
    return await one(tx, select(disputes).where(opened), Dispute)


async def listing(
    tx: Tx, page: Page, *, status: DisputeStatus | None, assigned_to: str | None
) -> tuple[list[Dispute], int]:
    """Return one page of disputes, newest first."""
    found = select(disputes).order_by(_d.created_at.desc(), _d.id)
    if status is not None:
        found = found.where(_d.status == status)
    if assigned_to is not None:
        found = found.where(_d.assigned_to == assigned_to)
    return await paged(tx, found, Dispute, page)


async def assign(tx: Tx, dispute_id: str, user_id: str | None) -> None:
    await tx.execute(update(disputes).where(_d.id == dispute_id).values(assigned_to=user_id))


async def resolve(tx: Tx, dispute_id: str, ruling: Ruling, user_id: str, now: int) -> bool:
    """End an open dispute; False when it was ended before."""
    opened = update(disputes).where(_d.id == dispute_id, _d.status == DisputeStatus.OPEN)
    ended = {"status": DisputeStatus.RESOLVED, **asdict(ruling)}
    return await changed(tx, opened.values(**ended, resolved_by=user_id, resolved_at=now))


async def splits(tx: Tx) -> dict[str, int]:
    """Return the buyer's share in basis points of every payment that a dispute split."""
    found = await tx.execute(select(_d.payment_id, _d.buyer_bps).where(_d.outcome == DisputeOutcome.SPLIT))
    return {row.payment_id: int(row.buyer_bps) for row in found}


async def add_evidence(tx: Tx, dispute_id: str, user_id: str, text: str, link: str | None, now: int) -> None:
    row = {"id": str(uuid.uuid4()), "dispute_id": dispute_id, "by_user_id": user_id, "text": text, "link": link}
    await tx.execute(insert(dispute_evidence).values(**row, created_at=now))


async def evidence(tx: Tx, dispute_id: str) -> list[Evidence]:
    """Return what was said, first first."""
    e = dispute_evidence.c
    said = select(dispute_evidence).where(e.dispute_id == dispute_id).order_by(e.created_at, e.id)
    return await many(tx, said, Evidence)
