"""Each way the marketplace's books can break a promise in the middle of a run is found out, and whole ones are not."""

from __future__ import annotations

import random
import sqlite3
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.harness import MERCHANT, USDT
from tests.simulation.evm_ledger import EvmLedger, payment_logs, transfer_logs
from tests.simulation.loop import SimLoop
from tests.simulation.market_invariants import MOST_PENDING, MarketInvariants

NOW = 1_772_000_000
REFERENCE = "0x0102030405060708"
SELLER = "0x" + "5e" * 20
ADDRESS = "0x" + "ad" * 20
DEEP = 5
BOOKS = """
    CREATE TABLE payments (id, direction DEFAULT 'in', rail, status, escrow_state, amount_base, destination,
        confirmations_required DEFAULT 5, baseline_balance, hold_reason, settles_payment_id, tx_hash, token_address,
        provider_payment_id);
    CREATE TABLE funds_ledger_entries (id INTEGER PRIMARY KEY, entry_type, payment_id, amount_base, idempotency_key);
    CREATE TABLE credited_transfers (tx_hash, event_key, payment_id, amount);
    CREATE TABLE scanner_outbox (payment_id, kind, status);
    CREATE TABLE notifications (type, related_id);
    CREATE TABLE webhook_inbox (event_id);
"""
SCANNER = "CREATE TABLE events (event_id, event_type, subject_id, status)"


class Moment:
    """One payment of each kind of rail, both paid; the first one was paid out."""

    def __init__(self, folder: Path) -> None:
        self.loop = SimLoop(1)
        self.ledger = EvmLedger(lambda: NOW, random.Random(1), epoch=4)
        self.books = sqlite3.connect(folder / "books.db")
        self.books.executescript(BOOKS)
        self.scanner = sqlite3.connect(folder / "scanner.db")
        self.scanner.execute(SCANNER)
        self.scanner.execute("INSERT INTO events VALUES ('evt_1', 'payment.confirmed', 'proxy', 'delivered')")
        self.scanner.commit()
        self.paid = self.ledger.tx(payment_logs(USDT, MERCHANT, 100, REFERENCE))
        self.laid = self.ledger.tx(transfer_logs(USDT, ADDRESS, 70))
        self.ledger.mine(self.paid, self.laid)
        self.ledger.mine(blocks=DEEP)
        self.payout = self.ledger.tx(transfer_logs(USDT, SELLER, 90, MERCHANT))
        self.ledger.mine(self.payout)
        self.ledger.mine(blocks=DEEP)
        payment = "INSERT INTO payments VALUES (?, ?, ?, 'completed', ?, ?, ?, 5, ?, NULL, ?, ?, ?, ?)"
        self.do(payment, "p", "in", "proxy", "released", "100", MERCHANT, None, None, self.paid.hash, USDT, "p")
        self.do(payment, "b", "in", "direct_balance", "funded", "70", ADDRESS, "0", None, None, USDT, "watch_b")
        self.do(payment, "o", "out", "proxy", None, "90", SELLER, None, "p", self.payout.hash, USDT, None)
        for payment_id, entry, amount in (
            *(("p", "payment_detected", 100), ("p", "hold", 100), ("p", "release", 90), ("p", "platform_fee", 10)),
            *(("b", "payment_detected", 70), ("b", "hold", 70)),
        ):
            self.line(payment_id, entry, amount)
        self.do("INSERT INTO credited_transfers VALUES (?, '0', 'p', '100')", self.paid.hash)
        self.do("INSERT INTO scanner_outbox VALUES ('p', 'register', 'done'), ('b', 'register', 'done')")
        self.do("INSERT INTO scanner_outbox VALUES ('b', 'stop_watch', 'pending')")
        for payment_id in "ppbb":
            self.do("INSERT INTO notifications VALUES ('payment_confirmed', ?)", payment_id)
        self.do("INSERT INTO webhook_inbox VALUES ('evt_1')")
        self.invariants = MarketInvariants(self.loop, folder / "books.db", folder / "scanner.db", self.ledger)

    def do(self, sql: str, *values: str | int | None) -> None:
        self.books.execute(sql, values)
        self.books.commit()

    def line(self, payment_id: str, entry: str, amount: int) -> None:
        self.do("INSERT INTO funds_ledger_entries VALUES (NULL, ?, ?, ?, NULL)", entry, payment_id, str(amount))

    def cancelled(self, command: str) -> None:
        self.do(
            "INSERT INTO payments (id, rail, status, amount_base, provider_payment_id) VALUES ('c', 'direct', 'cancelled', 5, 'c')"
        )
        self.do("INSERT INTO scanner_outbox VALUES ('c', 'register', 'done'), ('c', ?, 'pending')", command)

    def found(self) -> list[str]:
        self.loop._now += 2
        self.invariants()
        for store in (self.books, self.scanner, self.invariants._reader):
            store.close()
        self.loop.close()
        return self.invariants.found


def test_whole_books_are_left_in_peace(tmp_path: Path) -> None:
    moment = Moment(tmp_path)
    moment.cancelled("cancel_intent")

    assert moment.found() == []


def _moved(moment: Moment, tx: object) -> None:
    """Let a transaction stand no deeper than three blocks."""
    held = [each for block in moment.ledger.blocks[1:] for each in block.txs]
    moment.ledger.reorg(moment.ledger.head, [[]] * moment.ledger.head)
    moment.ledger.mine(*(each for each in held if each is not tx))
    moment.ledger.mine(blocks=DEEP)
    moment.ledger.mine(tx, blocks=3)  # type: ignore[arg-type]


BROKEN: dict[str, Callable[[Moment], object]] = {
    "of 70 has the lines {}": lambda m: m.do("DELETE FROM funds_ledger_entries WHERE payment_id = 'b'"),
    "is pending, None, and its lines are": lambda m: m.do(
        "UPDATE payments SET status = 'pending', escrow_state = NULL WHERE id = 'b'"
    ),
    "is completed, cancelled": lambda m: m.do("UPDATE payments SET escrow_state = 'cancelled' WHERE id = 'p'"),
    "of 100 has the lines": lambda m: m.line("p", "refund", 1),
    "was disputed by": lambda m: m.line("p", "adjustment", 1),
    "counts 100, and 200 was credited": lambda m: m.do(
        "INSERT INTO credited_transfers VALUES (?, '1', 'p', '100')", m.paid.hash
    ),
    "3 blocks deep instead of 5": lambda m: _moved(m, m.paid),
    "and 0 lies there 5 blocks deep": lambda m: _moved(m, m.laid),
    "p has 2 instructions out": lambda m: m.do(
        "INSERT INTO payments SELECT 'o2', direction, rail, 'pending', escrow_state, amount_base, destination, 5, NULL,"
        " NULL, settles_payment_id, NULL, token_address, NULL FROM payments WHERE id = 'o'"
    ),
    "settles 2 instructions": lambda m: m.do(
        "INSERT INTO payments SELECT 'o2', 'refund', rail, status, escrow_state, amount_base, destination, 5, NULL,"
        " NULL, settles_payment_id, tx_hash, token_address, NULL FROM payments WHERE id = 'o'"
    ),
    "is to pay 80 as release": lambda m: m.do("UPDATE payments SET amount_base = '80' WHERE id = 'o'"),
    "which moves 0": lambda m: m.do("UPDATE payments SET destination = ? WHERE id = 'o'", MERCHANT),
    "no command says {'register'}": lambda m: m.do("DELETE FROM scanner_outbox WHERE payment_id = 'p'"),
    "no command says {'stop_watch'}": lambda m: m.do("DELETE FROM scanner_outbox WHERE kind = 'stop_watch'"),
    "no command says {'cancel_intent'}": lambda m: m.cancelled("register"),
    "commands to the scanner are pending": lambda m: [m.cancelled("cancel_intent") for _ in range(MOST_PENDING)],
    "and 1 were told it is paid": lambda m: m.do(
        "DELETE FROM notifications WHERE rowid = (SELECT max(rowid) FROM notifications)"
    ),
    "was acknowledged, and is not kept": lambda m: m.do("DELETE FROM webhook_inbox"),
}


@pytest.mark.parametrize("sentence", BROKEN)
def test_what_is_broken_is_said(sentence: str, tmp_path: Path) -> None:
    moment = Moment(tmp_path)
    BROKEN[sentence](moment)
    said = moment.found()

    assert any(sentence in each for each in said), said


@pytest.mark.parametrize("table", ["funds_ledger_entries", "credited_transfers"])
def test_what_was_written_stays(table: str, tmp_path: Path) -> None:
    moment = Moment(tmp_path)
    moment.loop._now += 2
    moment.invariants()
    moment.do(f"DELETE FROM {table} WHERE payment_id = 'p'")  # noqa: S608 - one of two

    assert any("of the books is None now" in each for each in moment.found())
