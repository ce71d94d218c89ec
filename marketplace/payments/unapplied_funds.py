"""Money that came and is not credited: each unit of it is written down once, and the admins are told."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from typing import Any

from marketplace.model import Payment, PaymentStatus, Rail, Role
from marketplace.payments.observation import SHOWN, PaymentObservation
from marketplace.risk.gate import SetAside
from marketplace.risk.policy import Reason
from marketplace.store import inbox
from marketplace.store.database import Tx
from marketplace.unit_of_work import UnitOfWork

DOUBLE_CREDIT = "transfer_credited_elsewhere"
PARTIAL = "partial_payment"
LATE = "late_payment"
# What was held for these reasons is other money than the payment's own, and no part of its sums.
OTHER_MONEY = frozenset({Reason.WRONG_TOKEN, Reason.WRONG_ASSET, Reason.WRONG_RECIPIENT, DOUBLE_CREDIT})


async def record_beyond(work: UnitOfWork, payment: Payment, observed: PaymentObservation) -> None:
    """Write down what came to a payment that is over, beyond what it was credited and what was noted before."""
    credited = payment.status in {PaymentStatus.COMPLETED, PaymentStatus.REFUNDED}
    reason = "duplicate_payment" if credited else LATE
    noted = await inbox.recovered(work.tx, payment.id, _sums(payment))
    if observed.balance is None and not noted:
        await _note_transfers(work, payment, observed, reason)
        return
    counted = int((payment.evidence or {}).get("amountReceivedBaseUnits", "0")) if credited else 0
    beyond = observed.received - counted
    # A balance, or a part, tells a sum: what is new of it is what nobody wrote down yet.
    if beyond > noted:
        key = f"{_sums(payment)}{reason}:{beyond}"
        await _note(work, payment, reason, beyond - noted, key, observed.tx_hash, observed.document)


async def record_part(work: UnitOfWork, payment: Payment, received: int, evidence: Mapping[str, Any]) -> None:
    """Write down what is new of a part that is told of after the payment ended unpaid."""
    noted = await _noted_of_part(work, payment)
    if received > noted:
        await _note(work, payment, LATE, received - noted, f"{_sums(payment)}{LATE}:{received}", None, evidence)


async def set_part(
    work: UnitOfWork, payment: Payment, counted: int, beside: int, received: int, evidence: Mapping[str, Any]
) -> None:
    """
    Bring what is listed as a part of a payment that ended unpaid to what is listed nowhere else.

    A reorganisation may move a part past the end: then its transfers are told of by themselves, and the same
    money would be listed twice. `counted` is what the scanner counts as a part now, `beside` what it tells of by
    itself, `received` how large a part was said to be.
    """
    noted = await _noted_of_part(work, payment)
    part = max(counted, max(received, noted) - beside)
    if part < noted:
        await inbox.lower(work.tx, payment.id, _sums(payment), noted - part, work.now)
    else:
        await record_part(work, payment, part, evidence)


async def _noted_of_part(work: UnitOfWork, payment: Payment) -> int:
    noted = await inbox.recovered(work.tx, payment.id, _sums(payment))
    # Transfers are told one by one when they are enough: then this part is among them.
    return noted + await inbox.recovered(work.tx, payment.id, _transfers(payment), but=OTHER_MONEY)


async def has_part(tx: Tx, payment: Payment) -> bool:
    """Say whether a part of a payment that ended unpaid is listed as a sum, which names no transfer."""
    return await inbox.recovered(tx, payment.id, _sums(payment)) > 0


async def _note_transfers(work: UnitOfWork, payment: Payment, observed: PaymentObservation, reason: str) -> None:
    """Write down what nobody saw before: the rest was credited, set aside, or listed when the payment ended."""
    amounts: Counter[str] = Counter()
    for credit in await inbox.keep_transfers(work.tx, payment.id, observed.credits, work.now):
        amounts[credit.tx_hash] += credit.amount
    for tx_hash, amount in amounts.items():
        if amount > 0:
            await _note(work, payment, reason, amount, f"{_transfers(payment)}{tx_hash}", tx_hash, observed.document)


async def _note(
    work: UnitOfWork,
    payment: Payment,
    reason: str,
    amount: int,
    key: str,
    tx_hash: str | None,
    evidence: Mapping[str, Any],
) -> None:
    new = await inbox.add_recovery(
        work.tx,
        payment_id=payment.id,
        reason=reason,
        amount=amount,
        token=payment.token_address,
        tx_hash=tx_hash,
        evidence=evidence,
        dedupe_key=key,
        now=work.now,
    )
    if new:
        await announce_unapplied(work, payment, reason)


async def set_aside(work: UnitOfWork, payment: Payment, part: SetAside, document: Mapping[str, Any]) -> None:
    """Write down money whose sender is not accepted, beside what was credited of others."""
    shown = [
        {"txHash": c.tx_hash, "eventKey": c.event_key, "amountBaseUnits": str(c.amount), "sender": c.sender}
        for c in part.transfers[-SHOWN:]
    ]
    told = {**document, "amountReceivedBaseUnits": str(part.amount), "transfers": shown, "reason": str(part.reason)}
    prefix = _sums(payment) if payment.rail is Rail.DIRECT_BALANCE else f"aside:{payment.id}:"
    new = await inbox.add_recovery(
        work.tx,
        payment_id=payment.id,
        reason=part.reason,
        amount=part.amount,
        token=payment.token_address,
        tx_hash=part.transfers[0].tx_hash if part.transfers else None,
        evidence={**told, "transferCount": len(part.transfers)},
        dedupe_key=f"{prefix}aside:{part.reason}",
        now=work.now,
        count=max(1, len(part.transfers)),
    )
    if new:
        await announce_unapplied(work, payment, part.reason)


async def keep_other_money(work: UnitOfWork, payment: Payment, observed: PaymentObservation) -> None:
    """Write down what was held before another transfer paid: its evidence is about to be replaced."""
    if payment.hold_reason is None or payment.tx_hash is None or observed.balance is not None:
        return  # a balance is one sum: what was held of it is what is credited now
    known = {observed.tx_hash, *(credit.tx_hash for credit in observed.credits)}
    if not known & {payment.tx_hash, payment.tx_hash.lower()}:
        await record_closed(work, payment, payment.hold_reason)
        await announce_unapplied(work, payment, payment.hold_reason)


async def record_closed(work: UnitOfWork, payment: Payment, reason: str) -> None:
    """Write down what was seen of a payment and will not be credited."""
    received = int((payment.evidence or {}).get("amountReceivedBaseUnits", "0"))
    tells_sums = payment.rail is Rail.DIRECT_BALANCE or reason == PARTIAL
    if tells_sums and reason not in OTHER_MONEY:
        key = f"{_sums(payment)}{reason}:{received}"
    else:
        key = f"{_transfers(payment)}{payment.tx_hash}"
    await inbox.add_recovery(
        work.tx,
        payment_id=payment.id,
        reason=reason,
        amount=received or None,  # a balance below its baseline says nothing of an amount
        token=_moved(payment, reason),
        tx_hash=payment.tx_hash,
        evidence=payment.evidence or {},
        dedupe_key=key,
        now=work.now,
    )


def _moved(payment: Payment, reason: str) -> str | None:
    """Return the token that really moved: what was held for being another one is not the payment's."""
    if reason not in {Reason.WRONG_TOKEN, Reason.WRONG_ASSET}:
        return payment.token_address
    told = (payment.evidence or {}).get("tokenAddress")
    return told if isinstance(told, str) else None


def _sums(payment: Payment) -> str:
    """Return how the keys of what balances and parts told about a payment start."""
    return f"sum:{payment.id}:"


def _transfers(payment: Payment) -> str:
    """Return how the keys of what was told as transfers of a payment start."""
    return f"transfer:{payment.id}:"


async def announce_unapplied(work: UnitOfWork, payment: Payment, reason: str) -> None:
    """Tell the admins of money that needs a person."""
    title = f"Payment {payment.ref}: money to recover by hand ({reason})"
    admins = await work.people(Role.ADMIN)
    url = f"/payments/{payment.id}"
    key = "payment_recovery:reorged" if reason == "reorged" else "payment_recovery"
    await work.notify_seldom(admins, "payment", "payment_recovery", title, about=payment.id, url=url, key=key)
