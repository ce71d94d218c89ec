"""One process a store: a second one would run every errand and every sweep again, and wake nobody of the first."""

from __future__ import annotations

import fcntl
import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from marketplace.store.errors import StoreError


@contextmanager
def sole_owner(path: Path) -> Iterator[None]:
    """
    Hold the store's lock (`<store>.lock`, beside it) for the length of the block.

    The kernel lets go when the process ends, however it ends. The file stays: removing it would let two
    processes lock two files of one name.

    Raises:
        StoreError: somebody else holds it, or the folder cannot be written.
    """
    name = path.with_name(f"{path.name}.lock")
    try:
        lock = os.open(name, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
    except OSError as exc:
        raise StoreError(f"MARKETPLACE_DB_PATH: cannot write {name}: {exc.strerror}") from exc
    try:
        _take(lock, path)
        yield
    finally:
        os.close(lock)


def _take(lock: int, path: Path) -> None:
    try:
        fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError as exc:
        raise StoreError(
            f"MARKETPLACE_DB_PATH: {path} is in use by another marketplace: stop it first, or give this one a store"
            " of its own"
        ) from exc
