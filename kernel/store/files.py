"""Files for one pair of eyes: the store holds who paid whom, and the secrets of those who are told."""

from __future__ import annotations

import os
import stat
from pathlib import Path

from kernel.errors import StoreError

PRIVATE = 0o600
UMASK = 0o077
# SQLite gives its helpers the mode of the store, so one that is made private stays so; these may be left from before.
_HELPERS = ("", "-wal", "-shm", "-journal")


def private_from_now_on() -> None:
    """Let whatever this process creates be its own: what a library creates by itself included."""
    os.umask(UMASK)


def make_private(path: Path) -> None:
    """
    Leave a file to its owner alone.

    Raises:
        StoreError: somebody else owns it.
    """
    try:
        if stat.S_IMODE(path.stat().st_mode) != PRIVATE:
            path.chmod(PRIVATE)
    except FileNotFoundError:
        return
    except OSError as exc:
        raise StoreError(f"{path}: cannot be made private (chmod 600): {exc.strerror}") from exc


def private_store(path: Path) -> None:
    """
    Create a store's file when it is missing, and leave it and its helpers to their owner alone.

    Raises:
        StoreError: it cannot be created, or is somebody else's.
    """
    try:
        os.close(os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, PRIVATE))
    except OSError as exc:
        raise StoreError(f"cannot open {path}: {exc.strerror}") from exc
    for helper in _HELPERS:
        make_private(path.with_name(path.name + helper))


def write_new(path: Path, content: bytes) -> bool:
    """
    Create a private file whole and on disk, or not at all; return False when there is one already.

    Raises:
        OSError: the folder cannot be written.
    """
    draft = path.with_name(f".{path.name}.{os.getpid()}.new")
    handle = os.open(draft, os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_CLOEXEC | os.O_NOFOLLOW, PRIVATE)
    try:
        try:
            os.fchmod(handle, PRIVATE)
            os.write(handle, content)
            os.fsync(handle)
        finally:
            os.close(handle)
        os.link(draft, path)  # fails, unlike a rename, when somebody else was faster
    except FileExistsError:
        return False
    finally:
        draft.unlink(missing_ok=True)
    sync(path.parent)
    return True


def sync(path: Path) -> None:
    """Have a file, or a folder's names, on disk."""
    handle = os.open(path, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)
