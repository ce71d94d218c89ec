"""Money on its way out: instructions that empty an escrow once, and what must hold before one is given."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace

from addresses import InvalidAddress, canonical
from marketplace.catalog import Catalog
from marketplace.errors import Refused, conflict, invalid, not_found
from marketplace.goods.handover import take_back
from marketplace.model import (
    Actor,
    Direction,
    DisputeOutcome,
    EscrowState,
    LedgerEntryType,
    Page,
    Payment,
    PaymentStatus,
    Provider,
    RequestStatus,
    Role,
)
from marketplace.payments import escrow
from marketplace.payments.checkout import found_payment
from marketplace.payments.escrow import PAID_STATES, agreed_fee
from marketplace.payments.fees import WHOLE_BPS, divide
from marketplace.payments.money import to_decimal
from marketplace.payments.payout_addresses import proved_address
from marketplace.risk import policy
from marketplace.store import addresses, disputes, locks, payments, reorgs, requests
from marketplace.store.reorgs import Clearance
from marketplace.trade.requests import found
from marketplace.unit_of_work import UnitOfWork, UnitOfWorkFactory, new_id
from protocol.wire import rfc3339


@dataclass(frozen=True, slots=True)
class PayoutInstruction:
    """A pay-in, and the payment that empties it."""

    payment: Payment
    instruction: Payment


class Payouts:
    """Use cases of releases and refunds."""

    def __init__(
        self, units: UnitOfWorkFactory, catalog: Catalog, escrow: Mapping[int, tuple[str, ...]], *, grace_h: float
    ) -> None:
        self._units = units
        self._catalog = catalog
        self._escrow = escrow
        self._grace_h = grace_h

    async def release(self, payment_id: str, to_address: str | None) -> PayoutInstruction:
        """
        Order the seller to be paid; the check and the order are one transaction, as opening a dispute is.

        A seller who proved an address is paid there and nowhere else; `to_address` None is that one.
        """
        async with self._units.begin(locks.request_of_payment(payment_id)) as work:
            payment = await self._pay_in(work, payment_id)
            given = await payments.instruction_of(work.tx, payment.id, Direction.OUT)
            if given is not None:
                refuse_reorged(payment)
                return self._again(payment, given, to_address or given.paid_to)
            to_address = await self._of_seller(work, payment, to_address)
            await self._refuse_address(work, payment, to_address)
            refuse_reorged(payment)
            if escrow.is_split(payment):
                return await self._instruct_part(work, payment, Direction.OUT, to_address)
            await self._refuse_release(work, payment)
            fee_bps = await agreed_fee(work.tx, payment)
            division = divide(payment.amount_base, buyer_bps=0, fee_bps=fee_bps)
            await escrow.empty(work, payment, division, EscrowState.RELEASING)
            return await self._instruct(work, payment, Direction.OUT, division.seller, to_address)

    async def refund(self, payment_id: str, to_address: str, reason: str) -> PayoutInstruction:
        """Order the buyer to be paid back."""
        async with self._units.begin(locks.request_of_payment(payment_id)) as work:
            payment = await self._pay_in(work, payment_id)
            await self._refuse_address(work, payment, to_address)
            refuse_reorged(payment)
            given = await payments.instruction_of(work.tx, payment.id, Direction.REFUND)
            if given is not None:
                return self._again(payment, given, to_address)
            if escrow.is_split(payment):
                ordered = await self._instruct_part(work, payment, Direction.REFUND, to_address, reason)
                await take_back(work, payment)
                return ordered
            if payment.ordered is DisputeOutcome.RELEASE:
                raise conflict("a dispute ordered the release", reason="release_ordered")
            if await disputes.open_of(work.tx, payment.id) is not None:
                raise conflict("a dispute is open: resolve it first", reason="dispute_open")
            division = divide(payment.amount_base, buyer_bps=WHOLE_BPS, fee_bps=0)
            await escrow.empty(work, payment, division, EscrowState.RELEASING, reason=reason)
            ordered = await self._instruct(work, payment, Direction.REFUND, division.buyer, to_address, reason)
            await take_back(work, payment)
            return ordered

    async def listing(self, page: Page, *, status: PaymentStatus | None) -> tuple[list[PayoutInstruction], int]:
        """Return instructions beside what they empty, newest first."""
        async with self._units.db.read() as tx:
            found, total = await payments.instructions(tx, page, status=status)
            pay_ins = await payments.by_ids(tx, {each.settles_payment_id or "" for each in found})
        # One that empties nothing has no pay-in to stand beside: the reconciliation names it (orphan_instruction).
        named = [(pay_ins.get(each.settles_payment_id or ""), each) for each in found]
        return [PayoutInstruction(payment, each) for payment, each in named if payment is not None], total

    async def hold(self, payment_id: str, until: int | None) -> Payment:
        """Keep a payment from being released until a time; None lets it go."""
        async with self._units.begin(locks.request_of_payment(payment_id)) as work:
            payment = await found_payment(work.tx, payment_id)
            waits = payment.escrow_state in PAID_STATES or escrow.is_split(payment)
            if payment.direction is not Direction.IN or not waits:
                raise conflict("there is nothing to hold", escrowState=payment.escrow_state)
            await payments.set_observed(work.tx, payment_id, work.now, hold_until=until)
            return await found_payment(work.tx, payment_id)

    async def clear_reorg(self, actor: Actor, payment_id: str, note: str) -> tuple[Payment, list[Clearance]]:
        """Let the money of a payment move again: somebody looked, and says what at."""
        async with self._units.begin(locks.request_of_payment(payment_id)) as work:
            payment = await found_payment(work.tx, payment_id)
            if payment.reorged_at is None:
                raise conflict("no reorganisation was reported for this payment", escrowState=payment.escrow_state)
            clearance = Clearance(
                id=new_id(),
                payment_id=payment_id,
                reorged_at=payment.reorged_at,
                note=note,
                cleared_by=actor.user_id,
                created_at=work.now,
            )
            await reorgs.clear(work.tx, clearance)
            payment = await found_payment(work.tx, payment_id)
            return payment, await reorgs.of_payment(work.tx, payment_id)

    async def pass_grace(self) -> int:
        """Make releasable what its buyer left unanswered for the grace period; return how many."""
        async with self._units.db.read() as tx:
            delivered = await payments.in_grace(tx)
        passed = 0
        for payment in delivered:
            async with self._units.begin(locks.request_of_payment(payment.id)) as work:
                passed += await self._pass(work, payment.id)
        return passed

    async def _pass(self, work: UnitOfWork, payment_id: str) -> bool:
        payment = await found_payment(work.tx, payment_id)
        if payment.escrow_state is not EscrowState.FUNDED or payment.ordered is DisputeOutcome.REFUND:
            return False
        if payment.reorged_at is not None:
            return False
        if not (await self._decide(work, payment)).allowed:
            return False
        await make_releasable(work, payment)
        delivered = RequestStatus.DELIVERED
        await requests.change(
            work.tx, payment.purchase_request_id, work.now, expected=(RequestStatus.DELIVERY,), status=delivered
        )
        people = [payment.buyer_id, payment.seller_id]
        work.notify_of_payment(
            people, payment, "payment_releasable", f"Payment {payment.ref} may be released to the seller"
        )
        return True

    async def _decide(self, work: UnitOfWork, payment: Payment) -> policy.ReleaseDecision:
        request = await found(work.tx, payment.purchase_request_id)
        return policy.release_decision(
            request.product_type,
            delivered_at=request.delivered_at,
            confirmed_at=request.confirmed_at,
            dispute_open=await disputes.open_of(work.tx, payment.id) is not None,
            hold_until=payment.hold_until,
            now=work.now,
            grace_h=self._grace_h,
        )

    async def _refuse_release(self, work: UnitOfWork, payment: Payment) -> None:
        if payment.ordered is DisputeOutcome.REFUND:
            raise conflict("a dispute ordered a refund", reason="refund_ordered")
        dispute = await disputes.open_of(work.tx, payment.id)
        _refuse_blocked(
            policy.release_block(dispute_open=dispute is not None, hold_until=payment.hold_until, now=work.now)
        )
        if payment.escrow_state is EscrowState.FUNDED:
            decision = await self._decide(work, payment)
            if not decision.allowed:
                raise conflict(f"the payment cannot be released yet: {decision.reason}", reason=decision.reason)

    @staticmethod
    async def _pay_in(work: UnitOfWork, payment_id: str) -> Payment:
        payment = await found_payment(work.tx, payment_id)
        if payment.direction is not Direction.IN:
            raise not_found("pay-in")
        return payment

    async def _of_seller(self, work: UnitOfWork, payment: Payment, asked: str | None) -> str:
        """Return where a seller is paid: a stolen admin session names no other address than the one they proved."""
        proved = await proved_address(work.tx, payment.seller_id, payment.chain_id, work.now)
        if proved is None:
            if asked is None:
                raise invalid("toAddress", "is required: the seller has proved no address on this chain")
            return asked
        if asked is not None and not self._catalog.same_address(payment.chain_id, asked, proved):
            raise conflict("the seller proved another address", reason="not_the_proved_address", payoutAddress=proved)
        return proved

    async def _refuse_address(self, work: UnitOfWork, payment: Payment, to_address: str) -> None:
        """Refuse what money can be sent to and nobody can take it from: a person sends it, and a typo is final."""
        try:
            form = self._catalog.payee(payment.chain_id, to_address)
        except InvalidAddress as exc:
            raise invalid("toAddress", f"cannot be paid: {exc}") from None
        chain = self._catalog.chains[payment.chain_id]
        if form == canonical(chain.chain_type, payment.token_address):
            raise invalid("toAddress", "cannot be paid: it is the token's own contract")
        ours = {payment.paid_to, *self._escrow.get(payment.chain_id, ())}
        if any(form == canonical(chain.chain_type, each) for each in ours) or await addresses.was_used(work.tx, form):
            raise invalid("toAddress", "cannot be paid: it is an address of this escrow, the money would not leave")

    def _again(self, payment: Payment, given: Payment, to_address: str) -> PayoutInstruction:
        if not policy.same_address(given.paid_to, to_address, self._catalog.chains[payment.chain_id].chain_type):
            raise conflict("an instruction was given already, to another address", instructionId=given.id)
        return PayoutInstruction(payment, given)

    async def _instruct(
        self,
        work: UnitOfWork,
        payment: Payment,
        direction: Direction,
        amount: int,
        to_address: str,
        reason: str | None = None,
    ) -> PayoutInstruction:
        """Say what a person with a key has to send; the books are written already."""
        given = _instruction(payment, direction, amount, to_address, reason, work.now)
        await payments.add(work.tx, given)
        entry = LedgerEntryType.RELEASE if direction is Direction.OUT else LedgerEntryType.REFUND
        await _tell_all(work, payment, f"payment_{entry}", f"Payment {payment.ref}: {entry} ordered")
        return PayoutInstruction(await found_payment(work.tx, payment.id), given)

    async def _instruct_part(
        self, work: UnitOfWork, payment: Payment, direction: Direction, to_address: str, reason: str | None = None
    ) -> PayoutInstruction:
        """Say where one part of a split goes; how much was decided with the dispute."""
        if direction is Direction.OUT:
            _refuse_blocked(policy.release_block(dispute_open=False, hold_until=payment.hold_until, now=work.now))
        amount = await escrow.booked_part(work.tx, payment, direction)
        if amount == 0:
            raise conflict("the split leaves nothing to send there", reason="nothing_left")
        return await self._instruct(work, payment, direction, amount, to_address, reason)

    @staticmethod
    async def mark_executed(work: UnitOfWork, given: Payment, tx_hash: str) -> None:
        """Note that an instruction was carried out on chain: somebody looked (`payout_settlement`)."""
        released = given.direction is Direction.OUT
        done = {"status": PaymentStatus.COMPLETED, "tx_hash": tx_hash, "escrow_state": EscrowState.RELEASED}
        await payments.change(work.tx, given.id, work.now, expected=(PaymentStatus.PROCESSING,), **done)
        payment = await found_payment(work.tx, given.settles_payment_id or "")
        await escrow.carried_out(work, payment, given.direction)
        kind = "payment_released" if released else "payment_refunded"
        await _tell_all(work, payment, kind, f"Payment {payment.ref}: money was sent in {tx_hash}")


def _refuse_blocked(block: policy.ReleaseDecision | None) -> None:
    if block is not None:
        raise conflict(f"the payment cannot be released: {block.reason}", reason=block.reason)


def refuse_reorged(payment: Payment) -> None:
    """Refuse to pay out of money that may be gone: what left would be somebody else's."""
    if payment.reorged_at is not None:
        raise Refused(
            "reorged",
            "what paid may be gone from the chain: look at it, then clear it",
            reason="reorged",
            reorgedAt=rfc3339(payment.reorged_at),
        )


async def make_releasable(work: UnitOfWork, payment: Payment) -> None:
    """Let the seller's money go, as far as deliveries are concerned."""
    state = EscrowState.RELEASABLE
    await payments.move_escrow(work.tx, payment.id, work.now, expected=(EscrowState.FUNDED,), escrow_state=state)


async def _tell_all(work: UnitOfWork, payment: Payment, kind: str, title: str) -> None:
    admins = await work.people(Role.ADMIN)
    work.notify_of_payment([payment.buyer_id, payment.seller_id, *admins], payment, kind, title)


def _instruction(payment: Payment, direction: Direction, amount: int, to: str, reason: str | None, now: int) -> Payment:
    return replace(
        payment,
        id=new_id(),
        provider=Provider.ESCROW,
        provider_payment_id=None,
        direction=direction,
        amount_base=amount,
        amount=to_decimal(amount, payment.decimals),
        destination=to,
        status=PaymentStatus.PENDING,
        escrow_state=None,
        registered_at=None,
        checkout=None,
        payment_url=None,
        baseline_balance=None,
        current_balance=None,
        next_check_at=None,
        stop_reason=None,
        watch_stopped_at=None,
        evidence=None,
        tx_hash=None,
        hold_until=None,
        reorged_at=None,
        ordered=None,
        settles_payment_id=payment.id,
        reason=reason,
        expires_at=None,
        looked_at=None,
        created_at=now,
        updated_at=now,
    )
