"""Payments; every lookup a webhook makes is scoped to our provider."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from dataclasses import asdict
from typing import Any

from sqlalchemy import func, insert, or_, select, update

from marketplace.model import (
    HOSTED,
    OPEN_PAYMENTS,
    CommandKind,
    Direction,
    EscrowState,
    Page,
    Payment,
    PaymentStatus,
    Provider,
    Rail,
    RequestStatus,
)
from marketplace.store.database import Tx
from marketplace.store.rows import changed, many, one, paged
from marketplace.store.tables import payments, purchase_requests, scanner_outbox

_p = payments.c
ASK_HOSTED_MS = 60_000  # how often a hosted provider is asked about a payment nothing is heard of
FINISHED = (PaymentStatus.COMPLETED, PaymentStatus.CANCELLED, PaymentStatus.REFUNDED, PaymentStatus.FAILED)


async def add(tx: Tx, payment: Payment) -> None:
    await tx.execute(insert(payments).values(**asdict(payment)))


async def get(tx: Tx, payment_id: str) -> Payment | None:
    return await one(tx, select(payments).where(_p.id == payment_id), Payment)


async def of_scanner(tx: Tx, names: Sequence[str]) -> Payment | None:
    """
    Find the pay-in that an event names: under the id the scanner knows it by, else under our own.

    Our own is no name a watched payment has there: such an event is about another rail, which its reader has to see.
    """
    ours = select(payments).where(_p.provider == Provider.SCANNER, _p.direction == Direction.IN)
    for column in (_p.provider_payment_id, _p.id):
        for name in names:
            found = await one(tx, ours.where(column == name), Payment)
            if found is not None:
                return found
    return None


async def of_hosted(tx: Tx, provider: Provider, name: str) -> Payment | None:
    """Find the pay-in that a hosted provider knows by a name: never one that another takes."""
    theirs = (_p.provider == provider) & (_p.direction == Direction.IN)
    return await one(tx, select(payments).where(theirs, _p.provider_payment_id == name), Payment)


async def is_paid_elsewhere_at(tx: Tx, chain_id: int, destination: str, *, but: str) -> bool:
    """Say whether another payment is, or was, paid at an address."""
    others = select(_p.id).where(_p.chain_id == chain_id, _p.destination == destination, _p.id != but)
    return (await tx.execute(others.limit(1))).first() is not None


async def pay_in(tx: Tx, request_id: str) -> Payment | None:
    """Return the one pay-in of a request that is open or was paid."""
    live = (*OPEN_PAYMENTS, PaymentStatus.COMPLETED)
    theirs = (_p.purchase_request_id == request_id) & (_p.direction == Direction.IN)
    return await one(tx, select(payments).where(theirs, _p.status.in_(live)), Payment)


async def other_open(tx: Tx, payment: Payment) -> list[Payment]:
    """Return other open pay-ins of the same request."""
    theirs = (_p.purchase_request_id == payment.purchase_request_id) & (_p.direction == Direction.IN)
    return await many(tx, select(payments).where(theirs, _p.id != payment.id, _p.status.in_(OPEN_PAYMENTS)), Payment)


async def instruction_of(tx: Tx, payment_id: str, direction: Direction) -> Payment | None:
    """Return the instruction that empties a pay-in in this direction."""
    found = (_p.settles_payment_id == payment_id) & (_p.direction == direction)
    return await one(tx, select(payments).where(found), Payment)


async def instructions_of(tx: Tx, payment_id: str) -> list[Payment]:
    """Return the instructions that empty a pay-in, one a direction at most."""
    return await many(tx, select(payments).where(_p.settles_payment_id == payment_id), Payment)


async def instructions(tx: Tx, page: Page, *, status: PaymentStatus | None) -> tuple[list[Payment], int]:
    """Return one page of instructions to move money out, newest first."""
    given = select(payments).where(_p.direction != Direction.IN).order_by(_p.created_at.desc(), _p.id)
    if status is not None:
        given = given.where(_p.status == status)
    return await paged(tx, given, Payment, page)


async def by_ids(tx: Tx, payment_ids: Collection[str]) -> dict[str, Payment]:
    """Return payments by their ids."""
    found = await many(tx, select(payments).where(_p.id.in_(payment_ids)), Payment)
    return {payment.id: payment for payment in found}


async def history(tx: Tx, user_id: str | None, role: str, page: Page) -> tuple[list[Payment], int]:
    """Return payments of a person in a role, newest first; `user_id` None is everybody's."""
    found = select(payments).order_by(_p.created_at.desc(), _p.id)
    if user_id is not None:
        sides = {"buyer": _p.buyer_id == user_id, "seller": _p.seller_id == user_id}
        found = found.where(sides.get(role, or_(*sides.values())))
    return await paged(tx, found, Payment, page)


async def awaiting(tx: Tx, page: Page) -> tuple[list[Payment], int]:
    """Return open pay-ins for which something was seen: on their way, or held for a person."""
    seen = (_p.status == PaymentStatus.PROCESSING) & (_p.direction == Direction.IN)
    return await paged(tx, select(payments).where(seen).order_by(_p.updated_at.desc(), _p.id), Payment, page)


async def to_look_at(tx: Tx, *, now: int, limit: int) -> list[Payment]:
    """Return open pay-ins whose time is over, or that wait for what may come by itself; longest unseen first."""
    opened = (_p.direction == Direction.IN) & _p.status.in_(OPEN_PAYMENTS)
    order = func.coalesce(_p.looked_at, 0)
    # Webhooks of a hosted provider may be lost for good: it is asked, too.
    asked = _p.provider.in_(HOSTED) & _p.registered_at.is_not(None) & (order <= now - ASK_HOSTED_MS)
    due = (_p.expires_at <= now) | (_p.status == PaymentStatus.PROCESSING) | asked
    found = select(payments).where(opened, due).order_by(order, _p.id).limit(limit)
    # What somebody decides about just now is looked at the next time: rows are locked here in no order.
    return await many(tx, found.with_for_update(skip_locked=True, key_share=True), Payment)


async def set_looked_at(tx: Tx, payment_ids: Collection[str], now: int) -> None:
    """Note that the sweep looked at these, so that the next one starts with others."""
    await tx.execute(update(payments).where(_p.id.in_(payment_ids)).values(looked_at=now))


async def forgotten_watches(tx: Tx) -> list[Payment]:
    """Return finished payments whose watch was never stopped and that nobody is about to stop."""
    watched = (_p.rail == Rail.DIRECT_BALANCE) & _p.provider_payment_id.is_not(None)
    over = watched & _p.status.in_(FINISHED) & _p.watch_stopped_at.is_(None)
    tried = select(scanner_outbox.c.payment_id).where(scanner_outbox.c.kind == CommandKind.STOP_WATCH)
    return await many(tx, select(payments).where(over, _p.id.not_in(tried)), Payment)


async def in_grace(tx: Tx) -> list[Payment]:
    """Return funded pay-ins whose goods were delivered, so that time or a confirmation may release them."""
    joined = select(payments).join(purchase_requests, purchase_requests.c.id == _p.purchase_request_id)
    delivered = (RequestStatus.DELIVERY, RequestStatus.DELIVERED)
    funded = (_p.direction == Direction.IN) & (_p.escrow_state == EscrowState.FUNDED)
    return await many(tx, joined.where(funded, purchase_requests.c.status.in_(delivered)), Payment)


async def every(tx: Tx) -> list[Payment]:
    """Return every payment there is: reconciliation leaves none out."""
    return await many(tx, select(payments).order_by(_p.created_at, _p.id), Payment)


async def change(tx: Tx, payment_id: str, now: int, *, expected: Collection[PaymentStatus], **values: Any) -> bool:
    """Change a payment that is in one of the expected statuses; False when it is in another."""
    guarded = update(payments).where(_p.id == payment_id, _p.status.in_(expected))
    return await changed(tx, guarded.values(**values, updated_at=now))


async def complete(tx: Tx, payment_id: str, now: int, **values: Any) -> bool:
    """Fund a pay-in once: False when it is completed already, or over."""
    guarded = update(payments).where(_p.id == payment_id, _p.direction == Direction.IN, _p.status.not_in(FINISHED))
    funded = {"status": PaymentStatus.COMPLETED, "escrow_state": EscrowState.FUNDED, "hold_reason": None}
    return await changed(tx, guarded.values(**funded, **values, updated_at=now))


async def move_escrow(tx: Tx, payment_id: str, now: int, *, expected: Collection[EscrowState], **values: Any) -> bool:
    """Change a pay-in whose escrow is in one of the expected states; False when it is in another."""
    guarded = update(payments).where(_p.id == payment_id, _p.escrow_state.in_(expected))
    return await changed(tx, guarded.values(**values, updated_at=now))


async def set_baseline(tx: Tx, payment_id: str, baseline: int) -> None:
    """Store the baseline once: the first one is the one that counts."""
    unset = update(payments).where(_p.id == payment_id, _p.baseline_balance.is_(None))
    await tx.execute(unset.values(baseline_balance=baseline, current_balance=baseline))


async def set_registered(tx: Tx, payment_id: str, now: int, **values: Any) -> bool:
    """Note that the scanner knows of it; False when that was noted before or the payment is over."""
    waiting = (_p.id == payment_id) & _p.registered_at.is_(None) & _p.status.in_(OPEN_PAYMENTS)
    return await changed(tx, update(payments).where(waiting).values(registered_at=now, **values, updated_at=now))


async def set_watch_stopped(tx: Tx, payment_id: str, now: int) -> None:
    await tx.execute(update(payments).where(_p.id == payment_id).values(watch_stopped_at=now))


async def set_observed(tx: Tx, payment_id: str, now: int, **values: Any) -> None:
    """Keep what was seen of a payment, whatever became of it."""
    await tx.execute(update(payments).where(_p.id == payment_id).values(**values, updated_at=now))
