"""What time does to digital goods by itself."""

from __future__ import annotations

import logging

from kernel.clock import HOUR_MS
from kernel.errors import WrongKey
from marketplace.goods import handover
from marketplace.goods.keys import GoodsSeal
from marketplace.model import PaymentStatus
from marketplace.store import locks, payments, stock
from marketplace.unit_of_work import UnitOfWorkFactory

log = logging.getLogger(__name__)

BATCH = 100
RESEALED = 200  # goods in one transaction


class GoodsUpkeep:
    """Serves who waits, tells of what expired, and exchanges seals."""

    def __init__(self, units: UnitOfWorkFactory, seal: GoodsSeal) -> None:
        self._units = units
        self._seal = seal

    async def once(self) -> None:
        """Do all of it once."""
        await self.serve()
        await self._tell_expired()
        if self._seal.is_open:
            await self._reseal()

    async def serve(self) -> int:
        """Hand over what is there by now to those who paid for it before; return to how many."""
        async with self._units.db.read() as tx:
            found = await stock.waiting(tx, self._units.clock.now_ms(), BATCH)
        served = 0
        for payment_id in found:
            async with self._units.begin(locks.request_of_payment(payment_id)) as work:
                payment = await payments.get(work.tx, payment_id)
                paid = payment is not None and payment.status is PaymentStatus.COMPLETED
                if payment is not None and paid and not await stock.is_refunded(work.tx, payment_id):
                    served += bool(await handover.serve(work, payment))
        return served

    async def _tell_expired(self) -> None:
        now = self._units.clock.now_ms()
        async with self._units.db.read() as tx:
            found = await stock.expired_lately(tx, now - HOUR_MS, now)
        for pool_id in found:
            async with self._units.begin(locks.pool(pool_id)) as work:
                await handover.tell_low(work, pool_id)

    async def _reseal(self) -> None:
        """Seal with the key in use what is sealed with one before, some at a time."""
        cipher = self._seal.keys.cipher
        async with self._units.db.read() as tx:
            found = await stock.sealed_otherwise(tx, cipher.key_id, RESEALED)
        if not found:
            return
        resealed = 0
        async with self._units.begin(None) as work:
            for item_id, was in found:
                try:
                    sealed = cipher.seal(cipher.open(was, item_id), item_id)
                except WrongKey as exc:  # one that was changed in the store keeps no other waiting
                    log.warning("[goods] %s", exc)
                    continue
                resealed += await stock.reseal(work.tx, item_id, was=was, sealed=sealed, key_id=cipher.key_id)
        log.info("[goods] %d goods are sealed with key %s now", resealed, cipher.key_id)
