"""Whether what payments say and what the ledger says are the same story. Pure, but for reading it."""

from __future__ import annotations

import asyncio
from collections import Counter, defaultdict
from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass

from marketplace.model import Direction, DisputeOutcome, EscrowState, LedgerEntryType, Payment, PaymentStatus
from marketplace.payments.escrow import is_split
from marketplace.payments.fees import WHOLE_BPS, divide
from marketplace.payments.ledger import balances
from marketplace.pricing.reconciling import contradictions
from marketplace.store import disputes, ledger, offers, payments, payout_settlements, quotes
from marketplace.store.database import Tx
from marketplace.store.ledger import Line
from marketplace.unit_of_work import UnitOfWorkFactory

FUNDED_STATES = frozenset(
    {EscrowState.FUNDED, EscrowState.RELEASABLE, EscrowState.RELEASING, EscrowState.RELEASED, EscrowState.REFUNDED}
)

OUT_OF_ESCROW = (LedgerEntryType.RELEASE, LedgerEntryType.REFUND, LedgerEntryType.PLATFORM_FEE)


@dataclass(frozen=True, slots=True)
class Finding:
    """One thing that cannot be."""

    kind: str
    payment_id: str
    detail: str


@dataclass(frozen=True, slots=True)
class Report:
    """What was compared, and what was found."""

    checked: int
    findings: Sequence[Finding]

    @property
    def ok(self) -> bool:
        return not self.findings


@dataclass(frozen=True, slots=True, kw_only=True)
class Terms:
    """How money is to be divided, in basis points: the fee of each accepted offer, the buyer's share of each split."""

    fees: Mapping[str, int]
    splits: Mapping[str, int]


class Reconciliation:
    """Compares everything, in one snapshot."""

    def __init__(self, units: UnitOfWorkFactory) -> None:
        self._units = units

    async def report(self) -> Report:
        """
        Compare every payment with its ledger.

        Raises:
            StoreError: it could not be read, which is never "all fine".
        """
        async with self._units.db.read() as tx:
            return await compared(tx)


async def compared(tx: Tx) -> Report:
    """Read everything in one snapshot, and compare it off the loop."""
    all_payments = await payments.every(tx)
    all_lines = await ledger.every(tx)
    terms = Terms(fees=await offers.agreed_fees(tx), splits=await disputes.splits(tx))
    proved = await payout_settlements.proved(tx)
    all_quotes = await quotes.every(tx)
    currencies = await offers.currencies(tx)
    report = await asyncio.to_thread(compare, all_payments, all_lines, terms, proved)
    quoted = await asyncio.to_thread(list, contradictions(all_payments, all_quotes, currencies))
    wrong = [Finding("wrong_quote", payment_id, why) for payment_id, why in quoted]
    return Report(report.checked, [*report.findings, *wrong])


def compare(
    all_payments: Sequence[Payment],
    all_lines: Sequence[Line],
    terms: Terms,
    proved: Collection[str] | None = None,
) -> Report:
    """Find what contradicts itself; `proved` are the instructions that a transaction was seen to pay."""
    by_payment: Mapping[str, list[Line]] = defaultdict(list)
    for line in all_lines:
        by_payment[line.payment_id].append(line)
    pay_ins = [payment for payment in all_payments if payment.direction is Direction.IN]
    known = {payment.id for payment in pay_ins}
    orders = defaultdict(list)
    for payment in all_payments:
        if payment.direction is not Direction.IN:
            orders[payment.settles_payment_id].append(payment)
    findings = [
        Finding("orphan_entries", payment_id, f"{len(lines)} entries for what is no pay-in")
        for payment_id, lines in by_payment.items()
        if payment_id not in known
    ]
    for payment in pay_ins:
        findings += _of_payment(payment, by_payment.get(payment.id, []), orders.get(payment.id, []), terms)
    findings += [
        Finding("orphan_instruction", order.id, "empties no pay-in")
        for pay_in, given in orders.items()
        for order in given
        if pay_in not in known
    ]
    if proved is not None:
        findings += [
            Finding("settled_without_proof", order.id, "no transaction was seen to pay this instruction")
            for given in orders.values()
            for order in given
            if order.status is PaymentStatus.COMPLETED and order.id not in proved
        ]
    return Report(len(all_payments), findings)


def _of_payment(payment: Payment, lines: Sequence[Line], orders: Sequence[Payment], terms: Terms) -> Iterator[Finding]:
    funded = payment.escrow_state in FUNDED_STATES or is_split(payment)
    finished = payment.status in {PaymentStatus.COMPLETED, PaymentStatus.REFUNDED}
    if funded is not finished:
        state = f"status {payment.status}, escrow {payment.escrow_state}"
        yield Finding("status_escrow_mismatch", payment.id, state)
    if funded and not lines:
        yield Finding("funded_without_entries", payment.id, f"escrow {payment.escrow_state} and an empty ledger")
        return
    if not funded and lines:
        yield Finding("entries_without_funding", payment.id, f"{len(lines)} entries, status {payment.status}")
        return
    if funded:
        yield from _of_funded(payment, lines, orders)
        yield from _of_division(payment, lines, orders, terms)


def _of_funded(payment: Payment, lines: Sequence[Line], orders: Sequence[Payment]) -> Iterator[Finding]:
    counted = Counter(line.entry_type for line in lines)
    sums = balances(lines)
    for entry in (LedgerEntryType.PAYMENT_DETECTED, LedgerEntryType.HOLD):
        if counted[entry] != 1:
            kind = f"missing_{entry}" if not counted[entry] else f"double_{entry}"
            yield Finding(kind, payment.id, f"{counted[entry]} entries")
    out = sums.released + sums.refunded + sums.fees
    if counted[LedgerEntryType.HOLD] == 1 and sums.held + out != payment.amount_base:
        yield Finding("wrong_hold", payment.id, f"held for {payment.amount_base}, the ledger says otherwise")
    if sums.detected < payment.amount_base and counted[LedgerEntryType.PAYMENT_DETECTED]:
        yield Finding("underfunded", payment.id, f"{sums.detected} came for {payment.amount_base}")
    for entry in OUT_OF_ESCROW:
        if counted[entry] > 1:
            yield Finding(f"double_{entry}", payment.id, f"{counted[entry]} entries")
    if out > sums.detected:
        detail = f"{sums.released} + {sums.refunded} + {sums.fees} > {sums.detected}"
        yield Finding("paid_out_more_than_funded", payment.id, detail)
    yield from _foreign(payment, lines)
    yield from _of_orders(payment, counted, orders)


def _of_division(payment: Payment, lines: Sequence[Line], orders: Sequence[Payment], terms: Terms) -> Iterator[Finding]:
    """Compare how the money was divided with what was agreed, and instructions with the lines they stand for."""
    fee_bps, share = terms.fees.get(payment.seller_offer_id), terms.splits.get(payment.id)
    if (share is not None) is not (payment.ordered is DisputeOutcome.SPLIT):
        yield Finding("split_without_dispute", payment.id, f"the dispute says {share}, the payment {payment.ordered}")
    if is_split(payment) and share is None:
        yield Finding("partial_without_split", payment.id, "nobody decided to split it")
    if fee_bps is None:
        yield Finding("no_agreed_fee", payment.id, f"offer {payment.seller_offer_id} was paid and not accepted")
        return
    sums = balances(lines)
    booked = {
        LedgerEntryType.RELEASE: sums.released,
        LedgerEntryType.REFUND: sums.refunded,
        LedgerEntryType.PLATFORM_FEE: sums.fees,
    }
    if any(booked.values()) or share is not None:
        buyer_bps = share if share is not None else 0 if sums.released else WHOLE_BPS
        division = divide(payment.amount_base, buyer_bps=buyer_bps, fee_bps=fee_bps)
        for entry, expected in zip(OUT_OF_ESCROW, (division.seller, division.buyer, division.fee), strict=True):
            if booked[entry] != expected:
                yield Finding(f"wrong_{entry}", payment.id, f"{booked[entry]} was booked, {expected} is right")
    for order in orders:
        entry = LedgerEntryType.RELEASE if order.direction is Direction.OUT else LedgerEntryType.REFUND
        if order.amount_base != booked[entry]:
            detail = f"{order.amount_base} to be sent, {booked[entry]} in the ledger"
            yield Finding("wrong_instruction", payment.id, detail)


def _foreign(payment: Payment, lines: Iterable[Line]) -> Iterator[Finding]:
    for line in lines:
        same = (line.chain_id, line.token_address, line.purchase_request_id)
        if same != (payment.chain_id, payment.token_address, payment.purchase_request_id):
            yield Finding("foreign_entry", payment.id, f"entry {line.id} is of another chain, token or request")


def _of_orders(
    payment: Payment, counted: Mapping[LedgerEntryType, int], orders: Sequence[Payment]
) -> Iterator[Finding]:
    """Compare what went out of the books with what was ordered, and with the escrow."""
    for direction, entry in ((Direction.OUT, LedgerEntryType.RELEASE), (Direction.REFUND, LedgerEntryType.REFUND)):
        given = [order for order in orders if order.direction is direction]
        awaited = is_split(payment) and not given  # what a split booked is ordered afterwards, part by part
        if (bool(given) is not bool(counted.get(entry, 0)) and not awaited) or len(given) > 1:
            detail = f"{len(given)} instructions, {counted.get(entry, 0)} entries"
            yield Finding(f"{entry}_without_pair", payment.id, detail)
    out = counted.get(LedgerEntryType.RELEASE, 0) + counted.get(LedgerEntryType.REFUND, 0)
    over = payment.escrow_state in {EscrowState.RELEASED, EscrowState.REFUNDED}
    leaving = over or payment.escrow_state is EscrowState.RELEASING or is_split(payment)
    if leaving is not bool(out):
        yield Finding("escrow_ledger_mismatch", payment.id, f"escrow {payment.escrow_state}, {out} entries out")
    sent = [order for order in orders if order.status is PaymentStatus.COMPLETED]
    if over and (not sent or len(sent) < len(orders) or len(sent) < out):
        detail = f"escrow {payment.escrow_state}, {len(sent)} of {max(len(orders), out)} were sent"
        yield Finding("settled_without_transaction", payment.id, detail)
    if leaving and not over and out and len(sent) == out:
        yield Finding("sent_and_not_over", payment.id, f"escrow {payment.escrow_state}, everything was sent")
