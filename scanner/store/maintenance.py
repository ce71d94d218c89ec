"""Copies of the store and a look at its health: what an operator does, beside or instead of a running daemon."""

from __future__ import annotations

import os
import sqlite3
import tempfile
from collections.abc import Iterator
from contextlib import closing, contextmanager
from dataclasses import dataclass
from pathlib import Path

from scanner.store.errors import StoreError
from scanner.store.lock import sole_owner
from scanner.store.migrate import migrate

BUSY_TIMEOUT_S = 30.0

# What must not exist, each with a question that counts it.
_ORPHANS = {
    "webhooks of nothing": (
        "SELECT count(*) FROM events e WHERE NOT EXISTS (SELECT 1 FROM intents i WHERE e.subject_kind = 'intent'"
        " AND i.intent_id = e.subject_id) AND NOT EXISTS (SELECT 1 FROM balance_watches w"
        " WHERE e.subject_kind = 'watch' AND w.watch_id = e.subject_id)"
    ),
    "attempts of no webhook": (
        "SELECT count(*) FROM attempts a WHERE NOT EXISTS (SELECT 1 FROM events e WHERE e.event_id = a.event_id)"
    ),
    "transfers of no intent": (
        "SELECT count(*) FROM transfers t WHERE t.intent_id IS NOT NULL"
        " AND NOT EXISTS (SELECT 1 FROM intents i WHERE i.intent_id = t.intent_id)"
    ),
    "confirmed intents without a payment": (
        "SELECT count(*) FROM intents i WHERE i.status IN ('confirmed', 'webhook_failed')"
        " AND NOT EXISTS (SELECT 1 FROM transfers t WHERE t.intent_id = i.intent_id AND t.settled)"
    ),
    "confirmed intents without a webhook": (
        "SELECT count(*) FROM intents i WHERE i.status IN ('confirmed', 'webhook_failed') AND NOT EXISTS"
        " (SELECT 1 FROM events e WHERE e.subject_id = i.intent_id AND e.event_type = 'payment.confirmed')"
    ),
}
_COUNTED = ("intents", "transfers", "events", "attempts", "balance_watches", "checkpoints")


@dataclass(frozen=True, slots=True)
class Health:
    """What a check found."""

    problems: tuple[str, ...]
    counts: dict[str, int]  # rows by table


def backup(store: Path, target: Path) -> None:
    """
    Copy the store to a new file, consistent and complete, while the daemon may be running.

    Raises:
        StoreError: there is no store, the target exists, or the copy is not whole.
    """
    if target.exists():
        raise StoreError(f"{target} exists already: a backup never overwrites")
    with _beside(target) as draft:
        with _opened(store) as source, closing(sqlite3.connect(draft)) as copy:
            source.backup(copy)
            copy.execute("PRAGMA journal_mode=DELETE")  # one file, that can be moved about
        _require_whole(draft)
        _sync(draft)
        os.link(draft, target)  # fails, unlike a rename, when somebody else was faster
        _sync(target.parent)


def restore(source: Path, store: Path) -> Path | None:
    """
    Put a backup in the store's place and return where the former store was kept; None when there was none.

    The daemon must not be running. What happened since the backup is read from the chains again.

    Raises:
        StoreError: a daemon is running, or the backup is not whole or of a newer version.
    """
    _require_whole(source)
    with sole_owner(store), _beside(store) as draft:
        _copy(source, draft)
        migrate(draft)  # one that cannot be used takes nothing's place
        kept = None
        if store.exists():
            kept = _free(store.with_name(f"{store.name}.before-restore"))
            backup(store, kept)
        _copy(draft, store)  # one transaction: a crash leaves the former store
    return kept


def _copy(source: Path, target: Path) -> None:
    with _opened(source) as original, closing(sqlite3.connect(target, timeout=BUSY_TIMEOUT_S)) as copy:
        original.backup(copy)


def check(store: Path) -> Health:
    """
    Look for damage and for rows that belong to nothing; the daemon may be running.

    Raises:
        StoreError: there is no store, or it is none of ours.
    """
    with _opened(store) as source:
        try:
            problems = _damage(source)
            for what, question in _ORPHANS.items():
                found = source.execute(question).fetchone()[0]
                problems += [f"{what}: {found}"] if found else []
            counts = {table: source.execute(f"SELECT count(*) FROM {table}").fetchone()[0] for table in _COUNTED}  # noqa: S608
        except sqlite3.DatabaseError as exc:
            raise StoreError(f"{store} cannot be checked: {exc}") from exc
    return Health(tuple(problems), counts)


def _damage(source: sqlite3.Connection) -> list[str]:
    said = [row[0] for row in source.execute("PRAGMA integrity_check(20)")]
    problems = [] if said == ["ok"] else said
    dangling = source.execute("PRAGMA foreign_key_check").fetchall()
    return problems + ([f"{len(dangling)} rows refer to rows that do not exist"] if dangling else [])


def _require_whole(store: Path) -> None:
    with _opened(store) as source:
        try:
            damage = _damage(source)
            known = source.execute("SELECT count(*) FROM sqlite_master WHERE name = 'alembic_version'").fetchone()[0]
        except sqlite3.DatabaseError as exc:
            raise StoreError(f"{store} is not a store of the scanner: {exc}") from exc
    if damage or not known:
        raise StoreError(f"{store} is not a whole store of the scanner: {'; '.join(damage) or 'it has no schema'}")


@contextmanager
def _opened(store: Path) -> Iterator[sqlite3.Connection]:
    if not store.is_file():
        raise StoreError(f"{store}: there is no such file")
    try:
        with closing(sqlite3.connect(f"{store.absolute().as_uri()}?mode=rw", uri=True, timeout=BUSY_TIMEOUT_S)) as link:
            yield link
    except sqlite3.OperationalError as exc:
        raise StoreError(f"{store}: {exc}") from exc


@contextmanager
def _beside(target: Path) -> Iterator[Path]:
    """Give a file in the target's folder to write to; it is gone when the block ends."""
    if not target.parent.is_dir():
        raise StoreError(f"folder {target.parent} does not exist")
    with tempfile.TemporaryDirectory(dir=target.parent, prefix=f".{target.name}.") as folder:
        yield Path(folder) / target.name


def _free(name: Path) -> Path:
    number = 0
    while (free := name if number == 0 else name.with_name(f"{name.name}.{number}")).exists():
        number += 1
    return free


def _sync(path: Path) -> None:
    link = os.open(path, os.O_RDONLY)
    try:
        os.fsync(link)
    finally:
        os.close(link)
