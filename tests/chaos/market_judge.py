"""
What the canonical chain says of every purchase by the rules of docs/marketplace.md, and how the books differ from it.

Written against the specification: the marketplace's own reconciliation is asked, and not believed.
"""

from __future__ import annotations

import itertools
from collections import Counter, defaultdict
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from tests.chaos.facts import Movement, Verdict
from tests.chaos.judge import topic_of
from tests.chaos.market_facts import Line, MarketOutcome, Recovery, Shown
from tests.chaos.market_tales import Bought

FUNDED = frozenset({"funded", "releasable", "releasing", "released"})
DETECTED, HOLD, RELEASE = "payment_detected", "hold", "release"
# Why money is listed: what a reason may be said of.
OF_THE_END = frozenset({"cancelled", "late", "late_payment", "partial_payment"})
BEYOND = frozenset({"duplicate", "duplicate_payment"})
OTHER_TOKEN = frozenset({"wrong_token", "wrong_asset"})
GONE = "reorged"


@dataclass(frozen=True, slots=True)
class Owed:
    """What follows from the chain for one payment."""

    received: int | None  # what its completion counts; None: it is not paid
    counted: tuple[Movement, ...]
    rest: tuple[Movement, ...]  # money of the right token that settles nothing
    foreign: tuple[Movement, ...]  # other tokens


def owed(bought: Bought, movements: Sequence[Movement]) -> Owed:
    """Apply the rules to what reached one payment."""
    topic = None if bought.reference is None else topic_of(bought.reference)
    mine = sorted(m for m in movements if (m.destination, m.topic) == (bought.destination, topic))
    right = [m for m in mine if m.token == bought.token]
    foreign = tuple(m for m in mine if m.token != bought.token)
    sums = list(itertools.accumulate(m.amount for m in right))
    place = next((place for place, received in enumerate(sums) if received >= bought.price), None)
    if bought.ended or bought.kind == "given_up" or place is None:
        return Owed(None, (), tuple(right), foreign)
    return Owed(sums[place], tuple(right[: place + 1]), tuple(right[place + 1 :]), foreign)


def judge_market(outcome: MarketOutcome) -> Verdict:
    """Compare the books with what the chain says."""
    truths = {bought.payment_id: owed(bought, outcome.movements) for bought in outcome.bought}
    shown = {payment.payment_id: payment for payment in outcome.payments}
    books: dict[str, dict[str, list[int]]] = defaultdict(lambda: defaultdict(list))
    for line in outcome.ledger:
        books[line.payment_id][line.entry].append(line.amount)
    missed, invented = list(_unfinished(outcome)), list(_strangers(outcome))
    unexplained = [*outcome.oddities, *_reconciled(outcome), *_append_only(outcome), *_custody(outcome)]
    for bought in outcome.bought:
        truth, payment, lines = truths[bought.payment_id], shown.get(bought.payment_id), books[bought.payment_id]
        missed += _missed(bought, truth, payment, lines)
        invented += _invented(bought, truth, payment, lines)
    listing = Listing(outcome, truths)
    unexplained += listing.unexplained
    return Verdict(
        missed=tuple(missed),
        doubled=(*_doubled(outcome), *listing.doubled),
        invented=(*invented, *_credits(outcome, truths), *listing.invented),
        unexplained=tuple(unexplained),
    )


def _unfinished(outcome: MarketOutcome) -> Iterator[str]:
    for story in outcome.unfinished:
        yield f"a story did not end: {story}"


def _missed(bought: Bought, truth: Owed, payment: Shown | None, lines: dict[str, list[int]]) -> Iterator[str]:
    if truth.received is None:
        return
    if payment is None or payment.status != "completed" or payment.escrow not in FUNDED:
        yield f"{bought.payment_id} ({bought.kind}, {bought.rail}) is paid, and is {payment}"
    for entry in (DETECTED, HOLD):
        if not lines.get(entry):
            yield f"{bought.payment_id} is paid, and the ledger has no {entry}"


def _invented(bought: Bought, truth: Owed, payment: Shown | None, lines: dict[str, list[int]]) -> Iterator[str]:
    who = f"{bought.payment_id} ({bought.kind}, {bought.rail})"
    if truth.received is None:
        if payment is not None and (payment.status == "completed" or payment.escrow in FUNDED):
            yield f"{who} is {payment.status}, {payment.escrow}, and the chain does not pay it"
        if lines:
            yield f"{who} is not paid, and the ledger has {dict(lines)}"
        return
    expected = {DETECTED: truth.received, HOLD: bought.price, RELEASE: bought.price}
    for entry, amounts in lines.items():
        for amount in set(amounts) - {expected.get(entry)}:
            yield f"{who}: {entry} of {amount}, the chain says {expected.get(entry)}"
    if payment is not None and payment.amount != bought.price:
        yield f"{who} asks for {payment.amount}, agreed was {bought.price}"


def _strangers(outcome: MarketOutcome) -> Iterator[str]:
    known = {bought.payment_id for bought in outcome.bought}
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
    for payment_id, count in Counter(each.payment_id for each in outcome.payouts).items():
        if count > 1:
            yield f"{payment_id} was paid out {count} times"


def _credits(outcome: MarketOutcome, truths: dict[str, Owed]) -> Iterator[str]:
    """Compare the transfers that were credited with those that count, where the rail sees transfers."""
    given: dict[str, set[str]] = defaultdict(set)
    for credit in outcome.credits:
        given[credit.payment_id].add(credit.tx)
    for bought in outcome.bought:
        counted = {m.tx for m in truths[bought.payment_id].counted}
        if not bought.is_balance and given[bought.payment_id] - counted:
            yield f"{bought.payment_id} was credited with {given[bought.payment_id] - counted}, which do not count"


def _reconciled(outcome: MarketOutcome) -> Iterator[str]:
    report = outcome.reconciliation
    if report["ok"] is not True or report["findings"]:
        yield f"the reconciliation says {report}"


def _append_only(outcome: MarketOutcome) -> Iterator[str]:
    for earlier in outcome.earlier:
        if outcome.ledger[: len(earlier)] != earlier:
            yield f"lines of the ledger are not what they were when there were {len(earlier)}"


def _custody(outcome: MarketOutcome) -> Iterator[str]:
    """Compare what lies at our addresses with what came, less what was paid out and is in the books."""
    ours = {bought.payment_id: bought for bought in outcome.bought}
    expected: Counter[str] = Counter({bought.destination: 0 for bought in outcome.bought})
    for movement in outcome.movements:
        if movement.token in {bought.token for bought in outcome.bought}:
            expected[movement.destination] += movement.amount
    for payout in outcome.payouts:
        expected[ours[payout.payment_id].destination] -= payout.amount
    for address, amount in expected.items():
        if outcome.balances.get(address) != amount:
            yield f"{address} has {outcome.balances.get(address)}, what came and went says {amount}"
    held = _held(outcome.ledger)
    lying = sum(outcome.balances.get(address, 0) for address in expected)
    if held > lying:
        yield f"the books keep {held}, and {lying} lies on the chain"


def _held(ledger: Sequence[Line]) -> int:
    """Return what the ledger says is still here: what came in, less what went out."""
    signs = {DETECTED: 1, RELEASE: -1, "refund": -1}
    return sum(signs.get(line.entry, 0) * line.amount for line in ledger)


class Listing:
    """Compares money that settles nothing with what waits for a person: each unit once, with a reason that holds."""

    def __init__(self, outcome: MarketOutcome, truths: dict[str, Owed]) -> None:
        self.doubled: list[str] = []
        self.invented: list[str] = []
        self.unexplained: list[str] = []
        self._gassed = {each.payment_id for each in outcome.bought if each.destination in outcome.gassed}
        rows: dict[str, list[Recovery]] = defaultdict(list)
        canonical = {movement.tx for movement in outcome.movements}
        for row in outcome.recoveries:
            # What left the chain may be listed: it was there when it was seen, and a person looks it up.
            gone = row.tx is not None and row.tx in outcome.sent and row.tx not in canonical
            if not gone and not self._is_gas(row):
                rows[row.payment_id].append(row)
        for bought in outcome.bought:
            self._compare(bought, truths[bought.payment_id], rows.pop(bought.payment_id, []))
        self.unexplained += [f"{row} is about no payment" for left in rows.values() for row in left]

    def _is_gas(self, row: Recovery) -> bool:
        """Whoever pays out of an address gives it native coin first; the scanner sees that it is no token."""
        return row.reason == "wrong_asset" and row.tx is None and row.payment_id in self._gassed

    def _compare(self, bought: Bought, truth: Owed, rows: list[Recovery]) -> None:
        left = list(rows)
        unnamed = 0
        credited = {m.tx for m in truth.counted}
        for movement in (*truth.rest, *truth.foreign):
            named = [row for row in left if row.tx == movement.tx and row.amount == movement.amount]
            left = [row for row in left if row not in named]
            if len(named) > 1:
                self.doubled.append(f"{movement.tx} is listed {len(named)} times: {named}")
            if not named:
                unnamed += movement.amount
            for row in named:
                if row.reason not in _reasons(bought, truth, movement):
                    self.unexplained.append(f"{row} ({bought.kind}): the chain says another reason")
        for row in left:
            if row.tx in credited and not bought.is_balance:
                self.invented.append(f"{row} is to be given back, and was credited ({bought.kind})")
        sums = sum(row.amount or 0 for row in left if row.tx not in credited or bought.is_balance)
        if sums != unnamed:
            where = f"{bought.payment_id} ({bought.kind}, {bought.rail})"
            self.unexplained.append(f"{where}: {unnamed} more lies there for nobody, and {sums} is listed: {left}")


def _reasons(bought: Bought, truth: Owed, movement: Movement) -> frozenset[str]:
    if movement.token != bought.token:
        return OTHER_TOKEN
    return OF_THE_END if truth.received is None else BEYOND
