"""
What has to hold in the marketplace's books at every moment of a run, not only in the end.

Each is asked of its store as it is committed, of the scanner's, and of the chain as it is.
"""

from __future__ import annotations

import sqlite3
from collections import Counter, defaultdict
from pathlib import Path
from typing import Any

from tests.simulation.evm_ledger import EvmLedger
from tests.simulation.invariants import Invariants
from tests.simulation.loop import SimLoop

FUNDED = {"funded", "releasable", "releasing", "released", "refunded"}
SPLIT = {"partial"}  # what is divided after a dispute; of an open payment: too little came
OPEN = {"pending", "processing", "confirmed"}
MOST_PENDING = 50  # commands to the scanner: a run has four payments

COUNT = "SELECT (SELECT count(*) FROM funds_ledger_entries) * 1000 + (SELECT count(*) FROM payments)"
LINES = "SELECT id, entry_type, payment_id, amount_base, idempotency_key FROM funds_ledger_entries"
CREDITS = "SELECT tx_hash, event_key, payment_id, amount FROM credited_transfers"
PAYMENTS = """
    SELECT id, direction, rail, status, escrow_state, amount_base, destination, confirmations_required,
    coalesce(baseline_balance, '0'), hold_reason, settles_payment_id, tx_hash, token_address,
    provider_payment_id IS NOT NULL FROM payments
"""
COMMANDS = "SELECT payment_id, kind, status FROM scanner_outbox"
TOLD = "SELECT related_id, count(*) FROM notifications WHERE type = 'payment_confirmed' GROUP BY related_id"
KEPT = "SELECT event_id FROM webhook_inbox"
DELIVERED = "SELECT event_id, event_type, subject_id FROM events WHERE status = 'delivered'"
PAYMENT = (
    *("id", "direction", "rail", "status", "escrow", "amount", "destination", "required", "baseline", "hold"),
    *("settles", "tx", "token", "watched"),
)


def _is_paid(payment: dict[str, Any]) -> bool:
    return bool(payment["status"] == "completed")


class MarketInvariants(Invariants):
    """Looks once a second of virtual time, and whenever the books change."""

    COUNT = COUNT

    def __init__(self, loop: SimLoop, books: Path, scanner: Path, ledger: EvmLedger) -> None:
        super().__init__(loop, books, ())
        self._scanner = scanner
        self._ledger = ledger
        self._lines: dict[int, tuple[Any, ...]] = {}  # every line that was ever there
        self._credits: dict[tuple[str, str], tuple[Any, ...]] = {}
        self._paid: set[str] = set()  # payments whose money was looked at when they were first seen to be complete
        self._out: set[str] = set()  # and payouts

    def _look(self, store: sqlite3.Connection) -> None:
        payments = {row[0]: dict(zip(PAYMENT, row, strict=True)) for row in store.execute(PAYMENTS)}
        lines = {row[0]: row for row in store.execute(LINES)}
        credited = {(tx, key): (payment_id, int(amount)) for tx, key, payment_id, amount in store.execute(CREDITS)}
        self._only_grow(lines, credited)
        sums: dict[str, Counter[str]] = defaultdict(Counter)
        for _, entry, payment_id, amount, _ in lines.values():
            sums[payment_id][entry] += int(amount)
        came_in = [each for each in payments.values() if each["direction"] == "in"]
        for payment in came_in:
            self._add_up_of(payment, sums[payment["id"]], credited)
        self._commands(store, came_in)
        self._tell(store, came_in)
        for payment in came_in:
            if _is_paid(payment) and payment["id"] not in self._paid:
                self._paid.add(payment["id"])
                self._doubt_money(payment, [tx for (tx, _), (owner, _) in credited.items() if owner == payment["id"]])
        self._payouts(payments, sums)
        self._acknowledged(store)

    def _only_grow(self, lines: dict[int, tuple[Any, ...]], credited: dict[tuple[str, str], tuple[Any, ...]]) -> None:
        for what, known, now in (("line", self._lines, lines), ("credit", self._credits, credited)):
            for key, row in known.items():  # type: ignore[attr-defined]
                if now.get(key) != row:  # type: ignore[attr-defined]
                    self.say(f"{what} {row} of the books is {now.get(key)} now")  # type: ignore[attr-defined]
        self._lines, self._credits = lines, credited

    def _add_up_of(self, payment: dict[str, Any], sums: Counter[str], credited: dict[Any, tuple[Any, ...]]) -> None:
        who, price = f"{payment['id']} ({payment['rail']})", int(payment["amount"])
        if not _is_paid(payment) or payment["escrow"] not in FUNDED | SPLIT:
            if sums or payment["escrow"] in FUNDED or _is_paid(payment):
                self.say(f"{who} is {payment['status']}, {payment['escrow']}, and its lines are {dict(sums)}")
            return
        out = sums["release"] + sums["refund"] + sums["platform_fee"]
        if sums["hold"] != price or sums["payment_detected"] < price or out > price:
            self.say(f"{who} of {price} has the lines {dict(sums)}")
        if sums["adjustment"] > sums["dispute_hold"] or sums["dispute_hold"] > price:
            self.say(f"{who} of {price} was disputed by {dict(sums)}")
        counted = sum(amount for owner, amount in credited.values() if owner == payment["id"])
        if payment["rail"] != "direct_balance" and counted != sums["payment_detected"]:
            self.say(f"{who} counts {sums['payment_detected']}, and {counted} was credited to it")

    def _doubt_money(self, payment: dict[str, Any], credited: list[str]) -> None:
        """What funds a payment stands on the chain, as deep as was asked."""
        required, price = int(payment["required"]), int(payment["amount"])
        if payment["rail"] == "direct_balance":
            deep = self._ledger.head - required + 1
            holds = self._ledger.balance(payment["token"], payment["destination"].lower(), deep)
            if holds - int(payment["baseline"]) < price:
                self.say(f"{payment['id']} of {price} is funded, and {holds} lies there {required} blocks deep")
        for tx_hash in credited:
            if (why := self._ledger.doubt(tx_hash, required)) is not None:
                self.say(f"{payment['id']} is funded by {tx_hash}, {why}")

    def _payouts(self, payments: dict[str, dict[str, Any]], sums: dict[str, Counter[str]]) -> None:
        """What leaves was ordered once, was in the books before, and is on the chain, each by itself."""
        out = [each for each in payments.values() if each["direction"] != "in"]
        for (settles, direction), count in Counter((each["settles"], each["direction"]) for each in out).items():
            if count > 1:
                self.say(f"{settles} has {count} instructions {direction}")
        for tx_hash, count in Counter(each["tx"] for each in out if each["status"] == "completed").items():
            if count > 1:
                self.say(f"{tx_hash} settles {count} instructions")
        for each in out:
            entry = "refund" if each["direction"] == "refund" else "release"
            if sums[each["settles"]][entry] != int(each["amount"]):
                self.say(
                    f"{each['settles']} is to pay {each['amount']} as {entry}, and its lines are {sums[each['settles']]}"
                )
            if each["status"] == "completed" and each["id"] not in self._out:
                self._out.add(each["id"])
                self._doubt_payout(each)

    def _doubt_payout(self, payout: dict[str, Any]) -> None:
        why = self._ledger.doubt(payout["tx"], int(payout["required"]))
        if why is None:
            moved = self._ledger.moved_by(payout["tx"], payout["token"], payout["destination"])
            why = None if moved == int(payout["amount"]) else f"which moves {moved}"
        if why is not None:
            self.say(f"{payout['id']} is settled by {payout['tx']}, {why}")

    def _commands(self, store: sqlite3.Connection, came_in: list[dict[str, Any]]) -> None:
        """Whatever the scanner has to be told stands beside what it follows from."""
        kinds: dict[str, set[str]] = defaultdict(set)
        pending = 0
        for payment_id, kind, status in store.execute(COMMANDS):
            kinds[payment_id].add(kind)
            pending += status == "pending"
        if pending > MOST_PENDING:
            self.say(f"{pending} commands to the scanner are pending")
        for payment in came_in:
            given, balance = kinds[payment["id"]], payment["rail"] == "direct_balance"
            missing = {"register"}
            if (
                payment["watched"]
                and payment["status"] not in OPEN
                and (balance or not (payment["hold"] or _is_paid(payment)))
            ):
                missing |= {"stop_watch" if balance else "cancel_intent"}
            if missing - given:
                self.say(f"{payment['id']} is {payment['status']}, and no command says {missing - given}")

    def _tell(self, store: sqlite3.Connection, came_in: list[dict[str, Any]]) -> None:
        """Buyer and seller are told of a payment in the moment it is complete."""
        told = dict(store.execute(TOLD).fetchall())
        for payment in came_in:
            wanted = 2 if _is_paid(payment) else 0
            if told.get(payment["id"], 0) != wanted:
                self.say(
                    f"{payment['id']} is {payment['status']}, and {told.get(payment['id'], 0)} were told it is paid"
                )

    def _acknowledged(self, store: sqlite3.Connection) -> None:
        """What the scanner takes for delivered was kept."""
        with_scanner = sqlite3.connect(self._scanner)
        try:
            delivered = with_scanner.execute(DELIVERED).fetchall()
        finally:
            with_scanner.close()
        kept = {event_id for (event_id,) in store.execute(KEPT)}
        for event_id, kind, subject in delivered:
            if event_id not in kept:
                self.say(f"{kind} of {subject} was acknowledged, and is not kept: {event_id}")
