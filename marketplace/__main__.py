"""`amn-marketplace`, or `python -m marketplace`: arguments, settings and exit codes, nothing else."""

from __future__ import annotations

import asyncio
import logging
import os
import sys
from collections.abc import Sequence
from pathlib import Path

from kernel.errors import ConfigError, StoreError
from kernel.logging import configure
from kernel.process import (
    copy_to_database,
    died,
    maintain,
    maintain_database,
    opened_unless,
    parser,
    refused,
    stop_on_signal,
)
from kernel.store.files import private_from_now_on
from kernel.store.postgresql import PostgresSettings
from kernel.supervisor import READY, tell_supervisor
from marketplace import VERSION, checkup
from marketplace.app import open_marketplace
from marketplace.settings import Settings, load_settings
from marketplace.store import maintenance
from marketplace.store.migrate import migrate_postgresql, postgres_settings

log = logging.getLogger("marketplace")


async def serve(settings: Settings) -> None:
    """Run the backend until it is told to stop."""
    stop = asyncio.Event()
    with stop_on_signal(stop, log):
        async with opened_unless(stop, open_marketplace(settings)) as marketplace:
            if marketplace is not None:
                if settings.scanner.webhook_secret is None:
                    log.warning("[marketplace] AMN_SCANNER_WEBHOOK_SECRET is not set: no payment can be confirmed")
                marketplace.listening.add_done_callback(lambda _: tell_supervisor(READY, os.environ))
                await marketplace.run(stop)
    log.info("[marketplace] stopped")


def database_of(settings: Settings) -> PostgresSettings | None:
    """Return where the store is on PostgreSQL; None where it is a file."""
    return None if settings.database_url is None else postgres_settings(settings.database_url, "maintenance")


def copy(settings: Settings) -> int:
    """Move the rows of the file to the database, and return the exit code."""
    database, given = database_of(settings), settings.sealing
    if database is None or given.current is None:
        raise ConfigError(
            "MARKETPLACE_DATABASE_URL and MARKETPLACE_SECRET_KEY: must be set to copy the file's rows there"
        )
    kind, copied = maintenance.KIND, maintenance.COPIED
    return copy_to_database(kind, copied, settings.db_path, database, given, migrate_postgresql)


def main(arguments: Sequence[str] | None = None) -> int:
    """Do what was asked, on the command line if not here, with the environment's settings; return the exit code."""
    asked = parser("marketplace", VERSION, copies=True).parse_args(arguments)
    private_from_now_on()
    try:
        settings = load_settings(os.environ, env_file=Path(".env"), both_stores=asked.command == "copy")
        if asked.command == "copy":
            return copy(settings)
        database = database_of(settings)
        if database is not None and asked.command is not None and not (asked.command == "check" and asked.path):
            return maintain_database(asked, maintenance.KIND, database, settings.sealing, checkup.of_database)
        if asked.command is not None:
            return maintain(asked, maintenance.KIND, settings.db_path, settings.sealing, checkup.of_file)
        configure(level=settings.log_level, form=settings.log_format)
        asyncio.run(serve(settings))
    except (ConfigError, StoreError) as exc:
        return refused(exc, serving=asked.command is None)
    except BaseExceptionGroup as group:
        return died(group, log, "MARKETPLACE_PORT/MARKETPLACE_HOST")
    return 0


if __name__ == "__main__":
    sys.exit(main())
