"""What an operator does with callback secrets: change one, and seal all of them with the key in use."""

from __future__ import annotations

import logging

from kernel.clock import Clock
from kernel.logging import fields
from kernel.sealing.secret_cipher import SecretCipher
from kernel.store.database import Database
from scanner.registration.callbacks import CallbackPolicy
from scanner.secrets.rotation import Rotation
from scanner.store import rotations

log = logging.getLogger(__name__)

HOUR_MS = 3_600_000
RESEAL_BATCH = 500


class CallbackSecrets:
    """Changes how deliveries are signed."""

    def __init__(self, db: Database, clock: Clock, cipher: SecretCipher, callbacks: CallbackPolicy) -> None:
        self._db = db
        self._clock = clock
        self._cipher = cipher
        self._callbacks = callbacks

    async def rotate(self, callback_url: str, secret: str, *, overlap_hours: int) -> Rotation:
        """
        Sign everything registered so far with a URL with another secret; for some hours with the former as well.

        Saying the same again changes nothing, so that a call whose answer was lost can be repeated.

        Raises:
            InvalidRequest: the URL or the secret could never be used.
        """
        self._callbacks.check_callback(callback_url, secret)
        now = self._clock.now_ms()
        async with self._db.write() as tx:
            await self._db.lock(tx, f"callback:{callback_url}")
            before = await rotations.get(tx, callback_url)
            if before is not None and self._cipher.decrypt(before.secret) == secret:
                return before
            rotation = Rotation(
                callback_url=callback_url,
                secret=self._cipher.encrypt(secret),
                since=now,
                overlap_until=now + overlap_hours * HOUR_MS,
                former_secret=before and before.secret,
                former_since=before and before.since,
            )
            await rotations.put(tx, rotation)
        log.info("[webhook] a callback secret was changed", extra=fields(overlap_hours=overlap_hours))
        return rotation

    async def rotate_at_rest(self) -> int:
        """
        Seal what is stored in the clear, or with a former key, with the key in use; return how many texts that were.

        A few hundred at a time: others write meanwhile, and a store may hold a million.

        Raises:
            StoreError: something is sealed with a key that is not among ours.
        """
        count = 0
        for column in rotations.HOLDERS:
            after: int | str | None = None
            while stale := await self._stale(column, after):
                # Within a batch the same secret is sealed once: a backend uses one for thousands of intents.
                async with self._db.write() as tx:
                    new = {each: self._cipher.encrypt(self._cipher.decrypt(each.secret)) for each in stale}
                    await rotations.replace_secrets(tx, column, new)
                after = stale[-1].key
                count += len(stale)
        if count:
            log.info("[scanner] callback secrets sealed with the key in use", extra=fields(secrets=count))
        return count

    async def _stale(self, column: rotations.Holder, after: int | str | None) -> list[rotations.Stale]:
        async with self._db.read() as tx:
            return await rotations.stale_secrets(tx, column, self._cipher.prefix, after=after, limit=RESEAL_BATCH)
