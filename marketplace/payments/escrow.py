"""Emptying an escrow in the books: the lines that divide its money, written once and together."""

from __future__ import annotations

from marketplace.errors import conflict
from marketplace.model import Direction, EscrowState, LedgerEntryType, Payment, PaymentStatus, RequestStatus
from marketplace.payments.fees import Division
from marketplace.payments.ledger import balances
from marketplace.store import ledger, offers, payments, requests
from marketplace.store.database import Tx
from marketplace.unit_of_work import UnitOfWork

PAID_STATES = (EscrowState.FUNDED, EscrowState.RELEASABLE)
IN_DELIVERY = (
    RequestStatus.PROCESSING,
    RequestStatus.DELIVERY,
    RequestStatus.DELIVERED,
    RequestStatus.CONFIRMING,
)


def is_split(payment: Payment) -> bool:
    """Say whether both sides get a part: booked, and not sent whole yet. A payment paid in part is not completed."""
    return payment.escrow_state is EscrowState.PARTIAL and payment.status is PaymentStatus.COMPLETED


async def agreed_fee(tx: Tx, payment: Payment) -> int:
    """Return the basis points that were frozen when the offer of a payment was accepted."""
    offer = await offers.get(tx, payment.seller_offer_id)
    if offer is None or offer.platform_fee_bps is None:
        raise LookupError(f"payment {payment.id} is of no accepted offer")
    return offer.platform_fee_bps


async def empty(
    work: UnitOfWork, payment: Payment, division: Division, state: EscrowState, *, reason: str | None = None
) -> None:
    """Divide what an escrow holds in the books and leave it in `state`; nothing that is not there is divided."""
    if payment.escrow_state not in PAID_STATES:
        raise conflict("there is no money in this escrow", status=payment.status, escrowState=payment.escrow_state)
    sums = balances(await ledger.lines(work.tx, payment.id))
    if sums.held - sums.disputed < payment.amount_base:
        raise conflict("the ledger holds less than this payment", held=str(sums.held), disputed=str(sums.disputed))
    changed = {"escrow_state": state, "reason": reason}
    if not await payments.move_escrow(work.tx, payment.id, work.now, expected=PAID_STATES, **changed):
        raise conflict("the escrow has changed: read it again")
    for entry, amount in (
        (LedgerEntryType.REFUND, division.buyer),
        (LedgerEntryType.PLATFORM_FEE, division.fee),
        (LedgerEntryType.RELEASE, division.seller),
    ):
        if amount > 0:
            await ledger.add(work.tx, payment, entry, amount, work.now)
    over = RequestStatus.COMPLETED if division.seller > 0 else RequestStatus.CANCELLED
    await requests.change(work.tx, payment.purchase_request_id, work.now, expected=IN_DELIVERY, status=over)


async def booked_part(tx: Tx, payment: Payment, direction: Direction) -> int:
    """Return what a split left to be sent in a direction; zero where rounding left nothing."""
    sums = balances(await ledger.lines(tx, payment.id))
    return sums.released if direction is Direction.OUT else sums.refunded


async def carried_out(work: UnitOfWork, payment: Payment, direction: Direction) -> None:
    """Let an escrow follow once an instruction of it was carried out; a split is over once every part was sent."""
    if direction is Direction.OUT:
        paid = RequestStatus.SELLER_PAID
        completed = (RequestStatus.COMPLETED,)
        await requests.change(work.tx, payment.purchase_request_id, work.now, expected=completed, status=paid)
    sums = balances(await ledger.lines(work.tx, payment.id))
    booked = {Direction.OUT: sums.released, Direction.REFUND: sums.refunded}
    given = await payments.instructions_of(work.tx, payment.id)
    sent = {each.direction for each in given if each.status is PaymentStatus.COMPLETED}
    if any(amount > 0 and each not in sent for each, amount in booked.items()):
        return
    over: dict[str, object] = {"escrow_state": EscrowState.RELEASED}
    if sums.released == 0:
        over = {"escrow_state": EscrowState.REFUNDED, "status": PaymentStatus.REFUNDED}
    leaving = (EscrowState.RELEASING, EscrowState.PARTIAL)
    await payments.move_escrow(work.tx, payment.id, work.now, expected=leaving, **over)
