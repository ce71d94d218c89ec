"""`python -m scanner`: commands, signals and exit codes, nothing else."""

from __future__ import annotations

import argparse
import asyncio
import logging
import os
import signal
import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

from config.errors import ConfigError
from config.logging import configure
from config.settings import Settings, load_settings
from scanner.app import open_daemon
from scanner.collector import calm_collector
from scanner.store import maintenance
from scanner.store.errors import StoreError

log = logging.getLogger("scanner")

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
        log.info("[scanner] stopping")
        stop.set()

    for number in signals:
        loop.add_signal_handler(number, first)
    try:
        yield
    finally:
        for number in signals:
            loop.remove_signal_handler(number)


async def serve(settings: Settings) -> None:
    """Run the daemon until it is told to stop."""
    stop = asyncio.Event()
    with stop_on_signal(stop):
        async with open_daemon(settings) as daemon:
            if not settings.http.api_keys:
                log.warning("[scanner] SCANNER_API_KEY is not set: every request is allowed (local use only)")
            if settings.http.production and not settings.secret_keys:
                log.warning("[scanner] SCANNER_SECRET_KEY is not set: callback secrets are stored in the clear")
            await daemon.run(stop)
    log.info("[scanner] stopped")


def main(arguments: Sequence[str]) -> int:
    """Do what was asked, with the environment's settings; return the exit code."""
    asked = _parser().parse_args(arguments)
    try:
        settings = load_settings(os.environ, env_file=Path(".env"))
        if asked.command is not None:
            return _maintain(asked, settings.store.path)
        configure(settings.log)
        calm_collector()
        asyncio.run(serve(settings))
    except (ConfigError, StoreError) as exc:
        sys.stderr.write(f"{exc}\n")
        return EXIT_FIX
    except BaseExceptionGroup as group:
        return _died(group)
    return 0


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="python -m scanner", description="Without a command: run the daemon.")
    commands = parser.add_subparsers(dest="command")
    backup = commands.add_parser("backup", help="copy the store to a new file, while the daemon may be running")
    backup.add_argument("path", type=Path)
    restore = commands.add_parser("restore", help="put a backup in the store's place; the daemon must be stopped")
    restore.add_argument("path", type=Path)
    check = commands.add_parser("check", help="look for damage and orphan rows in the store, or in a backup")
    check.add_argument("path", type=Path, nargs="?")
    return parser


def _maintain(asked: argparse.Namespace, store: Path) -> int:
    match asked.command:
        case "backup":
            maintenance.backup(store, asked.path)
            sys.stdout.write(f"{asked.path}: a whole copy of {store}\n")
        case "restore":
            kept = maintenance.restore(asked.path, store)
            sys.stdout.write(f"{store} is {asked.path} now; the former store is {kept or 'none'}\n")
        case _:
            return _report(maintenance.check(asked.path or store))
    return 0


def _report(health: maintenance.Health) -> int:
    for table, count in health.counts.items():
        sys.stdout.write(f"{table}: {count}\n")
    for problem in health.problems:
        sys.stdout.write(f"PROBLEM {problem}\n")
    sys.stdout.write("ok\n" if not health.problems else f"{len(health.problems)} problems\n")
    return EXIT_FIX if health.problems else 0


def _died(group: BaseExceptionGroup[BaseException]) -> int:
    """A part of the daemon ended by itself: name it, and tell the supervisor whether a restart may help."""
    refused = group.subgroup(OSError)
    if refused is not None and not isinstance(_first(refused), ConnectionError):
        sys.stderr.write(f"PORT/HOST: {_first(refused)}\n")
        return EXIT_FIX
    log.critical("[scanner] a part of the daemon failed", exc_info=group)
    return EXIT_RESTART


def _first(group: BaseExceptionGroup[BaseException]) -> BaseException:
    inner = group.exceptions[0]
    return _first(inner) if isinstance(inner, BaseExceptionGroup) else inner


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
