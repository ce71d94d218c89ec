"""Whether what was seen may be: the runner's rules, pure."""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any

from devnet.runner.facts import Credit, Deal, Fault, Finding, Note, OnChain, Owed, Sample

MAY_FAIL = 0.01  # of all answers
BUG = 500
FUNDED = frozenset({"funded", "releasable", "releasing", "released"})
REQUEST_NOTES = frozenset({"request_created", "delivered", "delivery_confirmed"})
TO_BUYER = frozenset(
    {"pending_payment", "payment-underpaid", "payment-wrong-token", "payment_failed", "payment_expired"}
)
TO_BOTH = frozenset({"payment_confirmed", "payment_releasable"})
TO_ALL = frozenset({"payment_release", "payment_released", "payment_refund", "payment_refunded"})
MAY_REPEAT = frozenset({"payment-underpaid", "payment-wrong-token", "payment_recovery"})  # each part, each transfer
TO_ADMINS = frozenset({"payment_held", "payment_recovery"})


def evidence_fault(payment: Mapping[str, Any], owed: Owed, chain: OnChain) -> str | None:
    """Return why a payment that is marked paid is not proven to be; None when it is."""
    checks = (
        ("status", payment["status"], "completed"),
        ("chain", payment["chainId"], owed.chain_id),
        ("token", payment["tokenAddress"].lower(), owed.token.lower()),
        ("amount", payment["amountBaseUnits"], str(owed.amount)),
        ("transaction succeeded", chain.succeeded, True),
        ("block is canonical", chain.canonical, True),
        ("chain's sender", chain.sender.lower(), owed.wallet.lower()),
        *_told(payment, owed, chain),
    )
    for name, found, expected in checks:
        if found != expected:
            return f"{payment['id']}: {name} is {found}, not {expected}"
    if payment["escrowState"] not in FUNDED:
        return f"{payment['id']}: completed with escrow {payment['escrowState']}"
    if chain.depth < payment["confirmationsRequired"]:
        return f"{payment['id']}: {chain.depth} confirmations of {payment['confirmationsRequired']}"
    return None


def _told(payment: Mapping[str, Any], owed: Owed, chain: OnChain) -> Iterator[tuple[str, object, object]]:
    """Compare what the payment says of the transfer with the chain; a balance knows no transaction."""
    evidence = payment["evidence"] or {}
    yield "amount received", evidence.get("amountReceivedBaseUnits"), str(owed.amount)
    if payment["rail"] == "direct_balance":
        yield "balance above the baseline", chain.balance - int(payment["baselineBalanceBaseUnits"] or 0), owed.amount
        return
    yield "transaction", payment["txHash"], chain.tx_hash
    yield "sender", str(evidence.get("sender")).lower(), owed.wallet.lower()
    yield "received on chain", chain.received, owed.amount


def credits_of(payment: Mapping[str, Any]) -> list[Credit]:
    """Return the transfers a payment says it was credited with."""
    transfers = (payment["evidence"] or {}).get("transfers") or ()
    return [Credit(payment["id"], each["txHash"], each["eventKey"] or "") for each in transfers]


def duplicate_credits(credited: Iterable[Credit]) -> list[Finding]:
    """Find transfers that were credited more than once."""
    payments: dict[tuple[str, str], list[str]] = defaultdict(list)
    for credit in credited:
        payments[credit.tx_hash, credit.event_key].append(credit.payment_id)
    return [
        Finding(Fault.DUPLICATE, f"{tx_hash} {key} was credited to {', '.join(sorted(given))}")
        for (tx_hash, key), given in payments.items()
        if len(given) > 1
    ]


def held_fault(ledger: Mapping[str, Any], expected: int, beyond: int = 0) -> Finding | None:
    """Compare what the ledger holds for one payment with what it must; `beyond` is what was paid too much."""
    held, surplus = int(ledger["heldBaseUnits"]), int(ledger["availableBaseUnits"])
    if (held, surplus) == (expected, beyond):
        return None
    fault = Fault.DUPLICATE if held + surplus > expected + beyond else Fault.LEDGER
    return Finding(fault, f"the ledger holds {held} and {surplus} more, for {expected} and {beyond}")


class Cast:
    """Everybody and everything of one level: who may hear what."""

    def __init__(self, deals: Sequence[Deal], admins: Iterable[str], sellers: Iterable[str] = ()) -> None:
        self._admins = frozenset(admins)
        self._sellers = frozenset(sellers) | {seller for deal in deals for seller in deal.sellers}
        self._requests = {deal.request_id: deal for deal in deals if deal.request_id}
        self._offers = {offer: (deal, seller) for deal in deals for offer, seller in deal.offers.items()}
        self._payments = {deal.payment_id: deal for deal in deals if deal.payment_id}

    def audience(self, kind: str, about: str) -> frozenset[str] | None:
        """Return who may hear this; None when it is about nothing of ours."""
        if about in self._payments:
            return self._of_payment(kind, self._payments[about])
        if about in self._requests:
            deal = self._requests[about]
            everyone = {
                "request_created": self._sellers,
                "delivered": frozenset({deal.buyer}),
                "delivery_confirmed": frozenset({deal.winner}),
            }
            return everyone.get(kind, frozenset())
        if about in self._offers:
            deal, seller = self._offers[about]
            to_seller = {"offer_accepted": deal.winner, "offer_rejected": seller if seller != deal.winner else ""}
            return frozenset({deal.buyer} if kind == "offer_received" else {to_seller.get(kind, "")} & {seller})
        return None

    def _of_payment(self, kind: str, deal: Deal) -> frozenset[str]:
        both = frozenset({deal.buyer, deal.winner})
        if kind in TO_BUYER:
            return frozenset({deal.buyer})
        if kind in TO_BOTH:
            return both
        if kind in TO_ALL:
            return both | self._admins
        return self._admins if kind in TO_ADMINS else frozenset()

    def misdirected(self, told: Iterable[Note]) -> list[Finding]:
        """Find what somebody heard that was none of their business."""
        return [
            Finding(Fault.WRONG_RECIPIENT, f"{note.user_id} was told {note.type} about {note.about}")
            for note in told
            if not self._may_hear(note)
        ]

    def _may_hear(self, note: Note) -> bool:
        audience = self.audience(note.type, note.about)
        if audience is not None:
            return note.user_id in audience
        if note.user_id in self._admins:
            return note.type in TO_ALL | TO_ADMINS  # others may use the marketplace at the same time
        return note.type == "request_created" and note.user_id in self._sellers


def repeated(told: Iterable[Note]) -> list[Finding]:
    """Find what somebody was told twice."""
    counted = Counter((note.user_id, note.type, note.about) for note in told)
    return [
        Finding(Fault.REPEATED, f"{user} was told {kind} about {about} {times} times")
        for (user, kind, about), times in counted.items()
        if times > 1 and kind not in MAY_REPEAT
    ]


def unheard(live: Iterable[Note], listed: Iterable[Note]) -> list[Finding]:
    """Compare what was heard live with what is stored: the same, each once."""
    heard, stored = Counter(note.id for note in live), Counter(note.id for note in listed)
    return [
        Finding(Fault.NOT_TOLD, f"notification {each}: heard {heard[each]} times, stored {stored[each]} times")
        for each in heard.keys() | stored.keys()
        if heard[each] != stored[each]
    ]


def too_many_errors(samples: Sequence[Sample], *, killing: bool = False) -> list[Finding]:
    """
    Find out whether too many answers were the server's fault; no answer at all counts as one.

    `killing`: services are being killed, and only an answer that admits a bug counts.
    """
    bad = sum(sample.status == BUG if killing else sample.status >= BUG or sample.status == 0 for sample in samples)
    if bad <= len(samples) * MAY_FAIL:
        return []
    return [Finding(Fault.SERVER_ERRORS, f"{bad} of {len(samples)} calls")]


def backlog_fault(undelivered: int, awaiting: int, waited_s: float) -> list[Finding]:
    """Judge what is still to be done after the time to do it."""
    if not undelivered and not awaiting:
        return []
    detail = f"{undelivered} webhooks undelivered, {awaiting} payments unconfirmed after {waited_s:.0f} s"
    return [Finding(Fault.BACKLOG, detail)]


def ledger_findings(report: Mapping[str, Any]) -> list[Finding]:
    """Read the reconciliation."""
    found = [
        Finding(
            Fault.DUPLICATE if each["kind"].startswith("double_") else Fault.LEDGER,
            f"{each['kind']} of {each['paymentId']}: {each['detail']}",
        )
        for each in report["findings"]
    ]
    if not found and report["ok"] is not True:
        found.append(Finding(Fault.LEDGER, "the reconciliation is not ok and says not why"))
    return found
