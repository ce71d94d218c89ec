"""The marketplace's ledger as an auditor reads it: over the API, and from the tables, read-only."""

from __future__ import annotations

import sqlite3
from collections import Counter
from collections.abc import Awaitable, Callable
from contextlib import closing
from pathlib import Path
from typing import Any

import aiohttp
import orjson

from devnet.runner.http_client import HttpClient
from devnet.runner.journal import Journal
from devnet.runner.target import Target
from devnet.runner.user import User
from tests.chaos.market_facts import LedgerLine, MessageCount

PAGE = 100
Row = tuple[Any, ...]
HOUR_MS = 3_600_000


class MarketAudit:
    """Of one marketplace."""

    def __init__(
        self, select: Callable[[str], Awaitable[list[Row]]], target: Target, session: aiohttp.ClientSession
    ) -> None:
        self.select = select
        self._target = target
        self._session = session

    async def ledger(self) -> tuple[LedgerLine, ...]:
        """Read the ledger as it is now."""
        lines = "SELECT id, entry_type, payment_id, token_address, amount_base FROM funds_ledger_entries ORDER BY id"
        return tuple(LedgerLine(i, e, p, t.lower(), int(a)) for i, e, p, t, a in await self.select(lines))

    async def recorded_effects(self) -> list[tuple[Any, ...]]:
        """Read every effect and notification. Native coin to pay out with is noticed in its own time."""
        notified = "SELECT type, user_id, related_id, seq FROM notifications WHERE type != 'payment_recovery'"
        credited = "SELECT tx_hash, event_key, payment_id, amount FROM credited_transfers"
        return [
            *await self.select(notified),
            *await self.select(credited),
            *((line,) for line in await self.ledger()),
        ]

    async def notices(self) -> tuple[MessageCount, ...]:
        """Return how often each user received each notification."""
        notified = "SELECT user_id, type, coalesce(related_id, ''), count(*) FROM notifications GROUP BY 1, 2, 3"
        return tuple(MessageCount(*row) for row in await self.select(notified))

    async def events(self) -> tuple[MessageCount, ...]:
        """Return how often the marketplace received each event of an intent, by the reason."""
        times: Counter[tuple[str, str]] = Counter()
        for kind, payment_id, body in await self.select("SELECT event_type, payment_id, body FROM webhook_inbox"):
            times[f"{kind} {orjson.loads(body).get('reason')}", payment_id] += 1
        return tuple(MessageCount("the marketplace", what, about, count) for (what, about), count in times.items())

    async def coin(self) -> Counter[str]:
        """Return how much coin waits for a person, by destination."""
        listed = (
            "SELECT p.destination, r.amount_base FROM recoveries r JOIN payments p ON p.id = r.payment_id"
            " WHERE r.reason = 'wrong_asset' AND r.tx_hash IS NULL"
        )
        found: Counter[str] = Counter()
        for destination, amount in await self.select(listed):
            found[destination.lower()] += int(amount)
        return found

    async def withheld(self, scanner: Path, now_ms: int) -> int:
        """Return how many summaries the scanner withholds, and how many notifications are due."""
        due = f"SELECT count(*) FROM notice_counts WHERE held_back > 0 AND told_at <= {now_ms - HOUR_MS}"  # noqa: S608 - a number
        waiting = select(scanner, "SELECT count(*) FROM summaries WHERE waiting > 0")
        return int(waiting[0][0]) + int((await self.select(due))[0][0])

    async def pending_commands(self) -> int:
        return int((await self.select("SELECT count(*) FROM scanner_outbox WHERE status = 'pending'"))[0][0])

    async def admin(self, path: str, method: str = "GET", body: Any = None) -> dict[str, Any]:
        target = self._target
        http = HttpClient(target.marketplace_url, self._session, Journal(), target.max_downtime_s)
        admin = User(http, target.admin_email, target.admin_password)
        await admin.login()
        return await admin.ok("ask", method, path, body)

    async def pages(self, path: str, what: str) -> list[dict[str, Any]]:
        found: list[dict[str, Any]] = []
        page, total = 0, 1
        while page * PAGE < total:
            page += 1
            data = await self.admin(f"{path}&limit={PAGE}&page={page}")
            found += data[what]
            total = data["total"]
        return found


def of_file(path: Path) -> Callable[[str], Awaitable[list[Row]]]:
    """Return what asks a store that is a file."""

    async def ask(statement: str) -> list[Row]:
        return select(path, statement)

    return ask


def select(path: Path, statement: str) -> list[tuple[Any, ...]]:
    if not path.exists():
        return []
    with closing(sqlite3.connect(f"file:{path}?mode=ro", uri=True, timeout=30)) as store:
        return store.execute(statement).fetchall()
