"""
How the ledger of the marketplace differs from what the canonical chain says of every purchase.

Written against the specification: the marketplace's own reconciliation is asked, and not believed.
"""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Iterator, Sequence

from tests.chaos.facts import Verdict
from tests.chaos.market_expected import ExpectedSettlement, expected_settlement
from tests.chaos.market_facts import LedgerLine, MarketOutcome, OpenedPayment, ShownPayment
from tests.chaos.market_listing import Listing, not_listed, unbounded

FUNDED = frozenset({"funded", "releasable", "releasing", "released"})
DETECTED, HOLD, RELEASE = "payment_detected", "hold", "release"
DISPUTED, LIFTED = "dispute_hold", "adjustment"


def judge_market(outcome: MarketOutcome) -> Verdict:
    """Compare the ledger with what the chain says."""
    settlements = {
        opened.payment_id: expected_settlement(opened, outcome.transfers, outcome.listed) for opened in outcome.opened
    }
    shown = {payment.payment_id: payment for payment in outcome.payments}
    ledger_lines: dict[str, dict[str, list[int]]] = defaultdict(lambda: defaultdict(list))
    for line in outcome.ledger:
        ledger_lines[line.payment_id][line.entry].append(line.amount)
    missed, invented = list(_unfinished(outcome)), list(_strangers(outcome))
    unexplained = [*outcome.anomalies, *_reconciled(outcome), *_append_only(outcome), *_custody(outcome)]
    for opened in outcome.opened:
        settlement, payment, lines = (
            settlements[opened.payment_id],
            shown.get(opened.payment_id),
            ledger_lines[opened.payment_id],
        )
        missed += _missed(opened, settlement, payment, lines)
        invented += _invented(opened, settlement, payment, lines)
    listing = Listing(outcome, settlements)
    unexplained += [*listing.unexplained, *not_listed(outcome), *unbounded(outcome)]
    return Verdict(
        missed=tuple(missed),
        doubled=(*_doubled(outcome), *listing.doubled),
        invented=(*invented, *_credits(outcome, settlements), *listing.invented),
        unexplained=tuple(unexplained),
    )


def _unfinished(outcome: MarketOutcome) -> Iterator[str]:
    for planned in outcome.unfinished:
        yield f"a story did not end: {planned}"


def _missed(
    opened: OpenedPayment, settlement: ExpectedSettlement, payment: ShownPayment | None, lines: dict[str, list[int]]
) -> Iterator[str]:
    if settlement.received is None:
        return
    if payment is None or payment.status != "completed" or payment.escrow not in FUNDED:
        yield f"{opened.payment_id} ({opened.kind}, {opened.rail}) is paid, and is {payment}"
    for entry in (DETECTED, HOLD):
        if not lines.get(entry):
            yield f"{opened.payment_id} is paid, and the ledger has no {entry}"


def _invented(
    opened: OpenedPayment, settlement: ExpectedSettlement, payment: ShownPayment | None, lines: dict[str, list[int]]
) -> Iterator[str]:
    who = f"{opened.payment_id} ({opened.kind}, {opened.rail})"
    if settlement.received is None:
        if payment is not None and (payment.status == "completed" or payment.escrow in FUNDED):
            yield f"{who} is {payment.status}, {payment.escrow}, and the chain does not pay it"
        if lines:
            yield f"{who} is not paid, and the ledger has {dict(lines)}"
        return
    expected = {DETECTED: settlement.received, HOLD: opened.price, DISPUTED: opened.price, LIFTED: opened.price}
    expected |= {entry: amount for entry, amount in opened.parts.items() if amount}
    for entry, amounts in lines.items():
        for amount in set(amounts) - {expected.get(entry)}:
            yield f"{who}: {entry} of {amount}, the chain says {expected.get(entry)}"
    if payment is not None and payment.amount != opened.price:
        yield f"{who} asks for {payment.amount}, agreed was {opened.price}"


def _strangers(outcome: MarketOutcome) -> Iterator[str]:
    known = {opened.payment_id for opened in outcome.opened}
    for line in outcome.ledger:
        if line.payment_id not in known:
            yield f"{line} is about a payment that no buyer opened"


def _doubled(outcome: MarketOutcome) -> Iterator[str]:
    for (payment_id, entry), count in Counter((each.payment_id, each.entry) for each in outcome.ledger).items():
        if count > 1:
            yield f"{payment_id} has {count} lines of {entry}"
    owners: dict[tuple[str, str], set[str]] = defaultdict(set)
    for credit in outcome.credits:
        owners[credit.tx, credit.event_key].add(credit.payment_id)
    for key, given in owners.items():
        if len(given) > 1:
            yield f"transfer {key} was credited to {sorted(given)}"
    parts = {opened.payment_id: 1 + bool(opened.buyer_bps) for opened in outcome.opened}
    for payment_id, count in Counter(each.payment_id for each in outcome.payouts).items():
        if count > parts.get(payment_id, 1):
            yield f"{payment_id} was paid out {count} times"


def _credits(outcome: MarketOutcome, settlements: dict[str, ExpectedSettlement]) -> Iterator[str]:
    """Compare the transfers that were credited with those that count, where the rail sees transfers."""
    given: dict[str, set[str]] = defaultdict(set)
    for credit in outcome.credits:
        given[credit.payment_id].add(credit.tx)
    for opened in outcome.opened:
        counted = {m.tx for m in settlements[opened.payment_id].counted}
        if not opened.is_balance and given[opened.payment_id] - counted:
            yield f"{opened.payment_id} was credited with {given[opened.payment_id] - counted}, which do not count"


def _reconciled(outcome: MarketOutcome) -> Iterator[str]:
    report = outcome.reconciliation
    if report["ok"] is not True or report["findings"]:
        yield f"the reconciliation says {report}"


def _append_only(outcome: MarketOutcome) -> Iterator[str]:
    lines = Counter(outcome.ledger)
    for earlier in outcome.earlier:
        if Counter(earlier) - lines:  # their numbers say nothing of the order in which several processes wrote
            yield f"lines of the ledger are not what they were when there were {len(earlier)}"


def _custody(outcome: MarketOutcome) -> Iterator[str]:
    """Compare the balances of our addresses with what came in, less what was paid out."""
    ours = {opened.payment_id: opened for opened in outcome.opened}
    expected: Counter[str] = Counter({opened.destination: 0 for opened in outcome.opened})
    for transfer in outcome.transfers:
        if transfer.token in {opened.token for opened in outcome.opened}:
            expected[transfer.destination] += transfer.amount
    for payout in outcome.payouts:
        expected[ours[payout.payment_id].destination] -= payout.amount
    for address, amount in expected.items():
        if outcome.balances.get(address) != amount:
            yield f"{address} has {outcome.balances.get(address)}, what came and went says {amount}"
    held = _held(outcome.ledger)
    lying = sum(outcome.balances.get(address, 0) for address in expected)
    if held > lying:
        yield f"the ledger holds {held}, and {lying} lies on the chain"


def _held(ledger: Sequence[LedgerLine]) -> int:
    """Return what the ledger says is still here: what came in, less what went out."""
    signs = {DETECTED: 1, RELEASE: -1, "refund": -1}
    return sum(signs.get(line.entry, 0) * line.amount for line in ledger)
