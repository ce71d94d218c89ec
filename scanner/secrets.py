"""
Callback secrets at rest: sealed with the operator's key, opened only to sign or to compare.

A sealed text names its key, so that keys can be exchanged: `enc1:<key id>:<Fernet token>`
(https://github.com/fernet/spec). Without a key a secret is stored as it is.
"""

from __future__ import annotations

import base64
import functools
import hashlib
from collections.abc import Callable, Sequence

from cryptography.fernet import Fernet, InvalidToken

from config.sealing import parse_key
from scanner.store.errors import StoreError

SEALED = "enc1:"
PLAIN = "plain1:"  # before a secret that would look like one of ours


class SecretBox:
    """Seals with one key, opens with that and with those before it."""

    def __init__(self, keys: Sequence[str] = ()) -> None:
        """Take base64 keys of 32 bytes, the one in use first. Raises ValueError when one is not that."""
        self._keys = {key_id(raw): Fernet(base64.urlsafe_b64encode(raw)) for raw in map(parse_key, keys)}
        self._current = next(iter(self._keys), None)
        # A backend uses the same secret for thousands of intents.
        self.seal: Callable[[str], str] = functools.lru_cache(maxsize=1024)(self._seal)
        self.open: Callable[[str], str] = functools.lru_cache(maxsize=1024)(self._open)

    def _seal(self, secret: str) -> str:
        """Return a secret as it is stored."""
        if self._current is None:
            return PLAIN + secret if secret.startswith((SEALED, PLAIN)) else secret
        return f"{SEALED}{self._current}:{self._keys[self._current].encrypt(secret.encode()).decode()}"

    def _open(self, stored: str) -> str:
        """
        Return the secret behind a stored text.

        Raises:
            StoreError: it was sealed with a key that is not among ours, or was tampered with.
        """
        if stored.startswith(PLAIN):
            return stored.removeprefix(PLAIN)
        if not stored.startswith(SEALED):
            return stored
        owner, _, token = stored.removeprefix(SEALED).partition(":")
        if owner not in self._keys:
            raise StoreError(
                f"a callback secret is sealed with key {owner}: put that key into SCANNER_SECRET_KEY_FORMER"
            )
        try:
            return self._keys[owner].decrypt(token.encode()).decode()
        except InvalidToken as exc:
            raise StoreError(f"a callback secret sealed with key {owner} was changed in the store") from exc

    def is_current(self, stored: str) -> bool:
        """Say whether a stored text is what `seal` would make of its secret today."""
        if self._current is None:
            return not stored.startswith(SEALED)
        return stored.startswith(f"{SEALED}{self._current}:")


def key_id(raw: bytes) -> str:
    """Return the name of a key: says which, tells nothing about it."""
    return hashlib.sha256(b"amn callback secrets " + raw).hexdigest()[:12]
