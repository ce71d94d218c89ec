"""Signing in to the console with an API key, and out again."""

from __future__ import annotations

import hashlib
import hmac
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

from kernel.clock import Clock
from kernel.store.database import Database
from kernel.web.browser_sessions import LIFE_MS, is_token, new_token, token_hash
from kernel.web.rate_limiter import Limit, RateLimiter
from scanner.errors import RateLimited
from scanner.store import console_sessions
from scanner.store.console_sessions import StoredSession

TRIES: Final = Limit(10, 15 * 60)
_SIGN_IN = "sign in"


@dataclass(frozen=True, slots=True)
class Session:
    """A browser that is signed in."""

    name: str
    expires_at: int  # unix ms


class ConsoleSessions:
    """Opens, finds and ends sessions; a session holds as long as the key it was opened with does."""

    def __init__(self, db: Database, clock: Clock) -> None:
        self._db = db
        self._clock = clock
        self.limiter = RateLimiter({_SIGN_IN: TRIES}, clock.elapsed_ms)

    def count_try(self, address: str) -> None:
        """
        Count an attempt to sign in from an address.

        Raises:
            RateLimited: there were enough.
        """
        if wait_s := self.limiter.take(_SIGN_IN, address):
            raise RateLimited("too many attempts to sign in: try again later", retry_after_s=wait_s)

    async def open(self, key: str, slot: str) -> str:
        """Sign a browser in with a key that was found to be good; return the token that it keeps."""
        token = new_token()
        now = self._clock.now_ms()
        held = StoredSession(
            token_hash=token_hash(token),
            key_mark=_mark(token, key),
            name=f"console-{slot}-{token_hash(token)[:8]}",
            expires_at=now + LIFE_MS,
        )
        async with self._db.write() as tx:
            await console_sessions.add(tx, held, now=now)
        return token

    async def of(self, token: str, keys: Sequence[str]) -> Session | None:
        """Return the session of a token; None when there is none, it is over, or its key opens nothing any more."""
        if not is_token(token):
            return None
        async with self._db.read() as tx:
            held = await console_sessions.get(tx, token_hash(token), now=self._clock.now_ms())
        if held is None or not any(hmac.compare_digest(held.key_mark, _mark(token, key)) for key in keys):
            return None
        return Session(held.name, held.expires_at)

    async def close(self, token: str) -> None:
        """Sign a browser out; what is no token ends nothing."""
        if not is_token(token):
            return
        async with self._db.write() as tx:
            await console_sessions.close(tx, token_hash(token))


def _mark(token: str, key: str) -> str:
    return hashlib.sha256(f"key\n{token}\n{key}".encode()).hexdigest()
