"""One process a store: a second one would do everything again, and wake nobody of the first."""

from __future__ import annotations

import fcntl
import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from kernel.errors import StoreError
from kernel.store.files import PRIVATE, make_private


@contextmanager
def exclusive_store_lock(path: Path, *, service: str, setting: str) -> Iterator[None]:
    """
    Hold the store's lock (`<store>.lock`, beside it) for the length of the block.

    The kernel holds it for the process and lets go when that ends, however it ends. The file stays:
    removing it would let two processes lock two files of one name.

    Raises:
        StoreError: somebody else holds it, or the folder cannot be written.
    """
    name = path.with_name(f"{path.name}.lock")
    try:
        lock = os.open(name, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, PRIVATE)
    except OSError as exc:
        raise StoreError(f"{setting}: cannot write {name}: {exc.strerror}") from exc
    try:
        make_private(name)
        _take(lock, f"{setting}: {path} is in use by another {service}")
        os.ftruncate(lock, 0)
        os.pwrite(lock, f"{os.getpid()}\n".encode(), 0)
        yield
    finally:
        os.close(lock)


def _take(lock: int, refusal: str) -> None:
    try:
        fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError as exc:
        owner = os.pread(lock, 20, 0).decode("ascii", "replace").strip() or "unknown"
        raise StoreError(
            f"{refusal} (process {owner}): two on one store would do everything twice; stop it first, or give this one"
            " a store of its own"
        ) from exc
