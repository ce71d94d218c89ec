"""Commands for the scanner: written with the decision that needs them, done until they succeed."""

from __future__ import annotations

from dataclasses import dataclass

from sqlalchemy import func, select, update
from sqlalchemy.dialects.sqlite import insert

from marketplace.model import CommandKind
from marketplace.store.database import Tx
from marketplace.store.rows import many, one
from marketplace.store.tables import scanner_outbox

_o = scanner_outbox.c


@dataclass(frozen=True, slots=True, kw_only=True)
class ScannerCommand:
    """Something to tell the scanner."""

    id: int
    kind: CommandKind
    payment_id: str
    status: str
    attempts: int
    next_attempt_at: int
    last_error: str | None
    created_at: int
    done_at: int | None


async def add(tx: Tx, kind: CommandKind, payment_id: str, *, now: int, due: int | None = None) -> None:
    """Remember a command; the same one twice is one, which is done again."""
    again = {"status": "pending", "next_attempt_at": now if due is None else due, "attempts": 0, "done_at": None}
    kept = insert(scanner_outbox).values(kind=kind, payment_id=payment_id, created_at=now, **again)
    await tx.execute(kept.on_conflict_do_update(index_elements=[_o.kind, _o.payment_id], set_=again))


async def due(tx: Tx, now: int, limit: int) -> list[ScannerCommand]:
    """Return what may be tried now, oldest first."""
    waiting = (_o.status == "pending") & (_o.next_attempt_at <= now)
    return await many(tx, select(scanner_outbox).where(waiting).order_by(_o.id).limit(limit), ScannerCommand)


async def of_payment(tx: Tx, kind: CommandKind, payment_id: str) -> ScannerCommand | None:
    found = (_o.kind == kind) & (_o.payment_id == payment_id)
    return await one(tx, select(scanner_outbox).where(found), ScannerCommand)


async def finish(tx: Tx, errand_id: int, now: int, *, refused: str | None = None) -> None:
    """End a command: done, or refused for good."""
    status = "done" if refused is None else "refused"
    await tx.execute(
        update(scanner_outbox).where(_o.id == errand_id).values(status=status, last_error=refused, done_at=now)
    )


async def postpone(tx: Tx, command: ScannerCommand, until: int, error: str) -> None:
    """Try again later."""
    later = {"attempts": command.attempts + 1, "next_attempt_at": until, "last_error": error}
    await tx.execute(update(scanner_outbox).where(_o.id == command.id).values(**later))


async def backlog(tx: Tx) -> tuple[int, int | None]:
    """Return how many commands wait, and since when the oldest does."""
    row = (await tx.execute(select(func.count(), func.min(_o.created_at)).where(_o.status == "pending"))).one()
    return int(row[0]), row[1]
