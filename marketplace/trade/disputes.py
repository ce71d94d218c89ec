"""When buyer and seller do not agree: the money waits, and a resolver decides."""

from __future__ import annotations

from dataclasses import dataclass, replace

from kernel.clock import HOUR_MS
from marketplace.errors import Refused, conflict, forbidden, invalid, not_found
from marketplace.goods import handover
from marketplace.model import (
    Actor,
    Dispute,
    DisputeOutcome,
    DisputeStatus,
    EscrowState,
    LedgerEntryType,
    Page,
    Payment,
    RequestStatus,
    Role,
)
from marketplace.payments import escrow
from marketplace.payments.checkout import found_payment
from marketplace.payments.escrow import PAID_STATES
from marketplace.payments.fees import divide
from marketplace.payments.ledger import balances
from marketplace.payments.payouts import refuse_reorged
from marketplace.store import disputes, ledger, locks, payments, requests, users
from marketplace.store.database import Tx
from marketplace.store.disputes import Evidence, Filter, Ruling
from marketplace.trade.requests import found
from marketplace.unit_of_work import UnitOfWork, UnitOfWorkFactory, new_id

JUDGES = (Role.ADMIN, Role.RESOLVER)
DECIDED = (
    DisputeOutcome.REFUND,
    DisputeOutcome.RELEASE,
    DisputeOutcome.NO_ACTION,
    DisputeOutcome.SPLIT,
)  # a replacement is delivered, and argued about, anew
MAX_EVIDENCE = 100  # of one person: no side can use up what is the other's to bring; each is read with the dispute


@dataclass(frozen=True, slots=True)
class DisputeView:
    """A dispute with what was said."""

    dispute: Dispute
    evidence: list[Evidence]


class Disputes:
    """Use cases of disputes."""

    def __init__(self, units: UnitOfWorkFactory, *, deadline_h: float) -> None:
        self._units = units
        self._deadline_ms = int(deadline_h * HOUR_MS)

    async def open(self, actor: Actor, request_id: str, reason: str, category: str) -> Dispute:
        """Lock the money of a request; from then on, no release."""
        async with self._units.begin(locks.request(request_id)) as work:
            request = await found(work.tx, request_id)
            payment = await payments.pay_in(work.tx, request_id)
            parties = {request.buyer_id} | ({payment.seller_id} if payment is not None else set())
            if actor.user_id not in parties:
                raise forbidden("only buyer and seller open a dispute")
            if payment is None or payment.escrow_state not in PAID_STATES:
                state = None if payment is None else payment.escrow_state
                raise conflict("there is no money in escrow to dispute", status=request.status, escrowState=state)
            if await disputes.open_of(work.tx, payment.id) is not None:
                raise conflict("a dispute about this is open already")
            if payment.ordered in DECIDED:  # a second one would undo what the first decided
                raise conflict(f"a dispute decided this already: {payment.ordered}", outcome=payment.ordered)
            held = balances(await ledger.lines(work.tx, payment.id)).held
            if held <= 0:
                raise conflict("the ledger holds no money for this purchase: see reconciliation")
            dispute = Dispute(
                id=new_id(),
                purchase_request_id=request_id,
                payment_id=payment.id,
                opened_by=actor.user_id,
                reason=reason,
                category=category,
                status=DisputeStatus.OPEN,
                outcome=None,
                buyer_bps=None,
                note=None,
                resolved_by=None,
                resolved_at=None,
                assigned_to=None,
                due_at=work.now + self._deadline_ms,
                overdue_told_at=None,
                created_at=work.now,
            )
            await disputes.add(work.tx, dispute)
            await ledger.add(
                work.tx, payment, LedgerEntryType.DISPUTE_HOLD, held, work.now, key=f"dispute_hold:{dispute.id}"
            )
            await tell_all(work, dispute, payment, "dispute_opened", f"Dispute opened: {request.title}")
        return dispute

    async def listing(self, actor: Actor, page: Page, wanted: Filter) -> tuple[list[Dispute], int]:
        """Return disputes, newest first: to those who decide all of them, to buyers and sellers their own."""
        if actor.role not in JUDGES:
            wanted = replace(wanted, side=actor.user_id)
        async with self._units.db.read() as tx:
            return await disputes.listing(tx, page, wanted, self._units.clock.now_ms())

    async def show(self, actor: Actor, dispute_id: str) -> DisputeView:
        async with self._units.db.read() as tx:
            dispute, _ = await concerning(tx, actor, dispute_id)
            return DisputeView(dispute, await disputes.evidence(tx, dispute_id))

    async def add_evidence(self, actor: Actor, dispute_id: str, text: str, link: str | None) -> DisputeView:
        """Say something about an open dispute."""
        async with self._units.begin(locks.request_of_dispute(dispute_id)) as work:
            dispute, payment = await concerning(work.tx, actor, dispute_id)
            if dispute.status is not DisputeStatus.OPEN:
                raise conflict("the dispute is resolved", outcome=dispute.outcome)
            if await disputes.count_evidence(work.tx, dispute_id, actor.user_id) >= MAX_EVIDENCE:
                raise conflict(f"one person brings {MAX_EVIDENCE} pieces of evidence", evidence=MAX_EVIDENCE)
            await disputes.add_evidence(work.tx, dispute_id, actor.user_id, text, link, work.now)
            await tell_all(work, dispute, payment, "dispute_evidence", "New evidence in a dispute", but=actor)
            return DisputeView(dispute, await disputes.evidence(work.tx, dispute_id))

    async def assign(self, actor: Actor, dispute_id: str, user_id: str | None) -> Dispute:
        """Say who looks after an open dispute; None leaves it to everybody who decides."""
        async with self._units.begin(locks.request_of_dispute(dispute_id)) as work:
            dispute = await found_dispute(work.tx, dispute_id)
            if dispute.status is not DisputeStatus.OPEN:
                raise conflict("the dispute is resolved", outcome=dispute.outcome)
            if user_id is not None:
                judge = await users.by_id(work.tx, user_id)
                if judge is None or judge.role not in JUDGES or judge.suspended_at is not None:
                    raise invalid("userId", "has to be an admin or a resolver")
            theirs = dispute.assigned_to
            if not actor.is_admin and theirs not in {None, actor.user_id, user_id}:
                raise conflict("another resolver looks after it: an admin may give it to you", assignedTo=theirs)
            if not await disputes.assign(work.tx, dispute_id, user_id, before=theirs):
                raise conflict("the dispute has changed: read it again")
            if user_id is not None and user_id not in {actor.user_id, dispute.assigned_to}:
                title = f"A dispute is yours to look after: {dispute.category}"
                work.notify([user_id], "dispute", "dispute_assigned", title, about=dispute.id, url=_url(dispute))
            return await found_dispute(work.tx, dispute_id)

    async def resolve(self, actor: Actor, dispute_id: str, ruling: Ruling) -> Dispute:
        """End a dispute; the same outcome again changes nothing, another one is refused."""
        async with self._units.begin(locks.request_of_dispute(dispute_id)) as work:
            dispute = await found_dispute(work.tx, dispute_id)
            if dispute.status is DisputeStatus.RESOLVED:
                if (dispute.outcome, dispute.buyer_bps) != (ruling.outcome, ruling.buyer_bps):
                    raise _decided(dispute)
                return dispute
            if not await disputes.resolve(work.tx, dispute_id, ruling, actor.user_id, work.now):
                raise conflict("the dispute has changed: read it again")
            payment = await found_payment(work.tx, dispute.payment_id)
            await self._unlock(work, dispute, payment)
            if ruling.buyer_bps is None:
                await self._order(work, payment, ruling.outcome)
            else:
                await self._split(work, payment, ruling.buyer_bps)
            await tell_all(work, dispute, payment, "dispute_resolved", f"Dispute resolved: {ruling.outcome}")
            return await found_dispute(work.tx, dispute_id)

    @staticmethod
    async def _unlock(work: UnitOfWork, dispute: Dispute, payment: Payment) -> None:
        locked = balances(await ledger.lines(work.tx, payment.id)).disputed
        if locked > 0:
            await ledger.add(
                work.tx, payment, LedgerEntryType.ADJUSTMENT, locked, work.now, key=f"adjustment:{dispute.id}"
            )

    @staticmethod
    async def _split(work: UnitOfWork, payment: Payment, buyer_bps: int) -> None:
        """Book both parts and the fee at once; where each is sent is for an admin to say."""
        refuse_reorged(payment)  # what is booked out of money that is gone would be somebody else's
        fee_bps = await escrow.agreed_fee(work.tx, payment)
        division = divide(payment.amount_base, buyer_bps=buyer_bps, fee_bps=fee_bps)
        ordered = {"ordered": DisputeOutcome.SPLIT}
        await payments.move_escrow(work.tx, payment.id, work.now, expected=escrow.PAID_STATES, **ordered)
        await escrow.empty(work, payment, division, EscrowState.PARTIAL)
        if buyer_bps > 0:
            await handover.give_back(work, payment)  # who is paid back, even in part, is shown nothing new

    @staticmethod
    async def _order(work: UnitOfWork, payment: Payment, outcome: DisputeOutcome) -> None:
        """Do what the outcome means for the money and the delivery."""
        state: dict[str, object] = {"ordered": outcome}
        if outcome is DisputeOutcome.RELEASE:
            state["escrow_state"] = EscrowState.RELEASABLE
        elif outcome is DisputeOutcome.REFUND:
            state["escrow_state"] = EscrowState.FUNDED
        elif outcome is DisputeOutcome.REPLACEMENT:
            state["escrow_state"] = EscrowState.FUNDED
            again = {"delivery_confirmed": False, "delivered_at": None, "confirmed_at": None}
            await requests.change(
                work.tx,
                payment.purchase_request_id,
                work.now,
                expected=(RequestStatus.DELIVERY, RequestStatus.DELIVERED, RequestStatus.CONFIRMING),
                status=RequestStatus.PROCESSING,
                **again,
            )
        await payments.move_escrow(work.tx, payment.id, work.now, expected=PAID_STATES, **state)


async def found_dispute(tx: Tx, dispute_id: str) -> Dispute:
    """Return a dispute that has to be there."""
    dispute = await disputes.get(tx, dispute_id)
    if dispute is None:
        raise not_found("dispute")
    return dispute


async def concerning(tx: Tx, actor: Actor, dispute_id: str) -> tuple[Dispute, Payment]:
    """Return a dispute and its payment to the two sides and to those who decide."""
    dispute = await found_dispute(tx, dispute_id)
    payment = await found_payment(tx, dispute.payment_id)
    if actor.role not in JUDGES and actor.user_id not in {payment.buyer_id, payment.seller_id}:
        raise forbidden("this dispute is between others")
    return dispute, payment


async def tell_all(
    work: UnitOfWork, dispute: Dispute, payment: Payment, kind: str, title: str, *, but: Actor | None = None
) -> None:
    """Tell every party, and those who decide."""
    people = [payment.buyer_id, payment.seller_id, *await work.people(*JUDGES)]
    told = [user_id for user_id in people if but is None or user_id != but.user_id]
    work.notify(told, "dispute", kind, title, about=dispute.id, url=_url(dispute))


def _decided(dispute: Dispute) -> Refused:
    return conflict(f"the dispute was resolved: {dispute.outcome}", outcome=dispute.outcome, buyerBps=dispute.buyer_bps)


def _url(dispute: Dispute) -> str:
    return f"/disputes/{dispute.id}"
