"""
What the canonical chain says by the rules of docs/rules.md, and how the webhooks and rows differ from it.

Written against the specification, without a line of the scanner's own matching: two ways to the same answer.
"""

from __future__ import annotations

import itertools
from collections import Counter, defaultdict
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from types import MappingProxyType
from typing import NamedTuple

from addresses.keccak import keccak
from tests.chaos.facts import ChainTransfer, Coin, Order, Outcome, ReceivedWebhook, UnmatchedRow, Verdict

CONFIRMED = "payment.confirmed"
GRACE_S = 60  # after the expiry a payment still counts, by the time of its block
SETTLED = ("confirmed", "webhook_failed")
MOST_LATE = 2  # transactions of one order that an index shows late


@dataclass(frozen=True, slots=True)
class Settlement:
    """How an intent is settled."""

    tx: str  # of the transfer that completed the sum
    received: int


class RowKey(NamedTuple):
    """What one line of `GET /unmatched` is about, however many transfers it holds."""

    intent_id: str | None
    reason: str
    token: str
    destination: str


@dataclass(slots=True)
class RowTotal:
    """The sum of the rows of one key."""

    count: int = 0
    amount: int = 0
    transactions: Counter[str] = field(default_factory=Counter)

    def add(self, tx: str, amount: int, count: int = 1) -> None:
        self.count += count
        self.amount += amount
        self.transactions[tx] += count


@dataclass(slots=True)
class ExpectedState:
    """What follows from the chain."""

    settled: dict[str, Settlement] = field(default_factory=dict)
    rows_by_key: dict[RowKey, RowTotal] = field(default_factory=lambda: defaultdict(RowTotal))


def expected_state(
    orders: Sequence[Order], transfers: Sequence[ChainTransfer], told: Mapping[str, Settlement] = MappingProxyType({})
) -> ExpectedState:
    """Apply the rules to the canonical chain; `told` is what was confirmed where an index showed payments late."""
    by_topic = {topic_of(order.reference): order for order in orders if order.rail == "proxy"}
    found = ExpectedState()
    eligible: dict[str, list[ChainTransfer]] = defaultdict(list)
    for transfer in sorted(transfers, key=in_order):
        order = _holder(orders, transfer) if transfer.topic is None else by_topic.get(transfer.topic)
        reason = _refusal(transfer, order)
        if order is not None and reason is None:
            eligible[order.intent_id].append(transfer)
        else:
            _add_row(found, transfer, order, reason or "")
    for order in orders:
        if not order.unreadable:
            payments = eligible[order.intent_id]
            _add_up(order, _as_shown(order, payments, told.get(order.intent_id)), found)
    return found


def in_order(transfer: ChainTransfer) -> tuple[int, str, int]:
    """Order by blocks, and within one by what every node shows alike: the hashes of transactions."""
    return transfer.block, transfer.tx, transfer.log_index


def _holder(orders: Sequence[Order], transfer: ChainTransfer) -> Order | None:
    """Return whom an address belonged to when something came to it: the last who took it over before."""
    held = [o for o in orders if o.rail == "direct" and o.destination == transfer.destination]
    return max((o for o in held if o.since <= transfer.time), key=lambda o: o.since, default=None)


def topic_of(reference: str) -> str:
    return "0x" + keccak(bytes.fromhex(reference[2:])).hex()


def _refusal(transfer: ChainTransfer, order: Order | None) -> str | None:
    """Return the first reason that holds; None when the transfer counts."""
    if order is None:
        return "unknown_reference"
    reasons = {
        "wrong_token": transfer.token != order.token,
        "zero_amount": transfer.amount == 0 and transfer.destination == order.destination,
        # What never came is reported as such, whatever else is wrong with it.
        "no_transfer_log": transfer.credited is None,
        "fee_on_transfer": transfer.amount > (transfer.credited or 0),
        "reverted": transfer.bounced,
        "wrong_destination": transfer.destination != order.destination,
        "cancelled": order.cancelled,
        # By the time of its block alone: when anybody saw it, and what any clock said, decides nothing.
        "late": order.expires_at is not None and transfer.time > order.expires_at + GRACE_S,
    }
    return next((reason for reason, holds in reasons.items() if holds), None)


def _as_shown(order: Order, payments: list[ChainTransfer], told: Settlement | None) -> list[ChainTransfer]:
    """
    Return payments with those last that nobody could know of when the others settled the order.

    What settled goes first. Which rows an index held back until then is not known here: one or two transactions, by
    which what was told is what the others add up to.
    """
    txs = sorted({payment.tx for payment in payments}) if told is not None else []
    for count in range(MOST_LATE + 1):
        for late in itertools.combinations(txs, count):
            shown = [payment for payment in payments if payment.tx not in late]
            if _settlement(order, shown) == told:
                return [*shown, *(payment for payment in payments if payment.tx in late)]
    return payments


def _settlement(order: Order, payments: Sequence[ChainTransfer]) -> Settlement | None:
    received = 0
    for payment in payments:
        received += payment.amount
        if received >= order.amount:
            return Settlement(payment.tx, received)
    return None


def _add_up(order: Order, payments: Sequence[ChainTransfer], found: ExpectedState) -> None:
    sums = list(itertools.accumulate(payment.amount for payment in payments))
    place = next((place for place, received in enumerate(sums) if received >= order.amount), None)
    if place is None:
        for payment in payments:
            _add_row(found, payment, order, "underpaid")
        return
    completing, received = payments[place], sums[place]
    found.settled[order.intent_id] = Settlement(completing.tx, received)
    if received > order.amount:
        _add_row(found, completing, order, "overpaid_surplus", received - order.amount)
    for payment in payments[place + 1 :]:
        _add_row(found, payment, order, "duplicate")


def _add_row(
    found: ExpectedState, transfer: ChainTransfer, order: Order | None, reason: str, amount: int | None = None
) -> None:
    owner = None if order is None else order.intent_id
    total = found.rows_by_key[RowKey(owner, reason, transfer.token, transfer.destination)]
    total.add(transfer.tx, transfer.amount if amount is None else amount)


def judge(outcome: Outcome) -> Verdict:
    """Compare the webhooks and what is stored with what the chain says."""
    confirmed = [webhook for webhook in outcome.webhooks if webhook.event_type == CONFIRMED and webhook.acknowledged]
    told = {webhook.intent_id: Settlement(webhook.tx, webhook.received) for webhook in confirmed}
    expected = expected_state(outcome.orders, outcome.transfers, told if outcome.late_rows else {})
    canonical = {transfer.tx for transfer in outcome.transfers}
    transfers = [row for row in outcome.rows if not of_coin(row)]
    return Verdict(
        missed=tuple(_missed(expected.settled, confirmed, outcome.statuses)),
        doubled=tuple(_doubled(outcome)),
        invented=tuple(_invented(expected.settled, outcome)),
        unexplained=(
            *unexplained_rows(expected.rows_by_key, transfers, canonical),
            *_unnoticed(outcome),
            *outcome.anomalies,
        ),
    )


def _missed(
    settled: Mapping[str, Settlement], confirmed: Sequence[ReceivedWebhook], statuses: Mapping[str, str]
) -> Iterator[str]:
    delivered = {webhook.intent_id for webhook in confirmed}
    for intent_id, settlement in settled.items():
        if statuses.get(intent_id) != "confirmed":
            yield f"{intent_id} is paid by {settlement.tx} and is {statuses.get(intent_id)}"
        elif intent_id not in delivered:
            yield f"{intent_id} is paid by {settlement.tx} and no webhook was delivered"


def _doubled(outcome: Outcome) -> Iterator[str]:
    events = {(webhook.intent_id, webhook.event_id) for webhook in outcome.webhooks if webhook.event_type == CONFIRMED}
    for intent_id, count in Counter(intent_id for intent_id, _ in events).items():
        if count > 1:
            yield f"{intent_id} was confirmed {count} times, by different events"
    for key, count in Counter((row.tx, row.event_key) for row in outcome.rows).items():
        if count > 1:
            yield f"transfer {key} is listed {count} times"


def _invented(settled: Mapping[str, Settlement], outcome: Outcome) -> Iterator[str]:
    for intent_id, status in outcome.statuses.items():
        if status in SETTLED and intent_id not in settled:
            yield f"{intent_id} is {status} and not paid"
    for webhook in {webhook for webhook in outcome.webhooks if webhook.event_type == CONFIRMED}:
        if settled.get(webhook.intent_id) != Settlement(webhook.tx, webhook.received):
            yield f"{webhook} was sent, the chain says {settled.get(webhook.intent_id)}"
    for webhook in outcome.webhooks:
        if not webhook.genuine:
            yield f"{webhook} is not signed as it should be"


def of_coin(row: UnmatchedRow) -> bool:
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
        mine = [row for row in listed if row.destination == order.destination]
        came = [coin for coin in outcome.coins if coin.destination == order.destination]
        listed_amount, sent = sum(row.amount for row in mine), sum(coin.amount for coin in came)
        if order.rail == "direct" and listed_amount != sent:
            yield f"{listed_amount} coin of {sent} at {order.destination} is listed"
        for row in mine if order.rail == "direct" else ():
            if not _borne_out(row, mine, came) or (row.intent_id, row.reason) != (order.intent_id, "wrong_asset"):
                yield f"{row} is listed, and the chain does not say so"
    owned = {order.destination for order in outcome.orders if order.rail == "direct"}
    for row in listed:
        if row.destination not in owned:
            yield f"{row} is about nobody's destination"


def _borne_out(row: UnmatchedRow, mine: Sequence[UnmatchedRow], came: Sequence[Coin]) -> bool:
    listed_amount = sum(other.amount for other in mine if other.position <= row.position)
    return row.amount > 0 and listed_amount == sum(coin.amount for coin in came if coin.position <= row.position)


def unexplained_rows(
    expected: Mapping[RowKey, RowTotal], rows: Sequence[UnmatchedRow], canonical: set[str]
) -> Iterator[str]:
    """Compare what is listed, line by line or in sums, with what the chain shows."""
    # What left the chain may be listed as such, or was never seen, and so may what only a log of a failed
    # transaction told of; what is on the chain may not.
    given: dict[RowKey, RowTotal] = defaultdict(RowTotal)
    merged = set()
    for row in rows:
        if row.reason in {"reorged", "reverted"} and row.tx not in canonical:
            continue
        key = RowKey(row.intent_id, row.reason, row.token, row.destination)
        given[key].add(row.tx or "", row.amount, row.count)
        if row.count > 1:
            merged.add(key)
    for key in {**expected, **given}:
        wanted, listed = expected.get(key, RowTotal()), given.get(key, RowTotal())
        if (wanted.count, wanted.amount) != (listed.count, listed.amount):
            yield f"{key}: the chain shows {wanted.count} of {wanted.amount}, listed are {listed.count} of {listed.amount}"
        elif key not in merged and wanted.transactions != listed.transactions:
            yield f"{key}: listed are {listed.transactions}, the chain shows {wanted.transactions}"
