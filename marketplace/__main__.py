"""`python -m marketplace`: signals and exit codes, nothing else."""

from __future__ import annotations

import asyncio
import logging
import os
import signal
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from marketplace.app import open_marketplace
from marketplace.errors import ConfigError
from marketplace.logs import configure
from marketplace.settings import Settings, load_settings
from marketplace.store.errors import StoreError

log = logging.getLogger("marketplace")

EXIT_FIX = 1  # an operator must change something
EXIT_RESTART = 75  # EX_TEMPFAIL: starting again may help


@contextmanager
def stop_on_signal(stop: asyncio.Event) -> Iterator[None]:
    """Set `stop` at the first SIGINT or SIGTERM. The second one kills, as the user means it to."""
    loop = asyncio.get_running_loop()
    signals = (signal.SIGINT, signal.SIGTERM)

    def first() -> None:
        for number in signals:
            loop.remove_signal_handler(number)
        log.info("[marketplace] stopping")
        stop.set()

    for number in signals:
        loop.add_signal_handler(number, first)
    try:
        yield
    finally:
        for number in signals:
            loop.remove_signal_handler(number)


async def serve(settings: Settings) -> None:
    """Run the backend until it is told to stop."""
    stop = asyncio.Event()
    with stop_on_signal(stop):
        async with open_marketplace(settings) as marketplace:
            if settings.scanner.webhook_secret is None:
                log.warning("[marketplace] AMN_SCANNER_WEBHOOK_SECRET is not set: no payment can be confirmed")
            await marketplace.run(stop)
    log.info("[marketplace] stopped")


def main() -> int:
    """Start from the environment; return the exit code."""
    try:
        settings = load_settings(os.environ, env_file=Path(".env"))
        configure(level=settings.log_level, form=settings.log_format)
        asyncio.run(serve(settings))
    except (ConfigError, StoreError) as exc:
        sys.stderr.write(f"{exc}\n")
        return EXIT_FIX
    except BaseExceptionGroup as group:
        return _died(group)
    return 0


def _died(group: BaseExceptionGroup[BaseException]) -> int:
    """A part ended by itself: name it, and tell the supervisor whether a restart may help."""
    first: BaseException = group
    while isinstance(first, BaseExceptionGroup):
        first = first.exceptions[0]
    if isinstance(first, OSError) and not isinstance(first, ConnectionError):
        sys.stderr.write(f"MARKETPLACE_PORT/MARKETPLACE_HOST: {first}\n")
        return EXIT_FIX
    log.critical("[marketplace] a part of the backend failed", exc_info=group)
    return EXIT_RESTART


if __name__ == "__main__":
    sys.exit(main())
