"""Each way a store can break a promise in the middle of a run is found out, and a whole one is not."""

from __future__ import annotations

import random
import sqlite3
from collections.abc import Callable
from pathlib import Path

import pytest

from devnet.evm.anvil import CHAIN_ID
from devnet.tron import ledger as tron_ledger
from tests.chaos.facts import Order
from tests.e2e import ton_shop, tron_shop
from tests.harness import MERCHANT, USDT
from tests.simulation import run
from tests.simulation.evm_ledger import EvmLedger, payment_logs
from tests.simulation.invariants import Invariants, JudgedChain
from tests.simulation.loop import SimLoop

NOW = 1_772_000_000
REFERENCE = "0x0102030405060708"
ORDER = Order("order-1", "proxy", USDT.lower(), MERCHANT.lower(), 5, REFERENCE)
TABLES = """
    CREATE TABLE intents (intent_id, status, confirmations_required, amount, amount_received, chain_id DEFAULT 97);
    CREATE TABLE events (subject_id, event_type, body, chain_id DEFAULT 97);
    CREATE TABLE attempts (event_id, round, number);
    CREATE TABLE transfers (intent_id, tx_hash, amount, settled, reason, event_key DEFAULT '0', chain_id DEFAULT 97);
    CREATE TABLE checkpoints (rail, last_scanned_block, chain_id DEFAULT 97);
"""


class Moment:
    """A chain with one payment ten blocks deep, and the store that knows all about it."""

    def __init__(self, folder: Path) -> None:
        self.loop = SimLoop(1)
        self.ledger = EvmLedger(lambda: NOW, random.Random(1), epoch=4)
        self.path = folder / "scanner.db"
        self.store = sqlite3.connect(self.path)
        self.store.executescript(TABLES)
        chain = JudgedChain(chain_id=CHAIN_ID, ledger=self.ledger, deepest=2, doubt=self.ledger.doubt)
        chain.orders = lambda: [ORDER]
        self.invariants = Invariants(self.loop, self.path, [chain])
        self.invariants()  # the order is known from here on
        self.tx = self.ledger.tx(payment_logs(USDT, MERCHANT, 5, REFERENCE))
        self.ledger.mine(self.tx)
        self.ledger.mine(blocks=9)
        self.do("INSERT INTO intents VALUES ('order-1', 'confirmed', 10, '5', '5', 97)")
        self.do("INSERT INTO events VALUES ('order-1', 'payment.confirmed', '{}', 97)")
        self.do("INSERT INTO attempts VALUES ('evt_1', 1, 1)")
        self.do("INSERT INTO transfers VALUES ('order-1', ?, '5', 1, NULL, '0', 97)", self.tx.hash)
        self.do("INSERT INTO checkpoints VALUES ('proxy', ?, 97)", self.ledger.head)

    def do(self, sql: str, *values: str | int) -> None:
        self.store.execute(sql, values)
        self.store.commit()

    def found(self) -> list[str]:
        self.loop._now += 2
        self.invariants()
        self.store.close()
        self.invariants._reader.close()
        self.loop.close()
        return self.invariants.found


def test_a_whole_store_is_left_in_peace(tmp_path: Path) -> None:
    assert Moment(tmp_path).found() == []


def test_what_was_not_read_yet_need_not_be_stored(tmp_path: Path) -> None:
    moment = Moment(tmp_path)
    moment.do("UPDATE checkpoints SET last_scanned_block = 0")
    moment.do("DELETE FROM transfers")
    moment.do("DELETE FROM events")
    moment.do("UPDATE intents SET status = 'pending'")

    assert moment.found() == []


def reorganised(moment: Moment) -> None:
    moment.ledger.reorg(10, [[] for _ in range(10)])


BROKEN: dict[str, tuple[str | Callable[[Moment], None], str]] = {
    "no event": ("DELETE FROM events", "is confirmed without an event"),
    "an event too early": ("UPDATE intents SET status = 'confirming'", "has an event and is not confirmed"),
    "two events": (
        "INSERT INTO events VALUES ('order-1', 'payment.confirmed', '{}', 97)",
        "is confirmed by two events",
    ),
    "an attempt twice": ("INSERT INTO attempts VALUES ('evt_1', 1, 1)", "an attempt that was written down twice"),
    "another sum": ("UPDATE intents SET amount_received = '6'", "tells 6, and 5 settled it"),
    "too little": ("UPDATE intents SET amount = '7'", "of 7 tells 5"),
    "too early": ("UPDATE intents SET confirmations_required = 11", "10 blocks deep instead of 11"),
    "gone": (reorganised, "which the chain does not hold"),
    "beyond the end": ("UPDATE checkpoints SET last_scanned_block = 500", "was read to 500, and the chain ends at 10"),
    "marked in vain": ("UPDATE transfers SET reason = 'reorged'", "and never left its block"),
    "told in vain": (
        """INSERT INTO events VALUES ('order-1', 'payment.reorged', '{"txHash": "0x77"}', 97)""",
        "0x77 of order-1 was taken for reorganised, and never left its block",
    ),
    "passed by": ("DELETE FROM transfers", "lies below the checkpoint of its rail, and is not stored"),
}


def test_who_was_settled_by_a_transfer_stays_so(tmp_path: Path) -> None:
    moment = Moment(tmp_path)
    moment.invariants.committed()
    moment.do("UPDATE transfers SET intent_id = 'order-2', settled = 0")

    assert any("settled order-1, and is order-2's now" in each for each in moment.found())


def test_what_the_chain_took_back_adds_nothing_up(tmp_path: Path) -> None:
    moment = Moment(tmp_path)
    moment.ledger.undone.add(moment.tx.hash)
    moment.ledger.reorg(10, [[] for _ in range(10)])
    moment.do("UPDATE transfers SET reason = 'reorged'")
    moment.do("UPDATE intents SET amount_received = '0'")

    assert moment.found() == []


@pytest.mark.parametrize("name", BROKEN)
def test_what_is_broken_is_said(tmp_path: Path, name: str) -> None:
    how, sentence = BROKEN[name]
    moment = Moment(tmp_path)
    if isinstance(how, str):
        moment.do(how)
    else:
        how(moment)

    assert any(sentence in each for each in moment.found()), moment.invariants.found


def test_a_transfer_on_tron_settles_nothing_before_its_block_is_solid_or_when_it_failed() -> None:
    ledger = tron_shop.chain_of_today(ago_s=500)
    to = tron_ledger.account("a stall")
    good = ledger.transfer(to, 5)
    failed = ledger.fail(to, 5)
    ledger.advance(1)
    assert run.DOUBTS["tron"](ledger, good, 1) == "which is not solid"
    ledger.settle()

    assert run.DOUBTS["tron"](ledger, good, 1) is None
    assert run.DOUBTS["tron"](ledger, failed, 1) == "which failed"
    assert run.DOUBTS["tron"](ledger, "00" * 32, 1) == "which is not solid"


def test_a_transfer_on_ton_settles_nothing_before_it_has_arrived() -> None:
    ledger = ton_shop.chain_of_today(ago_s=500)
    payment = ledger.pay(f"0:{7:064X}", 5, pending=True)
    assert run.DOUBTS["ton"](ledger, payment.tx_hash, 1) == "which has not arrived"
    payment.pending = False

    assert run.DOUBTS["ton"](ledger, payment.tx_hash, 1) is None
    assert run.DOUBTS["ton"](ledger, "00" * 32, 1) == "which has not arrived"


def test_what_is_confirmed_too_early_is_seen_at_its_commit(tmp_path: Path) -> None:
    moment = Moment(tmp_path)
    moment.do("UPDATE intents SET confirmations_required = 11")
    moment.invariants.committed()
    moment.ledger.mine()  # a moment later nothing would be wrong with it

    assert any("10 blocks deep instead of 11" in each for each in moment.invariants.found)
    moment.found()


def test_what_another_chain_holds_is_not_this_ones(tmp_path: Path) -> None:
    """The same contracts, the same block numbers, the same hashes: a scanner of two chains may mix them up."""
    moment = Moment(tmp_path)
    moment.do("INSERT INTO intents VALUES ('order-2', 'confirmed', 1, '5', '5', 56)")
    moment.do("INSERT INTO events VALUES ('order-2', 'payment.confirmed', '{}', 56)")
    moment.do("INSERT INTO transfers VALUES ('order-2', ?, '5', 1, NULL, '0', 56)", moment.tx.hash)
    other = JudgedChain(chain_id=56, ledger=EvmLedger(lambda: NOW, random.Random(2), epoch=4))
    other.doubt = other.ledger.doubt  # type: ignore[union-attr]
    moment.invariants = Invariants(moment.loop, moment.path, [*moment.invariants._chains, other])

    assert [each.partition(": ")[2] for each in moment.found()] == [
        f"order-2 is confirmed by {moment.tx.hash}, which the chain does not hold"
    ]
