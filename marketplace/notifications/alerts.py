"""What admins are told by themselves, in the category `alert`: that the books contradict each other."""

from __future__ import annotations

import logging

from kernel.clock import HOUR_MS
from marketplace.model import Role
from marketplace.payments.reconciliation import Reconciliation
from marketplace.unit_of_work import UnitOfWorkFactory

log = logging.getLogger(__name__)


class BookWatch:
    """Compares payments with the ledger once an hour."""

    def __init__(self, units: UnitOfWorkFactory, reconciliation: Reconciliation) -> None:
        self._units = units
        self._reconciliation = reconciliation
        self._looked_ms: int | None = None

    async def once(self) -> None:
        """Look, where the last time is an hour ago, and tell every admin of what was found."""
        now = self._units.clock.elapsed_ms()
        if self._looked_ms is not None and now - self._looked_ms < HOUR_MS:
            return
        self._looked_ms = now
        report = await self._reconciliation.report()
        if report.ok:
            return
        title = f"Payments and the ledger contradict each other: {len(report.findings)} findings"
        log.error("[books] %d findings of the reconciliation", len(report.findings))
        async with self._units.begin(None) as work:
            admins = await work.people(Role.ADMIN)
            where = {"about": "reconciliation", "url": "/reconciliation", "key": "reconciliation_finding"}
            await work.notify_seldom(admins, "alert", "reconciliation_finding", title, **where)
