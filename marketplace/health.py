"""How the backend is: each part asked within a time of its own."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass, field
from typing import Literal

from clients.python.amn_scanner_client import ScannerClient, ScannerError
from marketplace.catalog import Catalog
from marketplace.networks import differences
from marketplace.payments.reconciliation import Reconciliation
from marketplace.pricing.quoting import Quoting
from marketplace.risk.screening import OfacScreener
from marketplace.store import inbox, outbox
from marketplace.store.errors import StoreError
from marketplace.unit_of_work import UnitOfWorkFactory
from protocol.wire import rfc3339

log = logging.getLogger(__name__)

BOX_S = 3.0
STUCK_MS = 10 * 60_000
RECONCILE_MS = 60_000

State = Literal["ok", "degraded", "down"]


@dataclass(frozen=True, slots=True)
class Check:
    """How one part is, in a word and a sentence."""

    status: State
    detail: str | None = None
    facts: Mapping[str, int] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Health:
    """How everything is."""

    status: State
    uptime_s: int
    checks: dict[str, Check]


class HealthChecks:
    """Asks every part; only a store that does not answer makes the whole thing down."""

    def __init__(
        self,
        units: UnitOfWorkFactory,
        scanner: ScannerClient,
        catalog: Catalog,
        reconciliation: Reconciliation,
        *,
        quoting: Quoting,
        screener: OfacScreener | None,
        verifies_webhooks: bool,
    ) -> None:
        self._units = units
        self._scanner = scanner
        self._catalog = catalog
        self._reconciliation = reconciliation
        self._quoting = quoting
        self._screener = screener
        self._verifies_webhooks = verifies_webhooks
        self._started = units.clock.elapsed_ms()
        self._reconciled: tuple[int, Check] | None = None

    async def report(self) -> Health:
        parts: dict[str, Callable[[], Awaitable[Check]]] = {
            "db": self._db,
            "scanner": self._scanner_ready,
            "webhooks": self._webhooks,
            "ledger": self._ledger,
            "registry": self._registry,
            "screening": self._screening,
        }
        if self._quoting.has_sources:
            parts["prices"] = self._prices
        found = await asyncio.gather(*(_boxed(ask) for ask in parts.values()))
        checks = dict(zip(parts, found, strict=True))
        if checks["db"].status != "ok":
            checks["db"] = Check("down", checks["db"].detail)
        states = {check.status for check in checks.values()}
        overall: State = "down" if "down" in states else "degraded" if "degraded" in states else "ok"
        return Health(overall, (self._units.clock.elapsed_ms() - self._started) // 1000, checks)

    async def _db(self) -> Check:
        async with self._units.db.read() as tx:
            await outbox.backlog(tx)
        return Check("ok")

    async def _scanner_ready(self) -> Check:
        readiness = await self._scanner.ready()
        return Check("ok") if readiness.is_ready else Check("degraded", "; ".join(readiness.reasons))

    async def _webhooks(self) -> Check:
        """Webhooks can be verified, and what we owe the scanner is not stuck."""
        if not self._verifies_webhooks:
            return Check("degraded", "AMN_SCANNER_WEBHOOK_SECRET is not set")
        async with self._units.db.read() as tx:
            waiting, oldest = await outbox.backlog(tx)
            latest = await inbox.latest_received_at(tx)
        if oldest is not None and self._units.clock.now_ms() - oldest > STUCK_MS:
            return Check("degraded", f"{waiting} commands wait for the scanner")
        return Check("ok", None if latest is None else f"last one received at {rfc3339(latest)}")

    async def _ledger(self) -> Check:
        """Reconcile, at most once in a while: whoever watches over us asks more often than that is worth."""
        now = self._units.clock.elapsed_ms()
        if self._reconciled is None or now - self._reconciled[0] >= RECONCILE_MS:
            report = await self._reconciliation.report()
            found = f"{len(report.findings)} findings: see reconciliation"
            self._reconciled = (now, Check("ok") if report.ok else Check("degraded", found))
        return self._reconciled[1]

    async def _screening(self) -> Check:
        """The sanctions list was read whole, and not too long ago; without one nobody is screened."""
        if self._screener is None:
            return Check("ok", "no sanctions list is configured", {"entries": 0, "unreadable": 0})
        status = self._screener.status
        facts = {"entries": status.addresses, "unreadable": status.unreadable}
        if status.error is not None:
            return Check("degraded", f"the sanctions list cannot be read: {status.error}", facts)
        if status.stale:
            return Check("degraded", "the sanctions list is too old to clear anybody", facts)
        if status.unreadable:
            return Check("degraded", f"{status.unreadable} entries of the sanctions list cannot be read", facts)
        return Check("ok", None, facts)

    async def _prices(self) -> Check:
        """Everything that sources are configured for has a price."""
        wrong = await self._quoting.troubles()
        return Check("degraded", "; ".join(wrong)) if wrong else Check("ok")

    async def _registry(self) -> Check:
        """The chains the scanner watches are ours too, of the same families and with the same tokens."""
        wrong = [found for status in await self._scanner.status() for found in differences(self._catalog, status)]
        return Check("degraded", "; ".join(wrong)) if wrong else Check("ok")


async def _boxed(ask: Callable[[], Awaitable[Check]]) -> Check:
    try:
        async with asyncio.timeout(BOX_S):
            return await ask()
    except TimeoutError:
        return Check("degraded", f"no answer within {BOX_S:g} s")
    except (ScannerError, StoreError) as exc:
        return Check("degraded", str(exc))
