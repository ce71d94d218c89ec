"""Money that names a payment and cannot settle it: each transfer listed once, wherever a reorganisation puts it."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

from marketplace.model import Payment
from marketplace.payments.settlement import tell_seldom
from marketplace.payments.unapplied_funds import announce_unapplied
from marketplace.risk.policy import Reason
from marketplace.scanner_client import IntentEvent, IntentTransfer
from marketplace.store import inbox
from marketplace.store.inbox import Rest, UnappliedFunds
from marketplace.unit_of_work import UnitOfWork

GONE = "reorged"  # of what was credited: another story of the same transfer


async def record_unapplied(work: UnitOfWork, payment: Payment, event: IntentEvent, evidence: Mapping[str, Any]) -> None:
    """Write it down; it is somebody's all the same."""
    reason = _reason(event)
    if reason != GONE and await _is_listed(work, payment, event, evidence):
        return
    new = await inbox.add_recovery(
        work.tx,
        payment_id=payment.id,
        reason=reason,
        amount=sum(transfer.amount for transfer in event.transfers or ()) or None,
        token=_moved(payment, event, reason),
        tx_hash=event.tx_hash,
        evidence=evidence,
        dedupe_key=f"event:{event.event_id}",
        now=work.now,
    )
    if not new:
        return
    await announce_unapplied(work, payment, reason)
    if reason in {Reason.WRONG_TOKEN, Reason.WRONG_ASSET}:
        title = f"Payment {payment.ref}: another token arrived"
        await tell_seldom(work, [payment.buyer_id], payment, "payment-wrong-token", title)


def add_up(found: Iterable[IntentTransfer], reason: str | None) -> tuple[Rest, ...]:
    """Return all there is of a reason, token by token."""
    rests: dict[str, Rest] = {}
    for each in found:
        if each.reason == reason:
            known = rests.get(each.token)
            rests[each.token] = Rest(
                token=each.token,
                amount=each.amount + (0 if known is None else known.amount),
                count=each.count + (0 if known is None else known.count),
                last_tx_hash=each.tx_hash,
            )
    return tuple(rests.values())


async def record_all_unapplied(
    work: UnitOfWork, payment: Payment, event: IntentEvent, evidence: Mapping[str, Any], rests: Iterable[Rest]
) -> None:
    """Write down what is not listed yet of many transfers that one event told of together."""
    reason = _reason(event)
    news = [await inbox.set_rest(work.tx, payment.id, reason, rest, evidence, work.now) for rest in rests]
    if any(news):
        await announce_unapplied(work, payment, reason)


async def record_unread_unapplied(
    work: UnitOfWork, payment: Payment, event: IntentEvent, evidence: Mapping[str, Any]
) -> None:
    """Write down what an event itself tells of many transfers, until the scanner's list of them can be read."""
    reason = _reason(event)
    amount = sum(transfer.amount for transfer in event.transfers or ())
    rest = Rest(token=_moved(payment, event, reason), amount=amount, count=event.count or 1, last_tx_hash=event.tx_hash)
    if await inbox.note_rest(work.tx, payment.id, reason, rest, evidence, work.now):
        await announce_unapplied(work, payment, reason)


def _reason(event: IntentEvent) -> str:
    return event.reason or event.event_type.removeprefix("payment.")


def _moved(payment: Payment, event: IntentEvent, reason: str) -> str | None:
    """Return the token that really moved; None where nobody told which of all others it was."""
    told = next((transfer.token for transfer in event.transfers or () if transfer.token is not None), None)
    if told is not None or reason in {Reason.WRONG_TOKEN, Reason.WRONG_ASSET}:
        return told
    return payment.token_address


async def _is_listed(work: UnitOfWork, payment: Payment, event: IntentEvent, evidence: Mapping[str, Any]) -> bool:
    """
    Say whether this very transfer is listed already.

    A reorganisation gives it another block and another place there, and the scanner tells of it again: then
    the row that knew it elsewhere is brought to where it is now. Two alike in one block are two.
    """
    if event.tx_hash is None or not event.transfers or event.transfers[0].block_hash is None:
        return False
    here = event.transfers[0]
    known = [
        (row, *_place(row))
        for row in await inbox.recoveries_of(work.tx, payment.id, event.tx_hash)
        if row.amount_base == here.amount and row.reason != GONE
    ]
    if any((block, key) == (here.block_hash, here.event_key) for _, block, key in known):
        return True
    elsewhere = next((row for row, block, _ in known if block not in {None, here.block_hash}), None)
    if elsewhere is None:
        return False
    await inbox.move_recovery(work.tx, elsewhere.id, evidence)
    return True


def _place(row: UnappliedFunds) -> tuple[str | None, str | None]:
    """Return the block and the place in it that a row is about."""
    transfers = row.evidence.get("transfers") or [{}]
    return transfers[0].get("blockHash"), transfers[0].get("eventKey")
