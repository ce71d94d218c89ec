"""What a daemon is as a process: its commands, its signals, its exit codes."""

from __future__ import annotations

import argparse
import asyncio
import logging
import signal
import sys
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator, Sequence
from contextlib import AbstractAsyncContextManager, AsyncExitStack, asynccontextmanager, contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, TypeVar

from kernel.errors import ConfigError, StoreBusy, StoreError, UnknownOutcome, WrongKey
from kernel.sealing.keys import GivenKeys, key_file, keys_at_hand
from kernel.sealing.secret_cipher import SecretCipher
from kernel.store import maintenance
from kernel.store.copy import Copied, copy_store
from kernel.store.lock import exclusive_store_lock
from kernel.store.maintenance import Health, StoreKind
from kernel.store.postgresql import ConnectionLost, PostgresSettings
from kernel.store.postgresql_check import check_database

if TYPE_CHECKING:
    Commands = argparse._SubParsersAction[argparse.ArgumentParser]  # noqa: SLF001 - argparse names it nowhere else

T = TypeVar("T")

EXIT_FIX = 1  # an operator must change something
EXIT_WRONG_KEY = 2  # no key at hand opens what is sealed (argparse ends with the same for a wrong argument)
EXIT_OTHER_TOOL = 2  # another program does that
EXIT_RESTART = 75  # EX_TEMPFAIL: starting again may help


@contextmanager
def stop_on_signal(stop: asyncio.Event, log: logging.Logger) -> Iterator[None]:
    """Set `stop` at the first SIGINT or SIGTERM. The second one kills, as the user means it to."""
    loop = asyncio.get_running_loop()
    signals = (signal.SIGINT, signal.SIGTERM)

    def first() -> None:
        for number in signals:
            loop.remove_signal_handler(number)
        log.info("[%s] stopping", log.name)
        stop.set()

    for number in signals:
        loop.add_signal_handler(number, first)
    try:
        yield
    finally:
        for number in signals:
            loop.remove_signal_handler(number)


@asynccontextmanager
async def opened_unless(stop: asyncio.Event, opening: AbstractAsyncContextManager[T]) -> AsyncIterator[T | None]:
    """Open something that may have to wait for long, and close it again; None when `stop` was set meanwhile."""
    async with AsyncExitStack() as stack:
        opened = asyncio.ensure_future(stack.enter_async_context(opening))
        stopped = asyncio.ensure_future(stop.wait())
        try:
            await asyncio.wait([opened, stopped], return_when=asyncio.FIRST_COMPLETED)
        finally:
            stopped.cancel()
            if not opened.done():
                opened.cancel()
                await asyncio.wait([opened])
        yield None if opened.cancelled() else opened.result()


def parser(
    service: str, version: str, add: Callable[[Commands], None] = lambda _: None, *, copies: bool = False
) -> argparse.ArgumentParser:
    """
    Return what reads a daemon's arguments: it ends by itself for `--help`, `--version` and what it does not know.

    `add` describes the commands that this service alone has.
    """
    reads = argparse.ArgumentParser(
        prog=f"amn-{service}", description="Without a command: run the daemon.", allow_abbrev=False
    )
    reads.add_argument("--version", action="version", version=f"%(prog)s {version}")
    commands = reads.add_subparsers(dest="command")
    backup = commands.add_parser("backup", help="copy the store to a new file, while the daemon may be running")
    backup.add_argument("path", type=Path, help="the new file; one that is there is never overwritten")
    restore = commands.add_parser("restore", help="put a backup in the store's place; the daemon must be stopped")
    restore.add_argument("path", type=Path, help="the backup")
    check = commands.add_parser("check", help="look for damage and orphan rows in the store, or in a backup")
    check.add_argument("path", type=Path, nargs="?", help="the backup; without it the store")
    if copies:
        commands.add_parser("copy", help="move the file's rows to an empty database; everything must be stopped")
    add(commands)
    return reads


def maintain(
    asked: argparse.Namespace,
    kind: StoreKind,
    store: Path,
    given: GivenKeys,
    look: Callable[[Path], Awaitable[Sequence[str]]] | None = None,
) -> int:
    """
    Do what was asked with the store and return the exit code; `given` are the keys of the settings.

    `look` finds what is wrong with a service's own facts, where the file itself is whole.

    Raises:
        StoreError: it could not be done.
    """
    try:
        match asked.command:
            case "backup":
                maintenance.backup(kind, store, asked.path)
                sys.stdout.write(f"{asked.path}: a whole copy of {store}\n{_keep(kind, store, given)}\n")
            case "restore":
                kept = maintenance.restore(kind, asked.path, store, keys_at_hand(store, given))
                sys.stdout.write(f"{store} is {asked.path} now; the former store is {kept or 'none'}\n")
            case _:
                path = asked.path or store
                health = maintenance.check(kind, path, keys_at_hand(store, given))
                # No loop is started for nothing: whoever asks may be within one.
                found = [] if look is None or health.problems else asyncio.run(_looked(look, path))
                code = _report(health, found)
                if code == EXIT_WRONG_KEY:
                    sys.stderr.write(_where(store))
                return code
    except WrongKey as exc:
        sys.stderr.write(f"{exc}\n{_where(store)}")
        return EXIT_WRONG_KEY
    return 0


def _where(store: Path) -> str:
    """Say where the file belongs that was kept elsewhere."""
    expected = key_file(store)
    return "" if expected.exists() else f"a key file that was kept elsewhere belongs at {expected}\n"


async def _looked(look: Callable[[Path], Awaitable[Sequence[str]]], store: Path) -> Sequence[str]:
    return await look(store)


def maintain_database(
    asked: argparse.Namespace,
    kind: StoreKind,
    settings: PostgresSettings,
    given: GivenKeys,
    look: Callable[[PostgresSettings], Awaitable[Sequence[str]]] | None = None,
) -> int:
    """
    Do what was asked with a store on PostgreSQL, as far as that is ours to do, and return the exit code.

    Raises:
        StoreError: it could not be done.
    """
    if asked.command != "check":
        sys.stderr.write(
            f"{asked.command}: the store is on PostgreSQL: use pg_dump and pg_restore, or pgBackRest, for its copies;"
            f" keep the key in {kind.key_setting} elsewhere\n"
        )
        return EXIT_OTHER_TOOL

    async def check() -> tuple[Health, Sequence[str]]:
        return await check_database(kind, settings, given.every), [] if look is None else await look(settings)

    return _report(*asyncio.run(check()))


def copy_to_database(
    kind: StoreKind,
    copied: Copied,
    store: Path,
    database: PostgresSettings,
    given: GivenKeys,
    migrate: Callable[[PostgresSettings], Awaitable[str]],
) -> int:
    """
    Move a stopped store's rows to an empty database, sealed with the key of the settings, and return the exit code.

    Raises:
        StoreError: it could not be done, and nothing was copied.
    """
    if not store.is_file():
        raise StoreError(f"{kind.setting}: {store}: there is no such file")
    opens = SecretCipher(keys_at_hand(store, given), setting=kind.key_setting)
    seals = SecretCipher(given.every[:1], setting=kind.key_setting)

    async def copy() -> dict[str, int]:
        await migrate(database)
        return await copy_store(copied, store, database, opens, seals)

    with exclusive_store_lock(store, service=kind.service, setting=kind.setting):
        kind.migrate(store)
        counts = asyncio.run(copy())
    for table, count in counts.items():
        sys.stdout.write(f"{table}: {count}\n")
    sys.stdout.write("copied; the file is as it was\n")
    return 0


def _keep(kind: StoreKind, store: Path, given: GivenKeys) -> str:
    """Say what a copy is worth nothing without."""
    if given.current is None and not key_file(store).exists():
        return "there is no key yet: nothing in it is sealed before the daemon has started once"
    what = f"the key in {kind.key_setting}" if given.current else f"the key file {key_file(store)}"
    return f"its secrets are sealed: keep {what} elsewhere, without it they cannot be opened"


def _report(health: Health, found: Sequence[str]) -> int:
    problems = [*health.problems, *found, *([] if health.wrong_key is None else [health.wrong_key])]
    for table, count in health.counts.items():
        sys.stdout.write(f"{table}: {count}\n")
    for problem in problems:
        sys.stdout.write(f"PROBLEM {problem}\n")
    sys.stdout.write("ok\n" if not problems else f"{len(problems)} problem{'' if len(problems) == 1 else 's'}\n")
    if health.wrong_key is not None:
        sys.stderr.write(f"{health.wrong_key}\n")
        return EXIT_WRONG_KEY
    return EXIT_FIX if problems else 0


def refused(exc: ConfigError | StoreError, *, serving: bool) -> int:
    """Say why nothing could be done, and whether a daemon that is started again may do better."""
    sys.stderr.write(f"{exc}\n")
    return EXIT_RESTART if serving and isinstance(exc, ConnectionLost | StoreBusy | UnknownOutcome) else EXIT_FIX


def died(group: BaseExceptionGroup[BaseException], log: logging.Logger, address: str) -> int:
    """A part of the daemon ended by itself: name it, and tell the supervisor whether a restart may help."""
    refused = group.subgroup(lambda exc: isinstance(exc, OSError) and not isinstance(exc, ConnectionError))
    if refused is not None:
        sys.stderr.write(f"{address}: {_first(refused)}\n")
        return EXIT_FIX
    log.critical("[%s] a part of the daemon failed", log.name, exc_info=group)
    return EXIT_RESTART


def _first(group: BaseExceptionGroup[BaseException]) -> BaseException:
    inner = group.exceptions[0]
    return _first(inner) if isinstance(inner, BaseExceptionGroup) else inner
