"""
What a payment takes out of stocks: in the transaction that funds it, or as soon as there is something again.

The row of the request is locked already, and pools after it, in one order. All or nothing of each pool: half of
what was paid for would be neither delivered nor missing.
"""

from __future__ import annotations

from marketplace.errors import Refused
from marketplace.model import Payment, ProductType, RequestStatus
from marketplace.store import requests, stock
from marketplace.store.database import Tx
from marketplace.store.stock import RESERVED, RETURNED, WAITING, Order
from marketplace.unit_of_work import UnitOfWork


async def refuse_out_of_stock(tx: Tx, offer_id: str, now: int) -> None:
    """Refuse to let somebody pay for what is not there."""
    for pool_id, units in (await stock.offered(tx, offer_id)).items():
        await refuse_too_few(tx, pool_id, units, now)


async def refuse_too_few(tx: Tx, pool_id: str, units: int, now: int) -> None:
    """Refuse to sell more of a pool than is in it."""
    left = await stock.count_free(tx, pool_id, now)
    if left < units:
        raise Refused("out_of_stock", "there is not enough in stock", wanted=units, left=left)


async def hand_over(work: UnitOfWork, payment: Payment) -> None:
    """Keep for a payment that is being funded what its offer hands over."""
    wanted = await stock.offered(work.tx, payment.seller_offer_id)
    if not wanted:
        return
    await stock.hold_pools(work.tx, wanted)
    for pool_id, units in wanted.items():
        taken = await stock.take(work.tx, pool_id, payment.id, units, work.now)
        await stock.add_order(work.tx, payment.id, pool_id, units, RESERVED if taken else WAITING, work.now)
        await tell_low(work, pool_id)
    await _tell(work, payment)


async def serve(work: UnitOfWork, payment: Payment) -> int:
    """Keep for a funded payment what was not there when it was funded; return how many orders it was."""
    waiting = [order for order in await stock.orders(work.tx, payment.id) if order.status == WAITING]
    await stock.hold_pools(work.tx, [order.pool_id for order in waiting])
    served = 0
    for order in waiting:
        served += await _serve(work, order)
    if served:
        await _tell(work, payment)
    return served


async def _serve(work: UnitOfWork, order: Order) -> bool:
    if not await stock.take(work.tx, order.pool_id, order.payment_id, order.units, work.now):
        return False
    await stock.change_order(work.tx, order, work.now, RESERVED)
    await tell_low(work, order.pool_id)
    return True


async def take_back(work: UnitOfWork, payment: Payment) -> int:
    """
    Put back into the stock what is kept for a payment that is paid back whole, and nobody saw; return how many goods.

    What was shown stays its buyer's: nobody can make them forget it, and nobody else may get it.
    """
    return await give_back(work, payment) if await stock.is_refunded(work.tx, payment.id) else 0


async def give_back(work: UnitOfWork, payment: Payment) -> int:
    """Put back into the stock what is kept for a payment and nobody saw, and let it wait for nothing."""
    orders = [order for order in await stock.orders(work.tx, payment.id) if order.status != RETURNED]
    await stock.hold_pools(work.tx, [order.pool_id for order in orders])
    returned = await stock.give_back(work.tx, payment.id)
    for order in orders:
        await stock.change_order(work.tx, order, work.now, RETURNED)
        await has_more(work, order.pool_id)
    return returned


async def replace_expired(work: UnitOfWork, payment: Payment) -> None:
    """Exchange what expired before its buyer looked: expired goods are shown to nobody."""
    kept = await stock.sold_to(work.tx, payment.id)
    stale = [each for each in kept if _is_stale(each, work.now)]
    if not stale:
        return
    pools = {each.pool_id for each in stale}
    await stock.hold_pools(work.tx, pools)
    # Of the whole pool: an order is there whole or waits whole, unless a part of it was shown before.
    for order in await stock.orders(work.tx, payment.id):
        if order.pool_id not in pools or order.status != RESERVED:
            continue
        gone = [each.id for each in stale if each.pool_id == order.pool_id]
        await stock.give_back(work.tx, payment.id, gone)
        if not await stock.take(work.tx, order.pool_id, payment.id, len(gone), work.now):
            raise Refused("out_of_stock", "what was kept for you expired, and there is no other: ask the seller")
        await tell_low(work, order.pool_id)


def _is_stale(item: stock.SoldItem, now: int) -> bool:
    return item.revealed_at is None and item.expires_at is not None and item.expires_at <= now


async def tell_low(work: UnitOfWork, pool_id: str) -> None:
    """Tell the seller once that a stock runs out, and once that it is empty."""
    left = await stock.count_free(work.tx, pool_id, work.now)
    if not await stock.tell_left(work.tx, pool_id, left):
        return
    pool = await stock.pool(work.tx, pool_id)
    if pool is not None:
        title = f"{pool.name}: {left} left in stock" if left else f"{pool.name} is out of stock"
        work.notify([pool.seller_id], "goods", "stock_low", title, about=pool.id, url=f"/stock/{pool.id}")


async def has_more(work: UnitOfWork, pool_id: str) -> None:
    """Let a stock that has enough again be told of the next time."""
    await stock.forget_told(work.tx, pool_id, await stock.count_free(work.tx, pool_id, work.now))


async def _tell(work: UnitOfWork, payment: Payment) -> None:
    """Say to the two sides whether everything is there; a request for digital goods is delivered by that."""
    orders = await stock.orders(work.tx, payment.id)
    if any(order.status == WAITING for order in orders):
        title = f"{payment.ref} is paid and waits for goods that are out of stock"
        work.notify_of_payment([payment.buyer_id, payment.seller_id], payment, "goods_waiting", title)
        return
    work.notify_of_payment([payment.buyer_id], payment, "goods_ready", f"What you bought is ready: {payment.ref}")
    request = await requests.get(work.tx, payment.purchase_request_id)
    if request is None or request.product_type is not ProductType.DIGITAL:
        return  # the rest of it is on its way by other means
    changes = {"status": RequestStatus.DELIVERY, "delivered_at": request.delivered_at or work.now}
    proof = {**(request.delivery_proof or {}), "goods": sum(order.units for order in orders)}
    expected = (RequestStatus.PROCESSING,)
    await requests.change(work.tx, request.id, work.now, expected=expected, **changes, delivery_proof=proof)
