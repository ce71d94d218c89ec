"""The marketplace's books as an auditor reads them: its API, and its tables without a hand on them."""

from __future__ import annotations

import sqlite3
from contextlib import closing
from pathlib import Path
from typing import Any

import aiohttp

from devnet.runner.journal import Journal
from devnet.runner.person import Line as Wire
from devnet.runner.person import Person
from devnet.runner.target import Target
from tests.chaos.market_facts import Line

PAGE = 100


class Books:
    """Of one marketplace."""

    def __init__(self, store: Path, target: Target, session: aiohttp.ClientSession) -> None:
        self._store = store
        self._target = target
        self._session = session

    def select(self, statement: str) -> list[tuple[Any, ...]]:
        if not self._store.exists():
            return []
        with closing(sqlite3.connect(f"file:{self._store}?mode=ro", uri=True, timeout=30)) as store:
            return store.execute(statement).fetchall()

    def ledger(self) -> tuple[Line, ...]:
        """Read the books as they are now."""
        lines = "SELECT id, entry_type, payment_id, token_address, amount_base FROM funds_ledger_entries ORDER BY id"
        return tuple(Line(i, e, p, t.lower(), int(a)) for i, e, p, t, a in self.select(lines))

    def done(self) -> list[tuple[Any, ...]]:
        """Read what was done and told. Native coin to pay out with is noticed in its own time."""
        told = "SELECT type, user_id, related_id, seq FROM notifications WHERE type != 'payment_recovery'"
        credited = "SELECT tx_hash, event_key, payment_id, amount FROM credited_transfers"
        return [*self.select(told), *self.select(credited), *((line,) for line in self.ledger())]

    def errands(self) -> int:
        return int(self.select("SELECT count(*) FROM scanner_outbox WHERE status = 'pending'")[0][0])

    async def admin(self, path: str) -> dict[str, Any]:
        target = self._target
        wire = Wire(target.marketplace_url, self._session, Journal(), target.patience_s)
        admin = Person(wire, target.admin_email, target.admin_password)
        await admin.login()
        return await admin.ok("read", "GET", path)

    async def pages(self, path: str, what: str) -> list[dict[str, Any]]:
        found: list[dict[str, Any]] = []
        page, total = 0, 1
        while page * PAGE < total:
            page += 1
            data = await self.admin(f"{path}&limit={PAGE}&page={page}")
            found += data[what]
            total = data["total"]
        return found
