"""The rules of the runner: whether what was observed is allowed. Pure."""

from __future__ import annotations

import math
from collections import Counter, defaultdict
from collections.abc import Iterable, Iterator, Mapping, Sequence
from fractions import Fraction
from typing import Any

from devnet.runner.facts import (
    CallSample,
    CreditedTransfer,
    ExpectedPayment,
    Finding,
    FindingKind,
    Notification,
    OnChain,
    Purchase,
)

WHOLE, LEAST_ADJUSTMENT = 10_000, 25  # basis points
MAY_FAIL = 0.01  # of all answers
BUG = 500
FUNDED = frozenset({"funded", "releasable", "releasing", "released"})

TO_BUYER = frozenset(
    {"pending_payment", "payment-underpaid", "payment-wrong-token", "payment_failed", "payment_expired", "goods_ready"}
)
TO_BOTH = frozenset({"payment_confirmed", "payment_releasable", "goods_waiting"})
TO_SELLER = frozenset({"goods_revealed"})
OF_DISPUTES = frozenset({"dispute_opened", "dispute_evidence", "dispute_resolved"})
TO_ALL = frozenset({"payment_release", "payment_released", "payment_refund", "payment_refunded"})
MAY_REPEAT = frozenset({"payment-underpaid", "payment-wrong-token", "payment_recovery"})  # each part, each transfer
TO_ADMINS = frozenset({"payment_held", "payment_recovery", "payout_reorged", "payout_unproved"})


def evidence_fault(payment: Mapping[str, Any], expected_payment: ExpectedPayment, chain: OnChain) -> str | None:
    """Return why a payment that is marked paid is not proven to be; None when it is."""
    checks = (
        ("status", payment["status"], "completed"),
        ("chain", payment["chainId"], expected_payment.chain_id),
        ("token", payment["tokenAddress"].lower(), expected_payment.token.lower()),
        ("amount", payment["amountBaseUnits"], str(expected_payment.amount)),
        ("transaction succeeded", chain.succeeded, True),
        ("block is canonical", chain.canonical, True),
        ("chain's sender", chain.sender.lower(), expected_payment.wallet.lower()),
        *_transfer_checks(payment, expected_payment, chain),
    )
    for name, found, expected in checks:
        if found != expected:
            return f"{payment['id']}: {name} is {found}, not {expected}"
    if payment["escrowState"] not in FUNDED:
        return f"{payment['id']}: completed with escrow {payment['escrowState']}"
    if chain.depth < payment["confirmationsRequired"]:
        return f"{payment['id']}: {chain.depth} confirmations of {payment['confirmationsRequired']}"
    return None


def quote_fault(quote: Mapping[str, Any], price: int, currency: str, due: int) -> str | None:
    """Compute anew what a price comes to, and return what is wrong with the quote; None when nothing is."""
    decimals = 18  # of the token, and of the price
    raw = price * Fraction(quote["fxRate"])
    below = max(Fraction(0), 1 - Fraction(quote["tokenPriceUsd"]))
    bps = math.ceil(below * WHOLE)
    adjustment = bps if bps >= LEAST_ADJUSTMENT else 0
    settle = math.ceil(raw * WHOLE / (WHOLE - adjustment))
    found = (
        Fraction(quote["offerAmount"]) * 10**decimals,
        quote["offerCurrency"],
        quote["depegAdjustmentBps"],
        Fraction(quote["settleAmount"]) * 10**decimals,
        due,
    )
    expected = (price, currency, adjustment, settle, settle)
    return None if found == expected else f"the quote says {found}, and comes to {expected}"


def _transfer_checks(
    payment: Mapping[str, Any], expected_payment: ExpectedPayment, chain: OnChain
) -> Iterator[tuple[str, object, object]]:
    """Compare what the payment says of the transfer with the chain; a balance knows no transaction."""
    evidence = payment["evidence"] or {}
    yield "amount received", evidence.get("amountReceivedBaseUnits"), str(expected_payment.amount)
    if payment["rail"] == "direct_balance":
        yield (
            "balance above the baseline",
            chain.balance - int(payment["baselineBalanceBaseUnits"] or 0),
            expected_payment.amount,
        )
        return
    yield "transaction", payment["txHash"], chain.tx_hash
    yield "sender", str(evidence.get("sender")).lower(), expected_payment.wallet.lower()
    yield "received on chain", chain.received, expected_payment.amount


def credits_of(payment: Mapping[str, Any]) -> list[CreditedTransfer]:
    """Return the transfers a payment says it was credited with."""
    transfers = (payment["evidence"] or {}).get("transfers") or ()
    return [CreditedTransfer(payment["id"], each["txHash"], each["eventKey"] or "") for each in transfers]


def duplicate_credits(credited_transfers: Iterable[CreditedTransfer]) -> list[Finding]:
    """Find transfers that were credited more than once."""
    payments: dict[tuple[str, str], list[str]] = defaultdict(list)
    for credit in credited_transfers:
        payments[credit.tx_hash, credit.event_key].append(credit.payment_id)
    return [
        Finding(FindingKind.DUPLICATE, f"{tx_hash} {key} was credited to {', '.join(sorted(given))}")
        for (tx_hash, key), given in payments.items()
        if len(given) > 1
    ]


def held_fault(ledger: Mapping[str, Any], expected: int, surplus: int = 0) -> Finding | None:
    """Compare what the ledger holds for one payment with what it must; `surplus` is what was paid too much."""
    held, available = int(ledger["heldBaseUnits"]), int(ledger["availableBaseUnits"])
    if (held, available) == (expected, surplus):
        return None
    kind = FindingKind.DUPLICATE if held + available > expected + surplus else FindingKind.LEDGER
    return Finding(kind, f"the ledger holds {held} and {available} more, for {expected} and {surplus}")


class Recipients:
    """Who may receive which notification of a level."""

    def __init__(self, purchases: Sequence[Purchase], admins: Iterable[str], sellers: Iterable[str] = ()) -> None:
        self._admins = frozenset(admins)
        self._sellers = frozenset(sellers) | {seller for purchase in purchases for seller in purchase.sellers}
        self._requests = {purchase.request_id: purchase for purchase in purchases if purchase.request_id}
        self._offers = {
            offer: (purchase, seller) for purchase in purchases for offer, seller in purchase.offers.items()
        }
        self._payments = {purchase.payment_id: purchase for purchase in purchases if purchase.payment_id}
        self._disputes = {purchase.dispute_id: purchase for purchase in purchases if purchase.dispute_id}
        self._stocks = {stock: seller for purchase in purchases for stock, seller in purchase.stocks.items()}

    def audience(self, kind: str, about: str) -> frozenset[str] | None:
        """Return who may receive this; None when it is about nothing of ours."""
        if about in self._payments:
            return self._of_payment(kind, self._payments[about])
        if about in self._requests:
            purchase = self._requests[about]
            everyone = {
                "request_created": self._sellers,
                "delivered": frozenset({purchase.buyer}),
                "delivery_confirmed": frozenset({purchase.winner}),
            }
            return everyone.get(kind, frozenset())
        if about in self._offers:
            purchase, seller = self._offers[about]
            to_seller = {
                "offer_accepted": purchase.winner,
                "offer_rejected": seller if seller != purchase.winner else "",
            }
            return frozenset({purchase.buyer} if kind == "offer_received" else {to_seller.get(kind, "")} & {seller})
        return self._beside_a_purchase(kind, about)

    def _beside_a_purchase(self, kind: str, about: str) -> frozenset[str] | None:
        if about in self._disputes:
            purchase = self._disputes[about]
            return frozenset({purchase.buyer, purchase.winner}) | self._admins if kind in OF_DISPUTES else frozenset()
        if about in self._stocks:
            return frozenset({self._stocks[about]} if kind == "stock_low" else ())
        if about in self._sellers:
            return frozenset({about} if kind == "fee_changed" else ())
        return None

    def _of_payment(self, kind: str, purchase: Purchase) -> frozenset[str]:
        both = frozenset({purchase.buyer, purchase.winner})
        if kind in TO_BUYER:
            return frozenset({purchase.buyer})
        if kind in TO_SELLER:
            return frozenset({purchase.winner})
        if kind in TO_BOTH:
            return both
        if kind in TO_ALL:
            return both | self._admins
        return self._admins if kind in TO_ADMINS else frozenset()

    def wrong_recipients(self, notifications: Iterable[Notification]) -> list[Finding]:
        """Find notifications that went to somebody they do not concern."""
        return [
            Finding(FindingKind.WRONG_RECIPIENT, f"{note.user_id} was notified of {note.type} about {note.about}")
            for note in notifications
            if not self._may_receive(note)
        ]

    def _may_receive(self, note: Notification) -> bool:
        audience = self.audience(note.type, note.about)
        if audience is not None:
            return note.user_id in audience
        if note.user_id in self._admins:
            return note.type in TO_ALL | TO_ADMINS | OF_DISPUTES  # others may use the marketplace at the same time
        return note.type == "request_created" and note.user_id in self._sellers


def repeated(notifications: Iterable[Notification]) -> list[Finding]:
    """Find notifications that somebody received twice."""
    counted = Counter((note.user_id, note.type, note.about) for note in notifications)
    return [
        Finding(FindingKind.REPEATED, f"{user} was notified of {kind} about {about} {times} times")
        for (user, kind, about), times in counted.items()
        if times > 1 and kind not in MAY_REPEAT
    ]


def not_received_live(live: Iterable[Notification], all_notifications: Iterable[Notification]) -> list[Finding]:
    """Compare live notifications with the stored ones: the same, each once."""
    received, stored = Counter(note.id for note in live), Counter(note.id for note in all_notifications)
    return [
        Finding(
            FindingKind.NOT_NOTIFIED, f"notification {each}: heard {received[each]} times, stored {stored[each]} times"
        )
        for each in received.keys() | stored.keys()
        if received[each] != stored[each]
    ]


def too_many_errors(samples: Sequence[CallSample], *, killing: bool = False) -> list[Finding]:
    """
    Find out whether too many answers were the server's fault; no answer at all counts as one.

    `killing`: services are being killed, and only an answer that admits a bug counts.
    """
    bad = sum(sample.status == BUG if killing else sample.status >= BUG or sample.status == 0 for sample in samples)
    if bad <= len(samples) * MAY_FAIL:
        return []
    return [Finding(FindingKind.SERVER_ERRORS, f"{bad} of {len(samples)} calls")]


def backlog_fault(undelivered: int, awaiting: int, waited_s: float) -> list[Finding]:
    """Judge what is still to be done after the time to do it."""
    if not undelivered and not awaiting:
        return []
    detail = f"{undelivered} webhooks undelivered, {awaiting} payments unconfirmed after {waited_s:.0f} s"
    return [Finding(FindingKind.BACKLOG, detail)]


def ledger_findings(report: Mapping[str, Any]) -> list[Finding]:
    """Read the reconciliation."""
    found = [
        Finding(
            FindingKind.DUPLICATE if each["kind"].startswith("double_") else FindingKind.LEDGER,
            f"{each['kind']} of {each['paymentId']}: {each['detail']}",
        )
        for each in report["findings"]
    ]
    if not found and report["ok"] is not True:
        found.append(Finding(FindingKind.LEDGER, "the reconciliation is not ok and does not say why"))
    return found
