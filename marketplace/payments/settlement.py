"""
The one transaction that funds a payment, and everything else that can become of money that was seen.

Nothing else sets a funded state. Whoever triggers it (a webhook, "I paid", the sweep) comes through
`settle`, with facts that were judged before the transaction and a payment that is read again inside it.
"""

from __future__ import annotations

import logging
from enum import StrEnum
from typing import assert_never

from marketplace.goods.handover import hand_over
from marketplace.model import (
    HOSTED,
    OPEN_PAYMENTS,
    CommandKind,
    EscrowState,
    LedgerEntryType,
    Payment,
    PaymentStatus,
    Rail,
    RequestStatus,
    Role,
    StopReason,
)
from marketplace.payments import unapplied_funds
from marketplace.payments.money import to_decimal
from marketplace.payments.observation import PaymentObservation
from marketplace.payments.unapplied_funds import DOUBLE_CREDIT, OTHER_MONEY
from marketplace.risk.gate import RiskDecision
from marketplace.risk.policy import (
    ADDRESS_TOKEN_MISMATCH,
    BASELINE_MISSING,
    BASELINE_STALE,
    Approve,
    AwaitConfirmations,
    Reason,
    Review,
)
from marketplace.store import addresses, inbox, ledger, outbox, payments, proven, requests
from marketplace.unit_of_work import UnitOfWork

log = logging.getLogger(__name__)


class SettlementOutcome(StrEnum):
    """What became of an observation."""

    FUNDED = "funded"
    ALREADY_FUNDED = "already_funded"
    NOT_PAID = "not_paid"
    WAITING = "waiting"
    HELD = "held"
    LATE = "late"
    REFUSED = "refused"


class Stale(Exception):
    """Other transfers of the payment became known while these were judged: judge again."""


async def settle_payment(
    work: UnitOfWork, payment_id: str, observed: PaymentObservation, risk: RiskDecision
) -> tuple[SettlementOutcome, str | None]:
    """Do what follows from a judged observation, on the payment as it is now; return the outcome and why."""
    payment = await payments.get(work.tx, payment_id)
    if payment is None:
        raise LookupError(f"payment {payment_id} is gone")
    if payment.status not in OPEN_PAYMENTS:
        return await _over(work, payment, observed), f"payment_{payment.status}"
    if risk.judged is not None and risk.judged != len(await inbox.kept_transfers(work.tx, payment_id)):
        raise Stale(payment_id)
    if observed.balance is not None and not observed.balance.paid:
        return await _not_paid(work, payment, observed), observed.balance.reason
    doubt = await _doubt(work, payment, observed, risk)
    if doubt is not None:
        return await _hold(work, payment, observed, RiskDecision(risk.decision), doubt), doubt
    return await _decided(work, payment, observed, risk)


async def _doubt(work: UnitOfWork, payment: Payment, observed: PaymentObservation, risk: RiskDecision) -> str | None:
    """Return what no gate can clear: it is about something else, or paid for something else."""
    if observed.mismatch is not None:
        return observed.mismatch
    elsewhere = await inbox.credited_elsewhere(work.tx, payment.chain_id, observed.credits, payment.id)
    # A hash of a transaction is a label to a proof: one log under two labels once would have paid twice.
    elsewhere = elsewhere or await proven.is_taken(work.tx, payment.chain_id, risk.proven, payment.id)
    return DOUBLE_CREDIT if elsewhere else None


async def _decided(
    work: UnitOfWork, payment: Payment, observed: PaymentObservation, risk: RiskDecision
) -> tuple[SettlementOutcome, str | None]:
    decision = risk.decision
    match decision:
        case Review():
            return await _hold(work, payment, observed, risk, decision.reason), decision.reason
        case AwaitConfirmations():
            await _keep(work, payment, observed, status=PaymentStatus.PROCESSING)
            return SettlementOutcome.WAITING, f"awaiting-confirmations:missing={decision.missing}"
        case Approve():
            aml = {"screening": decision.aml or "clear", "screeningDetail": decision.detail}
            return await _complete(work, payment, observed, aml, risk), None
        case _:
            assert_never(decision)


async def _complete(
    work: UnitOfWork,
    payment: Payment,
    observed: PaymentObservation,
    aml: dict[str, str | None],
    risk: RiskDecision,
) -> SettlementOutcome:
    """Fund the payment with what its accepted senders paid; the rest of what came waits for a person."""
    aside = risk.aside
    apart = {(each.tx_hash, each.event_key) for part in aside for each in part.transfers}
    credited = tuple(each for each in observed.credits if (each.tx_hash, each.event_key) not in apart)
    received = max(payment.amount_base, observed.received - sum(part.amount for part in aside))
    evidence = {**observed.document, "amountReceivedBaseUnits": str(received), **aml}
    funded = await payments.complete(
        work.tx,
        payment.id,
        work.now,
        evidence=evidence,
        tx_hash=observed.tx_hash,
        current_balance=observed.current_balance,
        stop_reason=StopReason.PAID if payment.rail is Rail.DIRECT_BALANCE else None,
    )
    if not funded:
        return SettlementOutcome.ALREADY_FUNDED
    await inbox.add_credits(work.tx, payment.chain_id, credited, payment.id, work.now)
    await proven.add(work.tx, payment.chain_id, risk.proven, payment.id, work.now)
    await inbox.keep_transfers(work.tx, payment.id, observed.credits, work.now)
    await ledger.add(work.tx, payment, LedgerEntryType.PAYMENT_DETECTED, received, work.now)
    await ledger.add(work.tx, payment, LedgerEntryType.HOLD, payment.amount_base, work.now)
    await requests.change(
        work.tx,
        payment.purchase_request_id,
        work.now,
        expected=(RequestStatus.PAYMENT,),
        status=RequestStatus.PROCESSING,
    )
    await hand_over(work, payment)
    for duplicate in await payments.other_open(work.tx, payment):
        await close_payment(work, duplicate, StopReason.CANCELLED, "another payment of this request was paid")
    await _stop_looking(work, payment, cancel=False)
    await unapplied_funds.take_back_credited(work, payment, credited)
    await unapplied_funds.keep_other_money(work, payment, observed)
    for part in aside:
        await unapplied_funds.set_aside(work, payment, part, observed.document)
    people = [payment.buyer_id, payment.seller_id]
    work.notify_of_payment(
        people, payment, "payment_confirmed", f"Payment {payment.ref} is confirmed and held in escrow"
    )
    log.info("[payment] %s funded", payment.id)
    return SettlementOutcome.FUNDED


async def close_payment(work: UnitOfWork, payment: Payment, reason: StopReason, why: str) -> bool:
    """End an open payment; what came in part is noted for a person. False when it is not open any more."""
    over = {
        "status": PaymentStatus.CANCELLED,
        "escrow_state": EscrowState.CANCELLED,
        "stop_reason": reason,
        "reason": why,
    }
    if not await payments.change(work.tx, payment.id, work.now, expected=OPEN_PAYMENTS, **over):
        return False
    if payment.hold_reason is not None or payment.escrow_state is EscrowState.PARTIAL:
        await unapplied_funds.record_closed(work, payment, payment.hold_reason or unapplied_funds.PARTIAL)
    await _stop_looking(work, payment, cancel=payment.hold_reason is None)
    return True


async def _stop_looking(work: UnitOfWork, payment: Payment, *, cancel: bool) -> None:
    """Give the address free and let the scanner forget about it."""
    await addresses.release(work.tx, payment.id, work.now)
    if cancel or payment.rail is Rail.DIRECT_BALANCE:
        await withdraw_from_scanner(work, payment)


async def withdraw_from_scanner(work: UnitOfWork, payment: Payment) -> None:
    """Let the scanner end the watch or the intent of a payment."""
    if payment.provider_payment_id is None:
        return
    kind = CommandKind.STOP_WATCH if payment.rail is Rail.DIRECT_BALANCE else CommandKind.CANCEL_INTENT
    await outbox.add(work.tx, kind, payment.id, now=work.now)
    work.commands = True


async def _not_paid(work: UnitOfWork, payment: Payment, observed: PaymentObservation) -> SettlementOutcome:
    """Keep what was seen, and tell the buyer once what is missing."""
    if observed.balance is None:
        raise TypeError("only a balance can be too low")
    balance, news = observed.balance, observed.current_balance != payment.current_balance
    if balance.reason == ADDRESS_TOKEN_MISMATCH:
        if payment.hold_reason is None:  # else what it is held for stays what an admin sees
            evidence = _with_reason(observed, ADDRESS_TOKEN_MISMATCH)
            await payments.set_observed(work.tx, payment.id, work.now, evidence=evidence)
        title = f"Payment {payment.ref}: something else arrived"
        await work.notify_of_payment_seldom([payment.buyer_id], payment, "payment-wrong-token", title)
    elif (doubt := _baseline_doubt(observed)) is not None:
        return await _hold(work, payment, observed, RiskDecision(Approve()), doubt)
    elif payment.hold_reason is not None:
        log.debug("[payment] %s is held: a balance below its price changes nothing", payment.id)
    elif balance.delta > 0:
        await _keep(work, payment, observed, escrow_state=EscrowState.PARTIAL, status=PaymentStatus.PROCESSING)
        if news:
            await tell_underpaid(work, payment, balance.shortfall)
    elif news or payment.status is PaymentStatus.PROCESSING:  # what was on its way is gone
        back = {
            "status": PaymentStatus.PENDING,
            "escrow_state": None,
            "current_balance": observed.current_balance,
            "evidence": dict(observed.document),
        }
        await payments.change(work.tx, payment.id, work.now, expected=OPEN_PAYMENTS, **back)
    return SettlementOutcome.NOT_PAID


def _baseline_doubt(observed: PaymentObservation) -> str | None:
    """Return why a balance cannot be compared: somebody has to look, since money may lie there."""
    if observed.balance is None or observed.current_balance is None:
        return None
    if observed.balance.reason == BASELINE_MISSING:
        return BASELINE_MISSING if observed.current_balance > 0 else None
    return BASELINE_STALE if observed.balance.delta < 0 else None


async def tell_underpaid(work: UnitOfWork, payment: Payment, missing: int) -> None:
    """Tell the buyer how much is missing."""
    shortfall = f"{to_decimal(missing, payment.decimals)} {payment.token_symbol}"
    title = f"Payment {payment.ref}: {shortfall} are missing"
    await work.notify_of_payment_seldom([payment.buyer_id], payment, "payment-underpaid", title)


async def _hold(
    work: UnitOfWork, payment: Payment, observed: PaymentObservation, risk: RiskDecision, reason: str
) -> SettlementOutcome:
    """Keep money that came from being credited until a person, or a list that is back, says otherwise."""
    detail = risk.decision.detail if isinstance(risk.decision, Review) else None
    held = _with_reason(observed, reason) | {"detail": detail, "mayChange": risk.may_change}
    expected = OPEN_PAYMENTS
    changed = {"status": PaymentStatus.PROCESSING, "hold_reason": str(reason), "evidence": held}
    columns = {"tx_hash": observed.tx_hash, "current_balance": observed.current_balance}
    await payments.change(work.tx, payment.id, work.now, expected=expected, **changed, **columns)
    if observed.balance is None and reason not in OTHER_MONEY:
        await inbox.keep_transfers(work.tx, payment.id, observed.credits, work.now)
    if payment.hold_reason != reason:
        admins = await work.people(Role.ADMIN)
        title = f"Payment {payment.ref} is held for review: {reason}"
        await work.notify_of_payment_seldom(admins, payment, "payment_held", title, key=f"payment_held:{reason}")
        log.warning("[payment] %s held: %s", payment.id, reason)
    return SettlementOutcome.HELD


async def keep_part(work: UnitOfWork, payment_id: str, observed: PaymentObservation) -> None:
    """Note a part of the sum that is there, and tell the buyer once of each what is missing."""
    payment = await payments.get(work.tx, payment_id)
    if payment is None or payment.status not in OPEN_PAYMENTS or payment.hold_reason is not None:
        return
    known = int((payment.evidence or {}).get("amountReceivedBaseUnits") or 0)
    await _keep(work, payment, observed, status=PaymentStatus.PROCESSING, escrow_state=EscrowState.PARTIAL)
    if observed.received != known:
        await tell_underpaid(work, payment, payment.amount_base - observed.received)


async def refuse(
    work: UnitOfWork,
    payment_id: str,
    reason: str,
    detail: str,
    *,
    event_id: str | None = None,
    may_change: bool = False,
) -> SettlementOutcome:
    """
    Keep a payment for a person to look at, since what was said of it cannot be; nothing else of it changes.

    A payment that is over, or held already, stays as it is: what was said is kept in the inbox either way.
    """
    payment = await payments.get(work.tx, payment_id)
    if payment is None:
        raise LookupError(f"payment {payment_id} is gone")
    log.warning("[payment] %s: refused, %s: %s", payment.id, reason, detail)
    if payment.status not in OPEN_PAYMENTS:
        return SettlementOutcome.REFUSED
    if payment.hold_reason is not None:
        return SettlementOutcome.HELD
    said = {"reason": str(reason), "detail": detail, "eventId": event_id, "mayChange": may_change}
    held = {"status": PaymentStatus.PROCESSING, "hold_reason": str(reason)}
    evidence = {**(payment.evidence or {}), **said}
    await payments.change(work.tx, payment.id, work.now, expected=OPEN_PAYMENTS, **held, evidence=evidence)
    admins = await work.people(Role.ADMIN)
    title = f"Payment {payment.ref} is held for review: {reason}"
    await work.notify_of_payment_seldom(admins, payment, "payment_held", title, key=f"payment_held:{reason}")
    return SettlementOutcome.HELD


async def believe(work: UnitOfWork, payment: Payment) -> None:
    """Take back a hold that an unreadable answer of the scanner left behind: it can be understood again."""
    now = await payments.get(work.tx, payment.id)
    if now is None or not is_doubted(now):
        return
    status = PaymentStatus.PROCESSING if now.escrow_state is EscrowState.PARTIAL else PaymentStatus.PENDING
    await payments.change(work.tx, now.id, work.now, expected=OPEN_PAYMENTS, status=status, hold_reason=None)


def is_doubted(payment: Payment) -> bool:
    """Say whether a payment is held for nothing but an answer nobody could read."""
    return payment.hold_reason == Reason.BROKEN_ANSWER and bool((payment.evidence or {}).get("mayChange"))


async def _over(work: UnitOfWork, payment: Payment, observed: PaymentObservation) -> SettlementOutcome:
    """Note money for a payment that is paid or over: never credited, never lost."""
    # It ended while it was looked at: what a hosted provider names is listed once it is deep, by another look.
    if payment.provider not in HOSTED or observed.evidence.confirmations >= payment.confirmations_required:
        await unapplied_funds.record_beyond(work, payment, observed)
    return SettlementOutcome.ALREADY_FUNDED if payment.status is PaymentStatus.COMPLETED else SettlementOutcome.LATE


async def _keep(work: UnitOfWork, payment: Payment, observed: PaymentObservation, **values: object) -> None:
    columns = {
        "evidence": dict(observed.document),
        "tx_hash": observed.tx_hash,
        "current_balance": observed.current_balance,
    }
    await payments.change(work.tx, payment.id, work.now, expected=OPEN_PAYMENTS, **columns, **values)


def _with_reason(observed: PaymentObservation, reason: str) -> dict[str, object]:
    return {**observed.document, "reason": str(reason)}
