"""`amn-scanner`, or `python -m scanner`: arguments, settings and exit codes, nothing else."""

from __future__ import annotations

import argparse
import asyncio
import logging
import os
import sys
from collections.abc import Sequence
from pathlib import Path

from config.settings import Settings, load_settings
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
from kernel.supervisor import READY, tell_supervisor
from kernel.tasks.gc import tune_gc
from scanner import commands
from scanner.app import database_of, open_daemon
from scanner.store import maintenance
from scanner.store.migrate import migrate_postgresql
from scanner.version import VERSION

log = logging.getLogger("scanner")


async def serve(settings: Settings) -> None:
    """Run the daemon until it is told to stop."""
    stop = asyncio.Event()
    with stop_on_signal(stop, log):
        async with opened_unless(stop, open_daemon(settings)) as daemon:
            if daemon is not None:
                if not settings.http.api_keys:
                    log.warning("[scanner] SCANNER_API_KEY is not set: this machine alone is answered (local use)")
                daemon.listening.add_done_callback(lambda _: tell_supervisor(READY, os.environ))
                await daemon.run(stop)
    log.info("[scanner] stopped")


def copy(settings: Settings) -> int:
    """Move the rows of the file to the database, and return the exit code."""
    database = database_of(settings)
    if database is None or settings.sealing.current is None:
        raise ConfigError("DATABASE_URL and SCANNER_SECRET_KEY: must be set to copy the file's rows there")
    store, given = settings.store.path, settings.sealing
    return copy_to_database(maintenance.KIND, maintenance.COPIED, store, database, given, migrate_postgresql)


def main(arguments: Sequence[str] | None = None) -> int:
    """Do what was asked, on the command line if not here, with the environment's settings; return the exit code."""
    asked = parser("scanner", VERSION, commands.add_commands, copies=True).parse_args(arguments)
    private_from_now_on()
    try:
        return commands.run(asked, os.environ) if commands.is_ours(asked.command) else _with_the_store(asked)
    except (ConfigError, StoreError) as exc:
        return refused(exc, serving=asked.command is None)
    except BaseExceptionGroup as group:
        return died(group, log, "PORT/HOST")


def _with_the_store(asked: argparse.Namespace) -> int:
    """Run the daemon, or do something with its store."""
    settings = load_settings(os.environ, env_file=Path(".env"), both_stores=asked.command == "copy")
    if asked.command == "copy":
        return copy(settings)
    database = database_of(settings)
    if database is not None and asked.command is not None and not (asked.command == "check" and asked.path):
        return maintain_database(asked, maintenance.KIND, database, settings.sealing)
    if asked.command is not None:
        return maintain(asked, maintenance.KIND, settings.store.path, settings.sealing)
    configure(level=settings.log.level, form=settings.log.format)
    tune_gc()
    asyncio.run(serve(settings))
    return 0


if __name__ == "__main__":
    sys.exit(main())
