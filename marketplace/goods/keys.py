"""The key that seals digital goods, and the proof that it is the right one."""

from __future__ import annotations

import base64
import os
from dataclasses import dataclass, field

from kernel.errors import WrongKey
from kernel.sealing.keys import GivenKeys
from marketplace.errors import Refused
from marketplace.goods.cipher import DIGEST_KEY_BYTES, SETTING, GoodsCipher
from marketplace.store import stock
from marketplace.store.database import Database

ROW = "goods_keys"


@dataclass(frozen=True, slots=True)
class GoodsKeys:
    """What seals goods, and what names them."""

    cipher: GoodsCipher
    digest_key: bytes = field(repr=False)


class GoodsSeal:
    """The keys once the store was asked; without a key in the settings nothing is sealed and nothing opened."""

    def __init__(self, given: GivenKeys) -> None:
        self._given = given
        self._keys: GoodsKeys | None = None

    @property
    def keys(self) -> GoodsKeys:
        """
        Return the keys.

        Raises:
            Refused: there are none.
        """
        if self._keys is None:
            raise Refused("not_configured", f"{SETTING} is not set: there are no digital goods here")
        return self._keys

    @property
    def is_open(self) -> bool:
        return self._keys is not None

    async def open(self, db: Database) -> None:
        """
        Compare the keys of the settings with the store.

        Raises:
            WrongKey: goods are sealed with a key that is not among them.
        """
        async with db.read() as tx:
            sealed, used = await stock.sealed_key(tx), await stock.key_ids(tx)
        if self._given.current is None:
            if sealed is not None:
                raise WrongKey(f"goods are sealed in the store: set {SETTING} to their key")
            return
        cipher = GoodsCipher(self._given.every)
        missing = sorted(each for each in used if not cipher.knows(each))
        if missing:
            raise WrongKey(f"goods are sealed with key {missing[0]}: put that key into {SETTING}_FORMER")
        text = await self._proof(db, cipher, sealed)
        self._keys = GoodsKeys(cipher, base64.b64decode(text))

    async def _proof(self, db: Database, cipher: GoodsCipher, sealed: str | None) -> str:
        """Return the key of digests, made when there is none, and sealed with the key in use."""
        text = base64.b64encode(os.urandom(DIGEST_KEY_BYTES)).decode() if sealed is None else cipher.open(sealed, ROW)
        if sealed is not None and sealed.split(":", 2)[1] == cipher.key_id:
            return text
        async with db.write() as tx:
            if await stock.put_key(tx, cipher.seal(text, ROW), was=sealed):
                return text
            now = await stock.sealed_key(tx)  # another process was faster
        if now is None:
            raise LookupError("the key of digests is gone")
        return cipher.open(now, ROW)
