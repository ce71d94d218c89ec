"""The part of `check` that reads the books: whether payments and the ledger of a stopped or running store agree."""

from __future__ import annotations

from pathlib import Path

from kernel.errors import StoreError
from kernel.store.postgresql import PostgresSettings
from kernel.store.postgresql_check import LONG_S
from marketplace.payments.reconciliation import Report, compared
from marketplace.store.database import open_shared, read_file

SHOWN = 100


async def of_file(path: Path) -> list[str]:
    """Return what a file's books contradict; it is read and never changed, be it a store or a backup."""
    try:
        async with read_file(path) as tx:
            return told(await compared(tx))
    except StoreError as exc:
        return [f"payments cannot be compared with the ledger: {exc}"]


async def of_database(settings: PostgresSettings) -> list[str]:
    """Return what the books of a store on PostgreSQL contradict; daemons may be running."""
    try:
        async with open_shared(settings) as db, db.read(statement_s=LONG_S) as tx:
            return told(await compared(tx))
    except StoreError as exc:
        return [f"payments cannot be compared with the ledger: {exc}"]


def told(report: Report) -> list[str]:
    """Return a report line by line, and no more lines than somebody reads."""
    lines = [f"{each.kind}: payment {each.payment_id}: {each.detail}" for each in report.findings[:SHOWN]]
    more = len(report.findings) - SHOWN
    return [*lines, f"and {more} findings more: GET /api/admin/reconciliation"] if more > 0 else lines
