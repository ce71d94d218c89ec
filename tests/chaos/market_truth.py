"""What the canonical chain says of every purchase by the rules of docs/marketplace.md."""

from __future__ import annotations

import itertools
from collections.abc import Sequence
from dataclasses import dataclass

from tests.chaos.facts import Movement, Order
from tests.chaos.judge import in_order, topic_of
from tests.chaos.market_facts import Bought

NEVER_PAID = frozenset({"given_up", "raced"})  # too little came, and it was cancelled


@dataclass(frozen=True, slots=True)
class Owed:
    """What follows from the chain for one payment."""

    received: int | None  # what its completion counts; None: it is not paid
    counted: tuple[Movement, ...]
    aside: tuple[Movement, ...]  # of senders on the sanctions list: it came before the sum was complete, and waits
    rest: tuple[Movement, ...]  # money of the right token that settles nothing
    nothing: tuple[Movement, ...]  # transfers of nothing
    foreign: tuple[Movement, ...]  # other tokens


def owed(bought: Bought, movements: Sequence[Movement], listed: frozenset[str] = frozenset()) -> Owed:
    """
    Apply the rules to what reached one payment.

    Whose money it is decides only where the seller asks: what clear senders paid has to reach the price alone.
    """
    topic = None if bought.reference is None else topic_of(bought.reference)
    mine = sorted((m for m in movements if (m.destination, m.topic) == (bought.destination, topic)), key=in_order)
    foreign = tuple(m for m in mine if m.token != bought.token)
    nothing = tuple(m for m in mine if m.token == bought.token and not m.amount)
    right = [m for m in mine if m.token == bought.token and m.amount]
    sums = list(itertools.accumulate(m.amount for m in right))
    place = next((place for place, received in enumerate(sums) if received >= bought.price), len(right))
    refused = listed if bought.screened else frozenset()
    counted = tuple(m for m in right[: place + 1] if m.sender not in refused)
    aside = tuple(m for m in right[: place + 1] if m.sender in refused)
    clear = sum(m.amount for m in counted)
    if ends(bought) or clear < bought.price:
        return Owed(None, (), (), tuple(right), nothing, foreign)
    return Owed(clear, counted, aside, tuple(right[place + 1 :]), nothing, foreign)


def order_of(bought: Bought) -> Order:
    """Return the intent behind a payment by a rail that sees transfers."""
    return Order(
        intent_id=bought.payment_id,
        rail="direct" if bought.reference is None else "proxy",
        token=bought.token,
        destination=bought.destination,
        amount=bought.price,
        reference=bought.reference or "",
    )


def ends(bought: Bought) -> bool:
    """Say whether a payment ends unpaid: when the scanner hears of it, before or after the money, is nobody's promise."""
    return bought.ended or bought.kind in NEVER_PAID
