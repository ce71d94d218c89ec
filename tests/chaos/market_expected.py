"""What the canonical chain says of every purchase by the rules of docs/marketplace.md."""

from __future__ import annotations

import itertools
from collections.abc import Sequence
from dataclasses import dataclass

from tests.chaos.facts import ChainTransfer, Order
from tests.chaos.judge import in_order, topic_of
from tests.chaos.market_facts import OpenedPayment

BARRED = "barred"  # what came is of the right sum and of the wrong people
NEVER_PAID = frozenset({"given_up", "raced"})  # too little came, and it was cancelled


@dataclass(frozen=True, slots=True)
class ExpectedSettlement:
    """What follows from the chain for one payment."""

    received: int | None  # what its completion counts; None: it is not paid
    counted: tuple[ChainTransfer, ...]
    aside: tuple[ChainTransfer, ...]  # held for its senders: it came before the sum was complete, and waits
    rest: tuple[ChainTransfer, ...]  # money of the right token that settles nothing
    nothing: tuple[ChainTransfer, ...]  # transfers of nothing
    foreign: tuple[ChainTransfer, ...]  # other tokens


def expected_settlement(
    opened: OpenedPayment, transfers: Sequence[ChainTransfer], listed: frozenset[str] = frozenset()
) -> ExpectedSettlement:
    """
    Apply the rules to what reached one payment.

    Whose money it is decides only where the seller asks: what clear senders paid has to reach the price alone.
    """
    topic = None if opened.reference is None else topic_of(opened.reference)
    mine = sorted((m for m in transfers if (m.destination, m.topic) == (opened.destination, topic)), key=in_order)
    foreign = tuple(m for m in mine if m.token != opened.token)
    nothing = tuple(m for m in mine if m.token == opened.token and not m.amount)
    right = [m for m in mine if m.token == opened.token and m.amount]
    sums = list(itertools.accumulate(m.amount for m in right))
    place = next((place for place, received in enumerate(sums) if received >= opened.price), len(right))
    refused = listed if opened.screened else frozenset()
    counted = tuple(m for m in right[: place + 1] if m.sender not in refused)
    aside = tuple(m for m in right[: place + 1] if m.sender in refused)
    clear = sum(m.amount for m in counted)
    if opened.kind == BARRED:  # held, and given up as a whole
        return ExpectedSettlement(None, (), tuple(right), (), nothing, foreign)
    if ends(opened) or clear < opened.price:
        return ExpectedSettlement(None, (), (), tuple(right), nothing, foreign)
    return ExpectedSettlement(clear, counted, aside, tuple(right[place + 1 :]), nothing, foreign)


def order_of(opened: OpenedPayment) -> Order:
    """Return the intent behind a payment by a rail that sees transfers."""
    return Order(
        intent_id=opened.payment_id,
        rail="direct" if opened.reference is None else "proxy",
        token=opened.token,
        destination=opened.destination,
        amount=opened.price,
        reference=opened.reference or "",
    )


def ends(opened: OpenedPayment) -> bool:
    """Say whether a payment ends unpaid: whether the scanner learns of the end before or after the money is not specified."""
    return opened.ended or opened.kind in NEVER_PAID
