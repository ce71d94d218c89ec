"""
What the canonical chain says by the rules of scanner.md, and how what was told differs from it.

Written against the specification, without a line of the scanner's own matching: two ways to the same answer.
"""

from __future__ import annotations

import itertools
from collections import Counter, defaultdict
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field

from addresses.keccak import keccak
from tests.chaos.facts import Coin, Movement, Order, Outcome, Row, Told, Verdict

CONFIRMED = "payment.confirmed"
SETTLED = ("confirmed", "webhook_failed")


@dataclass(frozen=True, slots=True)
class Settlement:
    """How an intent is settled."""

    tx: str  # of the transfer that completed the sum
    received: int


@dataclass(slots=True)
class Truth:
    """What follows from the chain."""

    settled: dict[str, Settlement] = field(default_factory=dict)
    rows: set[Row] = field(default_factory=set)


def truth(orders: Sequence[Order], movements: Sequence[Movement]) -> Truth:
    """Apply the rules to the canonical chain."""
    by_topic = {topic_of(order.reference): order for order in orders if order.rail == "proxy"}
    by_address = {order.destination: order for order in orders if order.rail == "direct"}
    found = Truth()
    eligible: dict[str, list[Movement]] = defaultdict(list)
    for movement in sorted(movements):
        order = by_address.get(movement.destination) if movement.topic is None else by_topic.get(movement.topic)
        reason = _refusal(movement, order)
        if order is not None and reason is None:
            eligible[order.intent_id].append(movement)
        else:
            found.rows.add(_row(movement, order, reason or ""))
    for order in orders:
        _add_up(order, eligible[order.intent_id], found)
    return found


def topic_of(reference: str) -> str:
    return "0x" + keccak(bytes.fromhex(reference[2:])).hex()


def _refusal(movement: Movement, order: Order | None) -> str | None:
    """Return the first reason that holds; None when the transfer counts."""
    if order is None:
        return "unknown_reference"
    reasons = {
        "wrong_token": movement.token != order.token,
        "zero_amount": movement.amount == 0 and movement.destination == order.destination,
        # What never came is told as such, whatever else is wrong with it.
        "no_transfer_log": movement.credited is None,
        "fee_on_transfer": movement.amount > (movement.credited or 0),
        "reverted": movement.bounced,
        "wrong_destination": movement.destination != order.destination,
        order.ended: order.ended is not None,
    }
    return next((reason for reason, holds in reasons.items() if holds), None)


def _add_up(order: Order, payments: Sequence[Movement], found: Truth) -> None:
    sums = list(itertools.accumulate(payment.amount for payment in payments))
    place = next((place for place, received in enumerate(sums) if received >= order.amount), None)
    if place is None:
        found.rows |= {_row(payment, order, "underpaid") for payment in payments}
        return
    completing, received = payments[place], sums[place]
    found.settled[order.intent_id] = Settlement(completing.tx, received)
    if received > order.amount:
        found.rows.add(_row(completing, order, "overpaid_surplus", received - order.amount))
    found.rows |= {_row(payment, order, "duplicate") for payment in payments[place + 1 :]}


def _row(movement: Movement, order: Order | None, reason: str, amount: int | None = None) -> Row:
    owner = None if order is None else order.intent_id
    return Row(*movement.key, owner, reason, movement.amount if amount is None else amount)


def judge(outcome: Outcome) -> Verdict:
    """Compare what was told and what is stored with what the chain says."""
    expected = truth(outcome.orders, outcome.movements)
    confirmed = [told for told in outcome.told if told.event_type == CONFIRMED and told.acknowledged]
    canonical = {movement.key for movement in outcome.movements}
    transfers = [row for row in outcome.rows if not of_coin(row)]
    return Verdict(
        missed=tuple(_missed(expected.settled, confirmed, outcome.statuses)),
        doubled=tuple(_doubled(outcome)),
        invented=tuple(_invented(expected.settled, outcome)),
        unexplained=(*_unexplained(expected.rows, transfers, canonical), *_unnoticed(outcome), *outcome.oddities),
    )


def _missed(settled: Mapping[str, Settlement], confirmed: Sequence[Told], statuses: Mapping[str, str]) -> Iterator[str]:
    delivered = {told.intent_id for told in confirmed}
    for intent_id, settlement in settled.items():
        if statuses.get(intent_id) != "confirmed":
            yield f"{intent_id} is paid by {settlement.tx} and is {statuses.get(intent_id)}"
        elif intent_id not in delivered:
            yield f"{intent_id} is paid by {settlement.tx} and nobody was told"


def _doubled(outcome: Outcome) -> Iterator[str]:
    events = {(told.intent_id, told.event_id) for told in outcome.told if told.event_type == CONFIRMED}
    for intent_id, count in Counter(intent_id for intent_id, _ in events).items():
        if count > 1:
            yield f"{intent_id} was told {count} times, as different events"
    for key, count in Counter((row.tx, row.event_key) for row in outcome.rows).items():
        if count > 1:
            yield f"transfer {key} is listed {count} times"


def _invented(settled: Mapping[str, Settlement], outcome: Outcome) -> Iterator[str]:
    for intent_id, status in outcome.statuses.items():
        if status in SETTLED and intent_id not in settled:
            yield f"{intent_id} is {status} and not paid"
    for told in {told for told in outcome.told if told.event_type == CONFIRMED}:
        if settled.get(told.intent_id) != Settlement(told.tx, told.received):
            yield f"{told} was told, the chain says {settled.get(told.intent_id)}"
    for told in outcome.told:
        if not told.genuine:
            yield f"{told} is not signed as it should be"


def of_coin(row: Row) -> bool:
    """Say whether a row tells of coin: known from a balance alone, it has no transaction."""
    return row.tx is None


def _unnoticed(outcome: Outcome) -> Iterator[str]:
    """
    Compare rows about coin with what arrived.

    How many arrivals one rise of a balance holds depends on when it was read; not its position: up to
    there, what is listed is what arrived.
    """
    listed = [row for row in outcome.rows if of_coin(row)]
    for order in outcome.orders:
        mine = [row for row in listed if row.event_key.rpartition("@")[0] == order.destination]
        came = [coin for coin in outcome.coins if coin.destination == order.destination]
        told, sent = sum(row.amount for row in mine), sum(coin.amount for coin in came)
        if order.rail == "direct" and told != sent:
            yield f"{told} coin of {sent} at {order.destination} is listed"
        for row in mine if order.rail == "direct" else ():
            if not _borne_out(row, mine, came) or (row.intent_id, row.reason) != (order.intent_id, "wrong_asset"):
                yield f"{row} is listed, and the chain does not say so"
    owned = {order.destination for order in outcome.orders if order.rail == "direct"}
    for row in listed:
        if row.event_key.rpartition("@")[0] not in owned:
            yield f"{row} is about nobody's destination"


def _borne_out(row: Row, mine: Sequence[Row], came: Sequence[Coin]) -> bool:
    here = _position(row)
    told = sum(other.amount for other in mine if _position(other) <= here)
    return row.amount > 0 and told == sum(coin.amount for coin in came if coin.position <= here)


def _position(row: Row) -> int:
    return int(row.event_key.rpartition("@")[2])


def _unexplained(expected: set[Row], rows: Sequence[Row], canonical: set[tuple[str, str]]) -> Iterator[str]:
    # What left the chain may be listed as such, or was never seen; what is on it may not.
    given = {row for row in rows if row.reason != "reorged" or (row.tx, row.event_key) in canonical}
    for row in expected - given:
        yield f"{row} is not listed"
    for row in given - expected:
        yield f"{row} is listed, and the chain does not say so"
