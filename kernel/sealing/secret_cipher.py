"""
Secrets at rest: sealed with the operator's key, opened only where they are needed.

A sealed text names its key, so that keys can be exchanged: `enc1:<key id>:<Fernet token>`
(https://github.com/fernet/spec). Without a key a secret stays as it is, which no daemon does.
"""

from __future__ import annotations

import base64
import functools
import hashlib
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path

from cryptography.fernet import Fernet, InvalidToken

from kernel.errors import WrongKey
from kernel.sealing.keys import GivenKeys, key_file, keys_at_hand, make_key, parse_key

SEALED = "enc1:"
PLAIN = "plain1:"  # before a secret that would look like one of ours


class SecretCipher:
    """Seals with one key, opens with that and with those before it."""

    def __init__(self, keys: Sequence[str] = (), *, setting: str = "SCANNER_SECRET_KEY") -> None:
        """Take base64 keys of 32 bytes, the one in use first. Raises ValueError when one is not that."""
        self._setting = setting
        self._keys = {key_id(raw): Fernet(base64.urlsafe_b64encode(raw)) for raw in map(parse_key, keys)}
        self._current = next(iter(self._keys), None)
        # A backend uses the same secret for thousands of intents.
        self.encrypt: Callable[[str], str] = functools.lru_cache(maxsize=1024)(self._encrypt)
        self.decrypt: Callable[[str], str] = functools.lru_cache(maxsize=1024)(self._decrypt)

    def _encrypt(self, secret: str) -> str:
        """Return a secret as it is stored."""
        if self._current is None:
            return PLAIN + secret if secret.startswith((SEALED, PLAIN)) else secret
        return f"{SEALED}{self._current}:{self._keys[self._current].encrypt(secret.encode()).decode()}"

    def _decrypt(self, stored: str) -> str:
        """
        Return the secret behind a stored text.

        Raises:
            WrongKey: it was sealed with a key that is not among ours, or was tampered with.
        """
        if stored.startswith(PLAIN):
            return stored.removeprefix(PLAIN)
        if not stored.startswith(SEALED):
            return stored
        owner, _, token = stored.removeprefix(SEALED).partition(":")
        if owner not in self._keys:
            raise WrongKey(f"a secret is sealed with key {owner}: put that key into {self._setting}_FORMER")
        try:
            return self._keys[owner].decrypt(token.encode()).decode()
        except InvalidToken as exc:
            raise WrongKey(f"a secret sealed with key {owner} was changed in the store") from exc

    @property
    def prefix(self) -> str:
        """What every text begins with that is sealed with the key in use; nothing when there is no key."""
        return "" if self._current is None else f"{SEALED}{self._current}:"

    def is_current(self, stored: str) -> bool:
        """Say whether a stored text is what `encrypt` would make of its secret today."""
        return stored.startswith(self.prefix) if self.prefix else not stored.startswith(SEALED)


def open_cipher(store: Path, given: GivenKeys, stored: Iterable[str], *, setting: str) -> SecretCipher:
    """
    Return what seals the secrets of a store; a key is made when there is none, so that none ever lies in the clear.

    Raises:
        WrongKey: something is sealed, and the key that was made beside the store is gone.
    """
    keys = keys_at_hand(store, given)
    if given.current is None and not key_file(store).exists():
        cipher = SecretCipher(keys, setting=setting)
        try:
            for text in stored:
                cipher.decrypt(text)
        except WrongKey as exc:  # a new key would open nothing, and look as if it did
            raise WrongKey(f"{exc}, or put back {key_file(store)}") from exc
        keys = [make_key(store), *keys]
    return SecretCipher(keys, setting=setting)


def key_id(raw: bytes) -> str:
    """Return the name of a key: says which, tells nothing about it."""
    return hashlib.sha256(b"amn callback secrets " + raw).hexdigest()[:12]
