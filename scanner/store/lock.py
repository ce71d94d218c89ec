"""One process a store: two would tell every backend everything twice."""

from __future__ import annotations

import fcntl
import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from scanner.store.errors import StoreError


@contextmanager
def sole_owner(path: Path) -> Iterator[None]:
    """
    Hold the store's lock (`<store>.lock`, beside it) for the length of the block.

    The kernel holds it for the process and lets go when that ends, however it ends. The file stays:
    removing it would let two processes lock two files of one name.

    Raises:
        StoreError: somebody else holds it, or the folder cannot be written.
    """
    name = path.with_name(f"{path.name}.lock")
    try:
        lock = os.open(name, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
    except OSError as exc:
        raise StoreError(f"DB_PATH: cannot write {name}: {exc.strerror}") from exc
    try:
        _take(lock, path)
        os.ftruncate(lock, 0)
        os.pwrite(lock, f"{os.getpid()}\n".encode(), 0)
        yield
    finally:
        os.close(lock)


def _take(lock: int, path: Path) -> None:
    try:
        fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError as exc:
        owner = os.pread(lock, 20, 0).decode("ascii", "replace").strip() or "unknown"
        raise StoreError(
            f"DB_PATH: {path} is in use by another scanner (process {owner}): two on one store would tell everything"
            " twice; stop it first, or give this one a store of its own"
        ) from exc
