"""How much there is of what: counted for metrics."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from sqlalchemy import Select, Table, func, select

from marketplace.model import Direction, DisputeStatus, PaymentStatus
from marketplace.store.database import Tx
from marketplace.store.inbox import IS_UNREAD
from marketplace.store.tables import disputes, payments, scanner_outbox, users, webhook_inbox

_p = payments.c


@dataclass(frozen=True, slots=True, kw_only=True)
class Figures:
    """What one look counted; `oldest_command_at` in unix milliseconds, None where nothing waits."""

    payments: Mapping[PaymentStatus, int]  # pay-ins
    held: int
    instructions: int
    commands: int
    oldest_command_at: int | None
    unread_webhooks: int
    disputes: int
    suspended: int


async def count(tx: Tx) -> Figures:
    """Count everything once."""
    paid_in = select(_p.status, func.count()).where(_p.direction == Direction.IN).group_by(_p.status)
    by_status = {PaymentStatus(status): number for status, number in await tx.execute(paid_in)}
    waiting = scanner_outbox.c.status == "pending"
    oldest = select(func.min(scanner_outbox.c.created_at)).where(waiting)
    sent_out = (_p.direction != Direction.IN) & (_p.status == PaymentStatus.PENDING)
    return Figures(
        payments={status: by_status.get(status, 0) for status in PaymentStatus},
        held=await _number(tx, _rows(payments).where(_p.direction == Direction.IN, _p.hold_reason.is_not(None))),
        instructions=await _number(tx, _rows(payments).where(sent_out)),
        commands=await _number(tx, _rows(scanner_outbox).where(waiting)),
        oldest_command_at=(await tx.execute(oldest)).scalar_one(),
        unread_webhooks=await _number(tx, _rows(webhook_inbox).where(IS_UNREAD)),
        disputes=await _number(tx, _rows(disputes).where(disputes.c.status == DisputeStatus.OPEN)),
        suspended=await _number(tx, _rows(users).where(users.c.suspended_at.is_not(None))),
    )


def _rows(table: Table) -> Select[Any]:
    return select(func.count()).select_from(table)


async def _number(tx: Tx, asked: Select[Any]) -> int:
    return int((await tx.execute(asked)).scalar_one())
