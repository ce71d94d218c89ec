"""Commands for the scanner: written with the decision that needs them, done until they succeed."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from sqlalchemy import ColumnElement, func, select, update

from kernel.store.dialects import upsert
from marketplace.model import CommandKind
from marketplace.store.database import Tx
from marketplace.store.rows import changed, many, one
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
    claim: str | None  # of whoever does it now, where several could
    claimed_until: int | None


async def add(tx: Tx, kind: CommandKind, payment_id: str, *, now: int, due: int | None = None) -> None:
    """Remember a command; the same one twice is one, which is done again."""
    again = {"status": "pending", "next_attempt_at": now if due is None else due, "attempts": 0, "done_at": None}
    again["claim"] = again["claimed_until"] = None  # whoever does it now has not seen what is asked for now
    kept = upsert(scanner_outbox).values(kind=kind, payment_id=payment_id, created_at=now, **again)
    await tx.execute(kept.on_conflict_do_update(index_elements=[_o.kind, _o.payment_id], set_=again))


async def due(tx: Tx, now: int, limit: int) -> list[ScannerCommand]:
    """Return what may be tried now, oldest first."""
    return await many(tx, select(scanner_outbox).where(*_due(now)).order_by(_o.id).limit(limit), ScannerCommand)


def _free(now: int) -> ColumnElement[bool]:
    return _o.claim.is_(None) | (_o.claimed_until <= now)


def _due(now: int) -> tuple[ColumnElement[bool], ...]:
    return (_o.status == "pending", _o.next_attempt_at <= now, _free(now))


async def claim_due(tx: Tx, token: str, now: int, until: int, limit: int) -> list[ScannerCommand]:
    """Take what may be tried now, oldest first, until a time; what another process is taking is left to it."""
    free = select(_o.id).where(*_due(now)).order_by(_o.id).limit(limit).with_for_update(skip_locked=True)
    return await _claim(tx, list((await tx.execute(free)).scalars()), token, until)


async def claim_of_payment(
    tx: Tx, kind: CommandKind, payment_id: str, token: str, now: int, until: int
) -> ScannerCommand | None:
    """Take one command, due or not; None when there is none to do, or another process does it."""
    mine = select(_o.id).where(_o.kind == kind, _o.payment_id == payment_id, _o.status == "pending", _free(now))
    found = list((await tx.execute(mine.with_for_update(skip_locked=True))).scalars())
    return next(iter(await _claim(tx, found, token, until)), None)


async def _claim(tx: Tx, ids: Sequence[int], token: str, until: int) -> list[ScannerCommand]:
    if not ids:
        return []
    await tx.execute(update(scanner_outbox).where(_o.id.in_(ids)).values(claim=token, claimed_until=until))
    return await many(tx, select(scanner_outbox).where(_o.id.in_(ids)).order_by(_o.id), ScannerCommand)


async def of_payment(tx: Tx, kind: CommandKind, payment_id: str) -> ScannerCommand | None:
    found = (_o.kind == kind) & (_o.payment_id == payment_id)
    return await one(tx, select(scanner_outbox).where(found), ScannerCommand)


async def finish(tx: Tx, command: ScannerCommand, now: int, *, refused: str | None = None) -> bool:
    """End a command: done, or refused for good; False when it is another's by now, or was asked for again."""
    status = "done" if refused is None else "refused"
    ended = {"status": status, "last_error": refused, "done_at": now, "claim": None, "claimed_until": None}
    return await changed(tx, update(scanner_outbox).where(*_ours(command)).values(**ended))


def _ours(command: ScannerCommand) -> tuple[ColumnElement[bool], ...]:
    """What is written of a command by whoever lost it would be about another attempt."""
    return (_o.id == command.id, _o.claim.is_not_distinct_from(command.claim))


async def postpone(tx: Tx, command: ScannerCommand, until: int, error: str) -> None:
    """Try again later."""
    later = {"attempts": command.attempts + 1, "next_attempt_at": until, "last_error": error}
    await changed(tx, update(scanner_outbox).where(*_ours(command)).values(**later, claim=None, claimed_until=None))


async def backlog(tx: Tx) -> tuple[int, int | None]:
    """Return how many commands wait, and since when the oldest does."""
    row = (await tx.execute(select(func.count(), func.min(_o.created_at)).where(_o.status == "pending"))).one()
    return int(row[0]), row[1]
