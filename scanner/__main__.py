"""`amn-scanner`, or `python -m scanner`: arguments, settings and exit codes, nothing else."""

from __future__ import annotations

import asyncio
import logging
import os
import sys
from collections.abc import Sequence
from pathlib import Path

from config.settings import Settings, load_settings
from kernel.errors import ConfigError, StoreError
from kernel.logging import configure
from kernel.process import EXIT_FIX, died, maintain, maintain_database, parser, stop_on_signal
from kernel.store.files import private_from_now_on
from kernel.tasks.gc import tune_gc
from scanner.app import database_of, open_daemon
from scanner.store import maintenance

log = logging.getLogger("scanner")


async def serve(settings: Settings) -> None:
    """Run the daemon until it is told to stop."""
    stop = asyncio.Event()
    with stop_on_signal(stop, log):
        async with open_daemon(settings) as daemon:
            if not settings.http.api_keys:
                log.warning("[scanner] SCANNER_API_KEY is not set: this machine alone is answered (local use)")
            await daemon.run(stop)
    log.info("[scanner] stopped")


def main(arguments: Sequence[str] | None = None) -> int:
    """Do what was asked, on the command line if not here, with the environment's settings; return the exit code."""
    asked = parser("scanner").parse_args(arguments)
    private_from_now_on()
    try:
        settings = load_settings(os.environ, env_file=Path(".env"))
        database = database_of(settings)
        if database is not None and asked.command is not None and not (asked.command == "check" and asked.path):
            return maintain_database(asked, maintenance.KIND, database, settings.sealing)
        if asked.command is not None:
            return maintain(asked, maintenance.KIND, settings.store.path, settings.sealing)
        configure(level=settings.log.level, form=settings.log.format)
        tune_gc()
        asyncio.run(serve(settings))
    except (ConfigError, StoreError) as exc:
        sys.stderr.write(f"{exc}\n")
        return EXIT_FIX
    except BaseExceptionGroup as group:
        return died(group, log, "PORT/HOST")
    return 0


if __name__ == "__main__":
    sys.exit(main())
