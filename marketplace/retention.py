"""Forgets what is old, in small steps between other work."""

from __future__ import annotations

import logging
from collections.abc import Awaitable, Callable
from dataclasses import dataclass

from kernel.clock import DAY_MS
from marketplace.store import messages, retention
from marketplace.store.database import Tx
from marketplace.unit_of_work import UnitOfWorkFactory

log = logging.getLogger(__name__)

STEP = 200  # rows in one transaction: nobody waits long for the store
STEPS = 20  # of one kind at a time; the rest has until the next sweep


@dataclass(frozen=True, slots=True, kw_only=True)
class Keeping:
    """For how many days; 0 is for ever."""

    events: float
    unmatched: float
    payments: float
    notifications: float


class Retention:
    """Prunes webhooks, commands, unwanted tokens, notifications, and payments that ended unpaid; no ledger line."""

    def __init__(self, units: UnitOfWorkFactory, keeping: Keeping) -> None:
        self._units = units
        self._keeping = keeping

    async def once(self) -> dict[str, int]:
        """Prune what is due; return how many rows of each kind went."""
        kinds: dict[str, tuple[float, Callable[[Tx, int, int], Awaitable[int]]]] = {
            "events": (self._keeping.events, retention.prune_events),
            "unmatched": (self._keeping.unmatched, retention.prune_unmatched),
            "payments": (self._keeping.payments, retention.prune_payments),
            "messages": (self._keeping.events, messages.prune),
            "notifications": (self._keeping.notifications, retention.prune_notifications),
        }
        gone = {name: await self._prune(days, prune) for name, (days, prune) in kinds.items() if days > 0}
        for name, count in gone.items():
            if count:
                log.info("[retention] %d rows of %s were old enough to go", count, name)
        return gone

    async def _prune(self, days: float, prune: Callable[[Tx, int, int], Awaitable[int]]) -> int:
        total = 0
        for _ in range(STEPS):
            async with self._units.begin(None) as work:
                gone = await prune(work.tx, work.now - int(days * DAY_MS), STEP)
            total += gone
            if gone < STEP:
                break
        return total
