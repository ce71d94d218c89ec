"""
How often an account may be tried, from wherever: whoever guesses from many addresses is slowed down all the same.

Who signed in from an address before is not counted there, so that strangers who keep guessing keep no owner out.
"""

from __future__ import annotations

import hashlib
import hmac
from dataclasses import dataclass, field

from kernel.web.clients import counted_as
from kernel.web.rate_limiter import RateLimiter
from marketplace.errors import Refused

KNOWN_MS = 90 * 86_400_000
ACCOUNT, CODES = "account", "codes"  # names of limits


@dataclass(frozen=True, slots=True)
class Credentials:
    """What somebody signs in with, and from where."""

    email: str
    password: str = field(repr=False)
    code: str | None = field(default=None, repr=False)
    client: str = ""


class Lockout:
    """Counts tries at accounts; the store and the table of counts are shown digests alone."""

    def __init__(self, limiter: RateLimiter, pepper: str) -> None:
        self._limiter = limiter
        self._key = pepper.encode()

    def address_of(self, client: str) -> str:
        """Return an address as it is remembered."""
        return self._digest(f"address\n{counted_as(client)}")

    def try_account(self, email: str) -> None:
        """
        Count a try at an account from an address that is not known for it; whether there is one makes no difference.

        Raises:
            Refused: there were enough.
        """
        self._take(ACCOUNT, email)

    def try_code(self, user_id: str) -> None:
        """
        Count a try at a second factor, by somebody who knows the password.

        Raises:
            Refused: there were enough.
        """
        self._take(CODES, user_id)

    def _take(self, name: str, what: str) -> None:
        wait_s = self._limiter.take(name, self._digest(f"{name}\n{what}"))
        if wait_s:
            raise Refused("rate_limited", f"too many tries at this account: try again in {wait_s} s", retryAfter=wait_s)

    def _digest(self, text: str) -> str:
        return hmac.new(self._key, text.encode("utf-8", "surrogatepass"), hashlib.sha256).hexdigest()
