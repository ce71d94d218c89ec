"""Passwords: argon2id, in a few threads of its own, at the same price for users who do not exist."""

from __future__ import annotations

import asyncio
import base64
import secrets
import unicodedata
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from types import TracebackType
from typing import Self, TypeVar

from argon2 import PasswordHasher
from argon2.exceptions import VerifyMismatchError

T = TypeVar("T")

# Of the five that OWASP's Password Storage Cheat Sheet calls equally strong, the one that costs a server least: a sixth
# less processor than two passes over 19 MiB, since more of it stays in the caches.
MEMORY_KIB = 7 * 1024
PASSES = 5
LANES = 1


class Passwords:
    """
    Hashes and verifies; open as a context manager, since it owns threads.

    A hash is tens of milliseconds of pure work. The pool bounds how many run at once, in memory and in
    processors; the rest wait their turn without holding up the event loop. One thread is kept for those who sign in:
    nobody waits behind accounts that are being made.
    """

    def __init__(self, *, threads: int = 2, memory_kib: int = MEMORY_KIB, passes: int = PASSES) -> None:
        self._hasher = PasswordHasher(time_cost=passes, memory_cost=memory_kib, parallelism=LANES)
        self._pool = ThreadPoolExecutor(threads, thread_name_prefix="argon2")
        self._made = asyncio.Semaphore(max(1, threads - 1))  # hashes at once
        self._nobody = _hash_of_nothing(self._hasher)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, exc: BaseException | None, tb: TracebackType | None) -> None:
        self._pool.shutdown(cancel_futures=True)

    async def hash(self, password: str) -> str:
        """Return what to store."""
        given = _as_bytes(password)
        async with self._made:
            return await self._run(lambda: self._hasher.hash(given))

    async def verify(self, hashed: str | None, password: str) -> bool:
        """
        Say whether the password belongs to a stored hash.

        `hashed` None is a user who does not exist: False, and as slowly as a wrong password.

        Raises:
            InvalidHashError: what is stored is no argon2 hash.
        """
        stored = self._nobody if hashed is None else hashed
        given = _as_bytes(password)
        return await self._run(lambda: self._matches(stored, given))

    def needs_rehash(self, hashed: str) -> bool:
        """Say whether a hash was made with other parameters: after a good login, store a new one."""
        return self._hasher.check_needs_rehash(hashed)

    def _matches(self, hashed: str, given: bytes) -> bool:
        try:
            return self._hasher.verify(hashed, given)
        except VerifyMismatchError:
            return False

    async def _run(self, work: Callable[[], T]) -> T:
        return await asyncio.get_running_loop().run_in_executor(self._pool, work)


def _as_bytes(password: str) -> bytes:
    """Return one form of a password, since keyboards compose accents differently."""
    return unicodedata.normalize("NFC", password).encode("utf-8", "surrogatepass")


def _hash_of_nothing(hasher: PasswordHasher) -> str:
    """Return a well-formed hash with the hasher's parameters that no password is known to have."""
    salt, digest = (
        base64.b64encode(secrets.token_bytes(size)).decode().rstrip("=") for size in (hasher.salt_len, hasher.hash_len)
    )
    return f"$argon2id$v=19$m={hasher.memory_cost},t={hasher.time_cost},p={hasher.parallelism}${salt}${digest}"
