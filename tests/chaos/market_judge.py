"""
How the books of the marketplace differ from what the canonical chain says of every purchase.

Written against the specification: the marketplace's own reconciliation is asked, and not believed.
"""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Iterator, Sequence

from tests.chaos.facts import Verdict
from tests.chaos.market_facts import Bought, Line, MarketOutcome, Shown
from tests.chaos.market_listing import Listing, not_listed, unbounded
from tests.chaos.market_truth import Owed, owed

FUNDED = frozenset({"funded", "releasable", "releasing", "released"})
DETECTED, HOLD, RELEASE = "payment_detected", "hold", "release"


def judge_market(outcome: MarketOutcome) -> Verdict:
    """Compare the books with what the chain says."""
    truths = {bought.payment_id: owed(bought, outcome.movements, outcome.listed) for bought in outcome.bought}
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
    unexplained += [*listing.unexplained, *not_listed(outcome), *unbounded(outcome)]
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
