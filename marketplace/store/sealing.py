"""The key that seals what the store must not show, and the proof that it is the right one."""

from __future__ import annotations

import asyncio
import logging
from pathlib import Path

from kernel.sealing.keys import GivenKeys, key_file
from kernel.sealing.secret_cipher import SecretCipher, open_cipher
from marketplace.store import keys, second_factors
from marketplace.store.database import Database

log = logging.getLogger(__name__)

SETTING = "MARKETPLACE_SECRET_KEY"
PROOF = "this is the right key"


async def open_sealing(db: Database, store: Path, given: GivenKeys) -> SecretCipher:
    """
    Return what seals secrets at rest, and name the key file that has to be kept.

    Raises:
        WrongKey: no key at hand opens what is sealed.
    """
    async with db.read() as tx:
        stored = await keys.sealed(tx)
    if db.shared:  # no key beside a file: every process needs the same
        cipher = SecretCipher(given.every, setting=SETTING)
    else:
        cipher = await asyncio.to_thread(open_cipher, store, given, stored, setting=SETTING)
    for text in stored:
        cipher.decrypt(text)
    await _seal_anew(db, cipher)
    if not stored or not all(map(cipher.is_current, stored)):
        async with db.write() as tx:
            await keys.put_proof(tx, cipher.encrypt(PROOF))
    if not db.shared and given.current is None:
        log.info("[marketplace] secrets are sealed with the key in %s: keep a copy elsewhere", key_file(store))
    return cipher


async def _seal_anew(db: Database, cipher: SecretCipher) -> None:
    """Seal with the key in use what a former one sealed, so that the former can be thrown away."""
    async with db.read() as tx:
        old = await second_factors.sealed_otherwise(tx, cipher.prefix)
    for user_id, sealed in old:
        async with db.write() as tx:
            await second_factors.seal_anew(tx, user_id, sealed, cipher.encrypt(cipher.decrypt(sealed)))
