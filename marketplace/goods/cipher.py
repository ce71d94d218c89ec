"""
Digital goods at rest: sealed with a key of their own, each bound to its row.

A sealed text names its key, so that keys can be exchanged: `goods1:<key id>:<base64 of nonce and ciphertext>`
(AES-256-GCM). The row's id goes into it: else whoever can write the store could show a buyer another one's good.
"""

from __future__ import annotations

import base64
import binascii
import hashlib
import hmac
import os
from collections.abc import Sequence

from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import AESGCM

from kernel.errors import WrongKey
from kernel.sealing.keys import parse_key

SETTING = "MARKETPLACE_GOODS_KEY"
SEALED = "goods1"
NONCE = 12
DIGEST_KEY_BYTES = 32


class GoodsCipher:
    """Seals with the first key, opens with any. Nothing that was opened is kept."""

    def __init__(self, keys: Sequence[str]) -> None:
        """Take base64 keys of 32 bytes, the one in use first. Raises ValueError when one is not that."""
        raw = [parse_key(key) for key in keys]
        self._keys = {_key_id(each): AESGCM(each) for each in raw}
        self.key_id = _key_id(raw[0])

    def seal(self, text: str, row_id: str) -> str:
        """Return a text as it is stored in a row."""
        nonce = os.urandom(NONCE)
        sealed = self._keys[self.key_id].encrypt(nonce, text.encode(), row_id.encode())
        return f"{SEALED}:{self.key_id}:{base64.b64encode(nonce + sealed).decode()}"

    def open(self, stored: str, row_id: str) -> str:
        """
        Return the text behind what is stored in a row.

        Raises:
            WrongKey: it was sealed with a key that is not among ours, or was changed, or is of another row.
        """
        owner = key_of(stored)
        if owner not in self._keys:
            raise WrongKey(f"goods are sealed with key {owner}: put that key into {SETTING}_FORMER")
        try:
            raw = base64.b64decode(stored.split(":", 2)[2], validate=True)
            return self._keys[owner].decrypt(raw[:NONCE], raw[NONCE:], row_id.encode()).decode()
        except (InvalidTag, ValueError, binascii.Error) as exc:
            raise WrongKey(f"what is sealed with key {owner} in row {row_id} was changed in the store") from exc

    def knows(self, key_id: str) -> bool:
        """Say whether what was sealed with a key can be opened."""
        return key_id in self._keys


def key_of(stored: str) -> str:
    """Return the name of the key a text is sealed with."""
    prefix, _, rest = stored.partition(":")
    owner, _, _ = rest.partition(":")
    if prefix != SEALED or not owner:
        raise WrongKey("what lies in the store is no sealed good")
    return owner


def digest(key: bytes, seller_id: str, content: str) -> str:
    """Name a good without saying what it is: the same content of one seller has the same name."""
    return hmac.new(key, f"{seller_id}\n{content}".encode(), hashlib.sha256).hexdigest()


def _key_id(raw: bytes) -> str:
    return hashlib.sha256(b"amn digital goods " + raw).hexdigest()[:12]
