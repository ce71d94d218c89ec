"""
Up to which number every row is there.

On PostgreSQL a row's number is taken before it is committed: a slow transaction fills a hole that was read past.
Whoever follows numbers reads up to the last one that was taken before every transaction that still runs had begun.
"""

from __future__ import annotations

import asyncio

from kernel.store.database import Database

PATIENCE_S = 1.0  # for the transactions that run when somebody asks
STEP_S = 0.02
EVERYTHING = 2**63 - 1


class Horizon:
    """Tells up to which number the rows of a table are all there."""

    def __init__(self, db: Database, table: str, column: str) -> None:
        self._db = db if db.shared else None  # where one writes at a time there are no holes
        self._sequence = f"{table}_{column}_seq"
        self._known = 0
        self._marked: tuple[int, int] | None = None  # a number, and the transaction that began after it was taken

    async def settled(self, *, patience_s: float = PATIENCE_S) -> int:
        """
        Return the number up to which nothing will appear any more.

        Waits a moment for the transactions that are under way; when one takes longer, the answer is an earlier one.
        """
        if self._db is None:
            return EVERYTHING
        if self._marked is None and await self._last(self._db) == self._known:
            return self._known  # nobody has taken a number since: a quiet poll begins no transaction
        loop = asyncio.get_running_loop()
        until = loop.time() + patience_s
        if self._marked is None or patience_s >= PATIENCE_S:  # who waits wants to see what was there when he asked
            self._marked = await self._mark(self._db)
        taken, mark = self._marked
        while not await _is_over(self._db, mark):
            if loop.time() >= until:
                return self._known
            await asyncio.sleep(STEP_S)
        self._known, self._marked = max(self._known, taken), None
        return self._known

    async def _last(self, db: Database) -> int:
        last = f"SELECT CASE WHEN is_called THEN last_value ELSE 0 END FROM {self._sequence}"  # noqa: S608
        async with db.read() as tx:
            return int((await tx.exec_driver_sql(last)).scalar_one())

    async def _mark(self, db: Database) -> tuple[int, int]:
        taken = await self._last(db)
        # Begun after: whoever took one of those numbers has an earlier one of its own.
        async with db.write() as tx:
            return taken, int((await tx.exec_driver_sql("SELECT pg_current_xact_id()::text")).scalar_one())


async def _is_over(db: Database, number: int) -> bool:
    """Say whether every transaction before a number has ended."""
    async with db.read() as tx:
        oldest = await tx.exec_driver_sql("SELECT pg_snapshot_xmin(pg_current_snapshot())::text")
        return int(oldest.scalar_one()) >= number
