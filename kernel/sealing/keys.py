"""The keys that seal secrets at rest: those of the settings, else one that is made beside the store."""

from __future__ import annotations

import base64
import binascii
import os
from dataclasses import dataclass, field
from pathlib import Path

from kernel.errors import StoreError
from kernel.store.files import make_private, write_new

KEY_BYTES = 32
_MOST = 1024  # bytes of a key file


def parse_key(text: str) -> bytes:
    """Return the bytes of a key, which may be spelt in either base64 alphabet; raise ValueError when it is none."""
    try:
        raw = base64.b64decode(text.strip().translate(str.maketrans("-_", "+/")), validate=True)
    except (binascii.Error, ValueError) as exc:
        raise ValueError("must be base64") from exc
    if len(raw) != KEY_BYTES:
        raise ValueError(f"must be base64 of {KEY_BYTES} bytes, as `openssl rand -base64 {KEY_BYTES}` makes them")
    return raw


def key_file(store: Path) -> Path:
    """Return where the key of a store lies when the settings name none."""
    return store.with_name(f"{store.name}.key")


@dataclass(frozen=True, slots=True)
class GivenKeys:
    """Keys of the settings, in base64."""

    current: str | None = field(default=None, repr=False)
    former: tuple[str, ...] = field(default=(), repr=False)

    @property
    def every(self) -> tuple[str, ...]:
        """Return all of them, the one in use first."""
        return (*(() if self.current is None else (self.current,)), *self.former)


def keys_at_hand(store: Path, given: GivenKeys) -> list[str]:
    """
    Return every key that may open something, the one in use first: with one in the settings the file's is a former one.

    Raises:
        StoreError: there is a key file, and no key in it.
    """
    found = read_key(key_file(store))
    of_file = [] if found is None else [found]
    if given.current is None:
        return [*of_file, *given.former]
    return [given.current, *given.former, *of_file]


def read_key(path: Path) -> str | None:
    """
    Return the key of a file; None when there is no file.

    Raises:
        StoreError: it cannot be read, or holds no key.
    """
    try:
        make_private(path)
        with path.open("rb") as file:
            text = file.read(_MOST).decode("ascii").strip()
        parse_key(text)
    except FileNotFoundError:
        return None
    except OSError as exc:
        raise StoreError(f"{path}: cannot be read: {exc.strerror}") from exc
    except ValueError as exc:
        raise StoreError(f"{path} holds no key: put back the file you kept, or name the key in the settings") from exc
    return text


def make_key(store: Path) -> str:
    """
    Make the key of a store and return it; the one that is there when somebody was faster.

    Raises:
        StoreError: it cannot be written.
    """
    path = key_file(store)
    try:
        write_new(path, base64.b64encode(os.urandom(KEY_BYTES)) + b"\n")
    except OSError as exc:
        raise StoreError(f"{path}: cannot be written: {exc.strerror}") from exc
    made = read_key(path)
    if made is None:
        raise StoreError(f"{path}: is gone again")
    return made
