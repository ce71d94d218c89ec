"""A store's one write lock, in the hands of somebody else."""

from __future__ import annotations

import asyncio
import sqlite3
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, closing
from pathlib import Path


@asynccontextmanager
async def write_lock(store: Path) -> AsyncIterator[None]:
    """
    Hold it until the block ends.

    It is waited for beside the event loop: a service of this process that is in the middle of a transaction
    must be able to end it meanwhile.
    """
    with closing(sqlite3.connect(store, isolation_level=None, timeout=60, check_same_thread=False)) as other:
        await asyncio.to_thread(other.execute, "BEGIN IMMEDIATE")
        try:
            yield
        finally:
            other.execute("ROLLBACK")
