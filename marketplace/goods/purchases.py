"""What the buyer of digital goods sees of them: that they are there, and what they are once they ask for it."""

from __future__ import annotations

import logging
from collections.abc import Sequence
from dataclasses import dataclass, field

from kernel.errors import WrongKey
from marketplace.errors import Refused, conflict, forbidden
from marketplace.goods import handover
from marketplace.goods.keys import GoodsSeal
from marketplace.model import Actor, DisputeOutcome, EscrowState, Payment, PaymentStatus
from marketplace.store import disputes, locks, payments, stock
from marketplace.store.database import Tx
from marketplace.store.stock import Order, SoldItem
from marketplace.trade.requests import found, found_of_buyer
from marketplace.unit_of_work import UnitOfWork, UnitOfWorkFactory, new_id
from protocol.wire import rfc3339

log = logging.getLogger(__name__)

MAX_READINGS = 50  # of one payment: each is kept
PAID = (EscrowState.FUNDED, EscrowState.RELEASABLE, EscrowState.RELEASING, EscrowState.RELEASED, EscrowState.PARTIAL)


@dataclass(frozen=True, slots=True)
class Purchased:
    """What is kept for a payment, and what it waits for."""

    items: Sequence[SoldItem]
    waiting: int


@dataclass(frozen=True, slots=True)
class ShownItem:
    """A good as its buyer sees it."""

    item: SoldItem
    content: str = field(repr=False)
    revealed_at: int


class PurchasedGoods:
    """Use cases of buyers."""

    def __init__(self, units: UnitOfWorkFactory, seal: GoodsSeal) -> None:
        self._units = units
        self._seal = seal

    async def show(self, actor: Actor, request_id: str) -> Purchased:
        """Say what is kept for a request, to its two sides and those who decide; never what it is."""
        async with self._units.db.read() as tx:
            request = await found(tx, request_id)
            payment = await payments.pay_in(tx, request_id)
            sides = {request.buyer_id, None if payment is None else payment.seller_id}
            if actor.user_id not in sides and not actor.is_admin:
                raise forbidden("this purchase request is somebody else's")
            if payment is None:
                return Purchased((), 0)
            orders = await stock.orders(tx, payment.id)
            return Purchased(await stock.sold_to(tx, payment.id), _waiting(orders))

    async def reveal(self, actor: Actor, request_id: str) -> list[ShownItem]:
        """Show the buyer what they bought, and keep that and when they were shown it."""
        keys = self._seal.keys
        async with self._units.begin(locks.request(request_id)) as work:
            request = await found_of_buyer(work.tx, actor, request_id)
            payment = await payments.pay_in(work.tx, request.id)
            if payment is None or not await stock.orders(work.tx, payment.id):
                raise conflict("nothing was paid for that could be shown", reason="no_goods")
            _refuse_unpaid(payment)
            kept = await stock.sold_to(work.tx, payment.id)
            if not kept or any(each.revealed_at is None for each in kept):
                await _refuse_in_doubt(work.tx, payment)
                await handover.replace_expired(work, payment)
            kept = await stock.sold_to(work.tx, payment.id)
            if not kept:
                raise Refused("out_of_stock", "the seller has none at the moment: you are told once there is one")
            await self._note(work, payment, kept)
            try:
                opened = [keys.cipher.open(each.sealed, each.id) for each in kept]
            except WrongKey as exc:
                log.warning("[goods] payment %s: %s", payment.id, exc)
                raise Refused("not_configured", "the key of what you bought is not at hand: ask the operator") from exc
            now = work.now
        return [ShownItem(each, text, each.revealed_at or now) for each, text in zip(kept, opened, strict=True)]

    @staticmethod
    async def _note(work: UnitOfWork, payment: Payment, kept: Sequence[SoldItem]) -> None:
        if await stock.count_readings(work.tx, payment.id) >= MAX_READINGS:
            raise Refused("too_many_attempts", f"this was shown {MAX_READINGS} times: keep what you were shown")
        first = [each.id for each in kept if each.revealed_at is None]
        await stock.reveal(work.tx, payment.id, payment.buyer_id, first, work.now)
        await stock.add_reading(work.tx, new_id(), payment.id, payment.buyer_id, len(kept), work.now)
        if first:
            title = f"{payment.ref}: the buyer was shown what they bought"
            work.notify_of_payment([payment.seller_id], payment, "goods_revealed", title)


def _refuse_unpaid(payment: Payment) -> None:
    """Show nothing for money that may not be there."""
    if payment.status is not PaymentStatus.COMPLETED or payment.escrow_state not in PAID:
        raise conflict("this is not paid", status=payment.status, escrowState=payment.escrow_state)


async def _refuse_in_doubt(tx: Tx, payment: Payment) -> None:
    """Show nothing new while the money may go back: what was shown cannot be taken away again."""
    if payment.reorged_at is not None:
        said = "what paid may be gone from the chain: an admin looks at it first"
        raise Refused("reorged", said, reason="reorged", reorgedAt=rfc3339(payment.reorged_at))
    if payment.ordered is DisputeOutcome.REFUND or await stock.is_refunded(tx, payment.id):
        raise conflict("this is being paid back", reason="refunded")
    if await disputes.share_of_split(tx, payment.id):
        raise conflict("a dispute paid a part of this back: nothing more is shown", reason="split")
    if await disputes.open_of(tx, payment.id) is not None:
        raise conflict("a dispute is open: it is decided first", reason="dispute_open")


def _waiting(orders: Sequence[Order]) -> int:
    return sum(order.units for order in orders if order.status == stock.WAITING)
