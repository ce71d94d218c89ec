"""Disputes and what their parties say."""

from __future__ import annotations

import uuid
from dataclasses import asdict, dataclass

from sqlalchemy import ColumnElement, func, insert, or_, select, update

from marketplace.model import Dispute, DisputeOutcome, DisputeStatus, Page
from marketplace.store.database import Tx
from marketplace.store.rows import changed, many, one, paged
from marketplace.store.tables import dispute_evidence, disputes, payments

_d = disputes.c
_p = payments.c


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


@dataclass(frozen=True, slots=True, kw_only=True)
class Filter:
    """Which disputes are looked for; what is None does not matter."""

    status: DisputeStatus | None = None
    outcome: DisputeOutcome | None = None
    assigned_to: str | None = None
    unassigned: bool | None = None
    overdue: bool | None = None
    purchase_request_id: str | None = None
    side: str | None = None  # whose: the buyer's or the seller's


async def listing(tx: Tx, page: Page, wanted: Filter, now: int) -> tuple[list[Dispute], int]:
    """Return one page of disputes, newest first."""
    late = (_d.status == DisputeStatus.OPEN) & (_d.due_at <= now)
    theirs = select(_p.id).where(or_(_p.buyer_id == wanted.side, _p.seller_id == wanted.side))
    conditions = [
        (wanted.status, _d.status == wanted.status),
        (wanted.outcome, _d.outcome == wanted.outcome),
        (wanted.assigned_to, _d.assigned_to == wanted.assigned_to),
        (wanted.unassigned, _d.assigned_to.is_(None) if wanted.unassigned else _d.assigned_to.is_not(None)),
        (wanted.overdue, late if wanted.overdue else ~late),
        (wanted.purchase_request_id, _d.purchase_request_id == wanted.purchase_request_id),
        (wanted.side, _d.payment_id.in_(theirs)),
    ]
    found = select(disputes).where(*(condition for given, condition in conditions if given is not None))
    return await paged(tx, found.order_by(_d.created_at.desc(), _d.id), Dispute, page)


async def assign(tx: Tx, dispute_id: str, user_id: str | None, *, before: str | None) -> bool:
    """Give an open dispute to somebody; False when it is another's than was thought, or resolved."""
    theirs = (_d.id == dispute_id) & (_d.status == DisputeStatus.OPEN) & _d.assigned_to.is_not_distinct_from(before)
    return await changed(tx, update(disputes).where(theirs).values(assigned_to=user_id))


async def move_deadline(tx: Tx, dispute_id: str, due_at: int) -> bool:
    """Set another deadline of an open dispute; False when it is resolved."""
    opened = update(disputes).where(_d.id == dispute_id, _d.status == DisputeStatus.OPEN)
    return await changed(tx, opened.values(due_at=due_at, overdue_told_at=None))


def _untold(now: int) -> ColumnElement[bool]:
    return (_d.status == DisputeStatus.OPEN) & (_d.due_at <= now) & _d.overdue_told_at.is_(None)


async def overdue(tx: Tx, now: int, limit: int) -> list[Dispute]:
    """Return open disputes past their deadline that nobody was told of, the longest overdue first."""
    return await many(tx, select(disputes).where(_untold(now)).order_by(_d.due_at, _d.id).limit(limit), Dispute)


async def note_overdue(tx: Tx, dispute_id: str, now: int) -> bool:
    """Note that everybody is told; False when that is not to be told any more."""
    late = update(disputes).where(_d.id == dispute_id, _untold(now))
    return await changed(tx, late.values(overdue_told_at=now))


async def resolve(tx: Tx, dispute_id: str, ruling: Ruling, user_id: str, now: int) -> bool:
    """End an open dispute; False when it was ended before."""
    opened = update(disputes).where(_d.id == dispute_id, _d.status == DisputeStatus.OPEN)
    ended = {"status": DisputeStatus.RESOLVED, **asdict(ruling)}
    return await changed(tx, opened.values(**ended, resolved_by=user_id, resolved_at=now))


async def share_of_split(tx: Tx, payment_id: str) -> int | None:
    """Return the buyer's share in basis points of a payment that a dispute split; None of any other."""
    split = (_d.payment_id == payment_id) & (_d.outcome == DisputeOutcome.SPLIT)
    return (await tx.execute(select(_d.buyer_bps).where(split))).scalar_one_or_none()


async def splits(tx: Tx) -> dict[str, int]:
    """Return the buyer's share in basis points of every payment that a dispute split."""
    found = await tx.execute(select(_d.payment_id, _d.buyer_bps).where(_d.outcome == DisputeOutcome.SPLIT))
    return {row.payment_id: int(row.buyer_bps) for row in found}


async def add_evidence(tx: Tx, dispute_id: str, user_id: str, text: str, link: str | None, now: int) -> None:
    row = {"id": str(uuid.uuid4()), "dispute_id": dispute_id, "by_user_id": user_id, "text": text, "link": link}
    await tx.execute(insert(dispute_evidence).values(**row, created_at=now))


async def count_evidence(tx: Tx, dispute_id: str, user_id: str) -> int:
    """Return how often one person said something."""
    e = dispute_evidence.c
    theirs = select(func.count()).select_from(dispute_evidence)
    return int((await tx.execute(theirs.where(e.dispute_id == dispute_id, e.by_user_id == user_id))).scalar_one())


async def evidence(tx: Tx, dispute_id: str) -> list[Evidence]:
    """Return what was said, first first."""
    e = dispute_evidence.c
    said = select(dispute_evidence).where(e.dispute_id == dispute_id).order_by(e.created_at, e.id)
    return await many(tx, said, Evidence)
