"""Copies of the store and a look at its health: what an operator does, beside or instead of a running daemon."""

from __future__ import annotations

import os
import sqlite3
import tempfile
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import closing, contextmanager
from dataclasses import dataclass
from pathlib import Path

from kernel.errors import StoreError, WrongKey
from kernel.sealing.secret_cipher import SecretCipher
from kernel.store.files import PRIVATE, make_private, private_store, sync
from kernel.store.lock import exclusive_store_lock

BUSY_TIMEOUT_S = 30.0


@dataclass(frozen=True, slots=True, kw_only=True)
class StoreKind:
    """What one service's stores are like."""

    service: str
    setting: str  # that names the store
    key_setting: str  # that names the key of what is sealed in it
    migrate: Callable[[Path], str]
    orphans: Mapping[str, str]  # what must not exist, each with a question that counts it
    counted: Sequence[str]  # tables worth a line in a report
    sealed: str  # a question for every sealed text


@dataclass(frozen=True, slots=True)
class Health:
    """What a check found."""

    problems: tuple[str, ...]
    counts: dict[str, int]  # rows by table
    wrong_key: str | None = None  # what is sealed and no key at hand opens


def backup(kind: StoreKind, store: Path, target: Path) -> None:
    """
    Copy the store to a new file, consistent and complete, while the daemon may be running.

    Raises:
        StoreError: there is no store, the target exists, or the copy is not whole.
    """
    if target.exists():
        raise StoreError(f"{target} exists already: a backup never overwrites")
    make_private(store)
    with temp_next_to(target) as draft:
        with _opened(store) as source, closing(sqlite3.connect(draft)) as copy:
            source.backup(copy)
            copy.execute("PRAGMA journal_mode=DELETE")  # one file, that can be moved about
        require_integrity(kind, draft)
        sync(draft)
        os.link(draft, target)  # fails, unlike a rename, when somebody else was faster
        sync(target.parent)


def restore(kind: StoreKind, source: Path, store: Path, keys: Sequence[str] | None = None) -> Path | None:
    """
    Put a backup in the store's place and return where the former store was kept; None when there was none.

    The daemon must not be running. With `keys` what is sealed in the backup has to be opened by one of them.

    Raises:
        WrongKey: no key at hand opens what is sealed in the backup.
        StoreError: a daemon is running, or the backup is not whole or of a newer version.
    """
    require_integrity(kind, source)
    _require_key(kind, source, keys)
    lock = exclusive_store_lock(store, service=kind.service, setting=kind.setting)
    with lock, temp_next_to(store) as draft:
        _copy(source, draft)
        kind.migrate(draft)  # one that cannot be used takes nothing's place
        kept = None
        if store.exists():
            kept = unused_name(store.with_name(f"{store.name}.before-restore"))
            backup(kind, store, kept)
        private_store(store)
        _copy(draft, store)  # one transaction: a crash leaves the former store
    return kept


def _copy(source: Path, target: Path) -> None:
    with _opened(source) as original, closing(sqlite3.connect(target, timeout=BUSY_TIMEOUT_S)) as copy:
        original.backup(copy)


def check(kind: StoreKind, store: Path, keys: Sequence[str] | None = None) -> Health:
    """
    Look for damage and for rows that belong to nothing; the daemon may be running.

    Raises:
        StoreError: there is no store, or it is none of ours.
    """
    with _opened(store) as source:
        try:
            problems = _damage(source)
            for what, question in kind.orphans.items():
                found = source.execute(question).fetchone()[0]
                problems += [f"{what}: {found}"] if found else []
            counts = {table: source.execute(f"SELECT count(*) FROM {table}").fetchone()[0] for table in kind.counted}  # noqa: S608
        except sqlite3.DatabaseError as exc:
            raise StoreError(f"{store} cannot be checked: {exc}") from exc
    try:
        _require_key(kind, store, keys)
    except WrongKey as exc:
        return Health(tuple(problems), counts, str(exc))
    return Health(tuple(problems), counts)


def _require_key(kind: StoreKind, store: Path, keys: Sequence[str] | None) -> None:
    if keys is None:
        return
    cipher = SecretCipher(keys, setting=kind.key_setting)
    with _opened(store) as source:
        try:
            sealed = [text for (text,) in source.execute(kind.sealed)]
        except sqlite3.OperationalError:  # a backup from before there was anything to seal
            return
    try:
        for text in sealed:
            cipher.decrypt(text)
    except WrongKey as exc:
        raise WrongKey(f"{store}: no key at hand opens it: {exc}") from exc


def _damage(source: sqlite3.Connection) -> list[str]:
    said = [row[0] for row in source.execute("PRAGMA integrity_check(20)")]
    problems = [] if said == ["ok"] else said
    dangling = source.execute("PRAGMA foreign_key_check").fetchall()
    return problems + ([f"{len(dangling)} rows refer to rows that do not exist"] if dangling else [])


def require_integrity(kind: StoreKind, store: Path) -> None:
    with _opened(store) as source:
        try:
            damage = _damage(source)
            known = source.execute("SELECT count(*) FROM sqlite_master WHERE name = 'alembic_version'").fetchone()[0]
        except sqlite3.DatabaseError as exc:
            raise StoreError(f"{store} is not a store of the {kind.service}: {exc}") from exc
    if damage or not known:
        why = "; ".join(damage) or "it has no schema"
        raise StoreError(f"{store} is not a whole store of the {kind.service}: {why}")


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
def temp_next_to(target: Path) -> Iterator[Path]:
    """Give a file in the target's folder to write to; it is gone when the block ends."""
    if not target.parent.is_dir():
        raise StoreError(f"folder {target.parent} does not exist")
    with tempfile.TemporaryDirectory(dir=target.parent, prefix=f".{target.name}.") as folder:
        draft = Path(folder) / target.name
        os.close(os.open(draft, os.O_RDWR | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, PRIVATE))
        yield draft


def unused_name(name: Path) -> Path:
    number = 0
    while (free := name if number == 0 else name.with_name(f"{name.name}.{number}")).exists():
        number += 1
    return free
