"""Money that came and is not credited: each unit of it is written down once, and the admins are told."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping
from typing import Any

from clients.python.amn_scanner_client import IntentEvent, Transfer, read_event
from marketplace.model import EscrowState, Payment, PaymentStatus, Rail, Role
from marketplace.payments.observation import SHOWN, PaymentObservation
from marketplace.payments.spelling import normal_event_key
from marketplace.risk.gate import SetAside
from marketplace.risk.policy import Reason
from marketplace.store import inbox
from marketplace.store.database import Tx
from marketplace.store.inbox import Credit, Rest, UnappliedFunds
from marketplace.unit_of_work import UnitOfWork

UNAPPLIED = frozenset({"payment.late", "payment.anomaly"})  # news of money that settles nothing
DOUBLE_CREDIT = "transfer_credited_elsewhere"
PARTIAL = "partial_payment"
LATE = "late_payment"
GONE = "reorged"  # of what was credited: another story of the same transfer
UNREAD = "unread_transactions"  # named by a hosted provider, beyond what is kept
# What was held for these reasons is other money than the payment's own, and no part of its sums.
OTHER_MONEY = frozenset({Reason.WRONG_TOKEN, Reason.WRONG_ASSET, Reason.WRONG_RECIPIENT, DOUBLE_CREDIT})
# Nothing was judged of what is held for these: what was said of it cannot be.
REFUSED = frozenset({Reason.BROKEN_ANSWER, Reason.TRANSFER_NOT_FOUND})


async def record_beyond(work: UnitOfWork, payment: Payment, observed: PaymentObservation) -> None:
    """Write down what came to a payment that is over, beyond what it was credited and what was noted before."""
    if observed.balance is None and not observed.credits:
        return  # what is told of another token has a sum as well, which is none of the payment's
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


async def record_other(work: UnitOfWork, payment: Payment, observed: PaymentObservation) -> None:
    """Write down another token that came with one transaction, unless it was held for it and listed when that ended."""
    tx_hash, token = observed.tx_hash or "", observed.evidence.token
    listed = await inbox.recoveries_of(work.tx, payment.id, tx_hash)
    if any(row.reason == Reason.WRONG_TOKEN and row.token_address == token for row in listed):
        return
    new = await inbox.add_recovery(
        work.tx,
        payment_id=payment.id,
        reason=Reason.WRONG_TOKEN,
        amount=observed.received,
        token=token,
        tx_hash=tx_hash,
        evidence={**observed.document, "reason": Reason.WRONG_TOKEN},
        dedupe_key=f"other:{payment.id}:{tx_hash}:{token}",
        now=work.now,
    )
    if new:
        await announce_wrong_token(work, payment, Reason.WRONG_TOKEN)


async def record_unread(work: UnitOfWork, payment: Payment, detail: str) -> None:
    """Write down once that transactions were named of a payment that nobody here looks at: they may be money."""
    new = await inbox.add_recovery(
        work.tx,
        payment_id=payment.id,
        reason=UNREAD,
        amount=None,
        token=None,
        tx_hash=None,
        evidence={"provider": payment.provider, "reason": UNREAD, "detail": detail},
        dedupe_key=f"unread:{payment.id}",
        now=work.now,
    )
    if new:
        await announce_unapplied(work, payment, UNREAD)


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
    if _is_part(payment):
        return  # what of it is not credited is listed once it is deep
    known = {observed.tx_hash, *(credit.tx_hash for credit in observed.credits)}
    if not known & {payment.tx_hash, payment.tx_hash.lower()}:
        await record_closed(work, payment, payment.hold_reason)
        await announce_unapplied(work, payment, payment.hold_reason)


async def record_closed(work: UnitOfWork, payment: Payment, reason: str) -> None:
    """Write down what was seen of a payment and will not be credited."""
    received = int((payment.evidence or {}).get("amountReceivedBaseUnits", "0"))
    tells_sums = payment.rail is Rail.DIRECT_BALANCE or reason == PARTIAL or _is_part(payment)
    if tells_sums and reason not in OTHER_MONEY:
        # The payment knows the first transaction of those that make up the sum: whoever sent it is not owed all of it.
        key, tx_hash = f"{_sums(payment)}{reason}:{received}", None
    else:
        key, tx_hash = f"{_transfers(payment)}{payment.tx_hash}", payment.tx_hash
    count, alone = _several(payment.evidence or {})
    await inbox.add_recovery(
        work.tx,
        payment_id=payment.id,
        reason=reason,
        amount=received or None,  # a balance below its baseline says nothing of an amount
        token=_moved(payment, reason),
        # Who gives the sum of several back to whoever sent one of them pays him what others had sent.
        tx_hash=tx_hash if alone else None,
        evidence=payment.evidence or {},
        dedupe_key=key,
        now=work.now,
        count=1 if tells_sums else count,
    )


def _is_part(payment: Payment) -> bool:
    """
    Say whether what is known of a payment is the sum of a part, though it is held for what else was said of it.

    None of its transfers is kept: each is taken for new money when it is looked at once more.
    """
    return payment.escrow_state is EscrowState.PARTIAL and payment.hold_reason in REFUSED


def _several(evidence: Mapping[str, Any]) -> tuple[int, bool]:
    """Return how many transfers were seen of a payment, and whether they are of one transaction."""
    shown = evidence.get("transfers") or []
    count = max(1, int(evidence.get("transferCount") or len(shown)))
    return count, count <= len(shown or [None]) and len({each.get("txHash") for each in shown}) <= 1


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
    key = "payment_recovery:reorged" if reason == GONE else "payment_recovery"
    await work.notify_of_payment_seldom(admins, payment, "payment_recovery", title, key=key)


async def announce_wrong_token(work: UnitOfWork, payment: Payment, reason: str) -> None:
    """Tell the admins, and the buyer, who may have sent what nobody asked for."""
    await announce_unapplied(work, payment, reason)
    title = f"Payment {payment.ref}: another token arrived"
    await work.notify_of_payment_seldom([payment.buyer_id], payment, "payment-wrong-token", title)


async def record_unapplied(work: UnitOfWork, payment: Payment, event: IntentEvent, evidence: Mapping[str, Any]) -> None:
    """Write it down; it is somebody's all the same."""
    reason = _reason(event)
    token = _token_that_moved(payment, event, reason)
    if reason != GONE and await _is_listed(work, payment, event, token, evidence):
        return
    new = await inbox.add_recovery(
        work.tx,
        payment_id=payment.id,
        reason=reason,
        amount=sum(transfer.amount for transfer in event.transfers or ()) or None,
        token=token,
        tx_hash=event.tx_hash,
        evidence=evidence,
        dedupe_key=f"{inbox.TOLD}:{event.event_id}",
        now=work.now,
    )
    if new and reason in {Reason.WRONG_TOKEN, Reason.WRONG_ASSET}:
        await announce_wrong_token(work, payment, reason)
    elif new:
        await announce_unapplied(work, payment, reason)


def add_up(found: Iterable[Transfer], reason: str | None) -> tuple[Rest, ...]:
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
                tx_hashes=frozenset({each.tx_hash}) | (frozenset() if known is None else known.tx_hashes),
            )
    return tuple(rests.values())


async def record_all_unapplied(
    work: UnitOfWork, payment: Payment, event: IntentEvent, evidence: Mapping[str, Any], rests: Iterable[Rest]
) -> None:
    """Bring what is listed for a reason to all there is of it, of which one event told together."""
    reason = _reason(event)
    rests = tuple(rests)
    await inbox.drop_rests(work.tx, payment.id, reason, but=[rest.token for rest in rests])
    news = [await inbox.set_rest(work.tx, payment.id, reason, rest, evidence, work.now) for rest in rests]
    if any(news):
        await announce_unapplied(work, payment, reason)


async def record_unread_unapplied(
    work: UnitOfWork, payment: Payment, event: IntentEvent, evidence: Mapping[str, Any]
) -> None:
    """Write down what an event itself tells of many transfers, until the scanner's list of them can be read."""
    reason = _reason(event)
    amount = sum(transfer.amount for transfer in event.transfers or ())
    rest = Rest(
        token=_token_that_moved(payment, event, reason),
        amount=amount,
        count=event.count or 1,
        last_tx_hash=event.tx_hash,
    )
    if await inbox.note_rest(work.tx, payment.id, reason, rest, evidence, work.now):
        await announce_unapplied(work, payment, reason)


async def take_back_credited(work: UnitOfWork, payment: Payment, credited: Iterable[Credit]) -> None:
    """
    Take off the list what was told to settle nothing and has paid now: a reorganisation put it before other money.

    Rows that stand for several name none of them: what was told together is read again.
    """
    paid = {_place_of(credit.tx_hash, credit.event_key) for credit in credited}
    listed = [row for row in await inbox.told_recoveries(work.tx, payment.id) if row.reason != GONE]
    for row in listed:
        if row.count == 1 and _place_of(row.tx_hash, _place(row)[1]) in paid:
            await inbox.drop_recovery(work.tx, row.id)
    if any(row.count > 1 for row in listed):
        for kept in await inbox.noted(work.tx, payment.id, UNAPPLIED):
            event = read_event(kept.body.encode(), kept.event_id)
            if isinstance(event, IntentEvent) and (event.count or 1) > 1:
                await inbox.set_outcome(work.tx, kept.event_id, inbox.UNREAD)


async def has_paid(work: UnitOfWork, payment: Payment, event: IntentEvent) -> bool:
    """Say whether the one transfer an event is about has paid by now, wherever it stood; without a block who knows."""
    if (event.count or 1) > 1 or not event.transfers or event.transfers[0].block_hash is None:
        return False
    told = _place_of(event.tx_hash, event.transfers[0].event_key)
    return told in {_place_of(*each) for each in await inbox.credited_places(work.tx, payment.id)}


def _place_of(tx_hash: str | None, event_key: str | None) -> tuple[str, str]:
    """Return where a transfer stands, as the scanner names it however it is spelt."""
    return (tx_hash or "").lower().removeprefix("0x"), normal_event_key(event_key or "")


def _reason(event: IntentEvent) -> str:
    return event.reason or event.event_type.removeprefix("payment.")


def _token_that_moved(payment: Payment, event: IntentEvent, reason: str) -> str | None:
    """Return the token that really moved; None where nobody told which of all others it was."""
    told = next((transfer.token for transfer in event.transfers or () if transfer.token is not None), None)
    if told is not None or reason in {Reason.WRONG_TOKEN, Reason.WRONG_ASSET}:
        return told
    return payment.token_address


async def _is_listed(
    work: UnitOfWork, payment: Payment, event: IntentEvent, token: str | None, evidence: Mapping[str, Any]
) -> bool:
    """
    Say whether this very transfer is listed already.

    A reorganisation gives it another block and another place there, and the scanner tells of it again: then
    the row that knew it elsewhere is brought to where it is now. Two alike in one block are two, and so are as many
    units of two tokens.
    """
    if event.tx_hash is None or not event.transfers or event.transfers[0].block_hash is None:
        return False
    here = event.transfers[0]
    known = [
        (row, *_place(row))
        for row in await inbox.recoveries_of(work.tx, payment.id, event.tx_hash)
        if row.amount_base == here.amount
        and row.reason != GONE
        and (row.token_address == token or None in {row.token_address, token})
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
