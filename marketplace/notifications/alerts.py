"""What admins are told by themselves, in the category `alert`: of the books, and of webhooks that never arrived."""

from __future__ import annotations

import logging

from clients.python.amn_scanner_client import ScannerClient, ScannerRefused, ScannerUnavailable
from kernel.clock import HOUR_MS
from marketplace.model import Role
from marketplace.payments.reconciliation import Reconciliation
from marketplace.store import payments
from marketplace.unit_of_work import UnitOfWorkFactory

log = logging.getLogger(__name__)

MAX_PAGES = 5  # of a hundred webhooks each
ID_CHARS = 36  # of a payment, with which the name of its watch begins


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


class WebhookWatch:
    """Asks the scanner once an hour which webhooks about our payments it has given up: nobody else would tell."""

    def __init__(self, units: UnitOfWorkFactory, scanner: ScannerClient) -> None:
        self._units = units
        self._scanner = scanner
        self._looked_ms: int | None = None

    async def once(self) -> None:
        """Look, where the last time is an hour ago, and tell every admin how many there are."""
        now = self._units.clock.elapsed_ms()
        if self._looked_ms is not None and now - self._looked_ms < HOUR_MS:
            return
        try:
            found = await self._given_up()
        except (ScannerUnavailable, ScannerRefused) as exc:
            log.debug("[webhook] the scanner does not say what it has given up: %s", exc)  # asked again at once
            return
        self._looked_ms = now
        if not found:
            return
        log.warning("[webhook] the scanner has given up %d webhooks about payments here", found)
        title = f"The scanner has given up {found} webhooks about payments here: send them again (docs/operations.md)"
        async with self._units.begin(None) as work:
            admins = await work.people(Role.ADMIN)
            where = {"about": "webhooks", "url": "/", "key": "webhook_given_up"}
            await work.notify_seldom(admins, "alert", "webhook_given_up", title, **where)

    async def _given_up(self) -> int:
        """Return how many of them there are; a scanner may have other backends."""
        found, cursor = 0, None
        for _ in range(MAX_PAGES):
            page = await self._scanner.webhooks(status="failed", cursor=cursor)
            about = [each.subject_id[:ID_CHARS] for each in page.webhooks]
            async with self._units.db.read() as tx:
                ours = await payments.by_ids(tx, set(about))
            found += sum(payment_id in ours for payment_id in about)
            cursor = page.next_cursor
            if cursor is None:
                break
        return found
