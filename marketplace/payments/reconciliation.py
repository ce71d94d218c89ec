"""Whether what payments say and what the ledger says are the same story. Pure, but for reading it."""

from __future__ import annotations

import asyncio
from collections import Counter, defaultdict
from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass

from marketplace.model import OPEN_PAYMENTS, Direction, EscrowState, LedgerEntryType, Payment, PaymentStatus
from marketplace.payments.fees import WHOLE_BPS, divide
from marketplace.payments.ledger import balances
from marketplace.store import ledger, offers, payments, payout_settlements
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
            all_payments = await payments.every(tx)
            all_lines = await ledger.every(tx)
            agreed = await offers.agreed_fees(tx)
            proved = await payout_settlements.proved(tx)
        return await asyncio.to_thread(compare, all_payments, all_lines, agreed, proved)


def compare(
    all_payments: Sequence[Payment],
    all_lines: Sequence[Line],
    agreed_fees: Mapping[str, int],
    proved: Collection[str] | None = None,
) -> Report:
    """
    Find what contradicts itself.

    `agreed_fees` are the basis points of accepted offers, `proved` the instructions that a transaction was seen to pay.
    """
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
        fee_bps = agreed_fees.get(payment.seller_offer_id)
        findings += _of_payment(payment, by_payment.get(payment.id, []), orders.get(payment.id, []), fee_bps)
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


def _of_payment(
    payment: Payment, lines: Sequence[Line], orders: Sequence[Payment], fee_bps: int | None
) -> Iterator[Finding]:
    funded = payment.escrow_state in FUNDED_STATES
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
        yield from _of_division(payment, lines, orders, fee_bps)


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


def _of_division(
    payment: Payment, lines: Sequence[Line], orders: Sequence[Payment], fee_bps: int | None
) -> Iterator[Finding]:
    """Compare how the money was divided with what was agreed, and instructions with the lines they stand for."""
    if fee_bps is None:
        yield Finding("no_agreed_fee", payment.id, f"offer {payment.seller_offer_id} was paid and not accepted")
        return
    sums = balances(lines)
    booked = {
        LedgerEntryType.RELEASE: sums.released,
        LedgerEntryType.REFUND: sums.refunded,
        LedgerEntryType.PLATFORM_FEE: sums.fees,
    }
    if any(booked.values()):
        buyer_bps = 0 if sums.released else WHOLE_BPS
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
        if bool(given) is not bool(counted.get(entry, 0)) or len(given) > 1:
            detail = f"{len(given)} instructions, {counted.get(entry, 0)} entries"
            yield Finding(f"{entry}_without_pair", payment.id, detail)
    out = counted.get(LedgerEntryType.RELEASE, 0) + counted.get(LedgerEntryType.REFUND, 0)
    leaving = payment.escrow_state in {EscrowState.RELEASING, EscrowState.RELEASED, EscrowState.REFUNDED}
    if leaving is not bool(out):
        yield Finding("escrow_ledger_mismatch", payment.id, f"escrow {payment.escrow_state}, {out} entries out")
    settled = any(order.status not in OPEN_PAYMENTS for order in orders)
    if payment.escrow_state in {EscrowState.RELEASED, EscrowState.REFUNDED} and not settled:
        yield Finding("settled_without_transaction", payment.id, f"escrow {payment.escrow_state}, nothing was sent")
