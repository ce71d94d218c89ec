"""A store of either engine to measure, and a PostgreSQL as it runs where what is acknowledged lasts."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable
from contextlib import AbstractAsyncContextManager, asynccontextmanager

from bench.scan import store as sqlite_store
from kernel.store.database import Database
from kernel.store.postgresql import PostgresSettings, open_postgresql
from scanner.store.migrate import SCHEMA, migrate_postgresql
from tests import postgres

DURABLE = {"fsync": "on", "synchronous_commit": "on", "full_page_writes": "on", "shared_buffers": "256MB"}
SKIPPED = "no PostgreSQL on this machine"

OpenStore = Callable[[], AbstractAsyncContextManager[Database]]


def settings(url: str) -> PostgresSettings:
    return PostgresSettings(url=url, schema=SCHEMA, setting="DATABASE_URL")


def postgresql_store(server: postgres.Server) -> OpenStore:
    """Return what opens a fresh store on a server."""

    @asynccontextmanager
    async def opened() -> AsyncIterator[Database]:
        async with server.database() as url:
            await migrate_postgresql(settings(url))
            async with open_postgresql(settings(url)) as db:
                yield db

    return opened


@asynccontextmanager
async def engines() -> AsyncIterator[dict[str, OpenStore]]:
    """Give what opens a store of each engine there is on this machine."""
    found: dict[str, OpenStore] = {"SQLite": sqlite_store}
    if postgres.BINARIES is None:
        yield found
        return
    server = postgres.Server.start(DURABLE)
    try:
        yield found | {"PostgreSQL": postgresql_store(server)}
    finally:
        server.stop()
