"""Access tokens (signed, short-lived) and refresh tokens (random, stored as a digest alone)."""

from __future__ import annotations

import hashlib
import secrets
from collections.abc import Callable
from dataclasses import dataclass
from functools import lru_cache

import jwt

ALGORITHM = "HS256"
ISSUER = "amn-marketplace"  # another service with the same secret cannot issue for us by accident
MIN_SECRET = 32  # bytes: RFC 7518 section 3.2 asks for as many as the digest has
MAX_TOKEN = 4096
MAX_REMEMBERED = 4096  # tokens whose signature was verified: a few MB


class InvalidToken(Exception):
    """Not a token of ours, or no longer one: the caller has to log in again."""


@dataclass(frozen=True, slots=True)
class Claims:
    """What an access token says; `expires_at` in unix milliseconds."""

    user_id: str
    role: str
    expires_at: int
    generation: int = 0  # of its user's sessions


class AccessTokens:
    """Issues and reads access tokens; time is the given clock's, in unix milliseconds."""

    def __init__(self, secret: str, now_ms: Callable[[], int], ttl_s: int = 900) -> None:
        if len(secret.encode()) < MIN_SECRET:
            raise ValueError(f"the secret of access tokens must have at least {MIN_SECRET} bytes")
        self._secret = secret
        self._now_ms = now_ms
        self._ttl_s = ttl_s
        # A token comes with each request of its quarter of an hour, and its signature does not change meanwhile.
        self._verified = lru_cache(maxsize=MAX_REMEMBERED)(self._verify)

    def issue(self, user_id: str, role: str, generation: int = 0) -> str:
        """Return a token for a user, of the present generation of their sessions."""
        now = self._now_ms() // 1000
        claims = {"iss": ISSUER, "sub": user_id, "role": role, "gen": generation, "iat": now, "exp": now + self._ttl_s}
        return jwt.encode(claims, self._secret, algorithm=ALGORITHM)

    def read(self, token: str) -> Claims:
        """
        Return what a token says.

        Raises:
            InvalidToken: forged, expired, of another kind, or no token at all.
        """
        claims = self._verified(token)
        role, expires_at, generation = claims["role"], claims["exp"], claims["gen"]
        # bool is an int to Python: {"exp": true} is not a time.
        if not isinstance(role, str) or type(expires_at) is not int or type(generation) is not int:
            raise InvalidToken("a claim has the wrong type")
        found = Claims(str(claims["sub"]), role, expires_at * 1000, generation)
        self.still_valid(found)
        return found

    def still_valid(self, claims: Claims) -> None:
        """
        Do nothing while what a token said holds.

        Raises:
            InvalidToken: it has expired since.
        """
        if self._now_ms() >= claims.expires_at:
            raise InvalidToken("expired")

    def _verify(self, token: str) -> dict[str, object]:
        if len(token) > MAX_TOKEN:
            raise InvalidToken("too long")
        # Times are checked above, by our own clock; the algorithm is ours and never the token's choice.
        options: jwt.types.Options = {
            "require": ["iss", "sub", "role", "gen", "iat", "exp"],
            "verify_exp": False,
            "verify_iat": False,
            "verify_nbf": False,
        }
        try:
            return dict(jwt.decode(token, self._secret, algorithms=[ALGORITHM], issuer=ISSUER, options=options))
        except (jwt.InvalidTokenError, UnicodeError) as exc:
            raise InvalidToken(str(exc)) from exc


def new_refresh() -> tuple[str, str]:
    """Return a refresh token for the user, and its digest for the store."""
    plain = secrets.token_urlsafe(32)
    return plain, digest(plain)


def digest(plain: str) -> str:
    """Return what is stored of a refresh token; it holds 256 random bits, so a fast hash is enough."""
    return hashlib.sha256(plain.encode("utf-8", "surrogatepass")).hexdigest()
