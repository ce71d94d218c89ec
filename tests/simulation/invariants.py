"""
What has to hold at every moment of a run, not only in the end.

Each is asked of the store as it is committed and of the chain as it is, without a line of the scanner's own matching.
"""

from __future__ import annotations

import sqlite3
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

from tests.simulation.evm_ledger import EvmLedger
from tests.simulation.loop import SimLoop

if TYPE_CHECKING:
    from tests.chaos.facts import Order

EVERY_S = 1.0
MOST_READY = 5_000  # callbacks at once: nothing that is planned makes more
MOST_SENTENCES = 5

COUNT = "SELECT count(*) FROM intents WHERE status IN ('confirmed', 'webhook_failed')"
CONFIRMED = """
    SELECT intent_id, confirmations_required FROM intents
    WHERE status IN ('confirmed', 'webhook_failed') AND chain_id = ?
"""
UNTOLD = """
    SELECT intent_id FROM intents WHERE status IN ('confirmed', 'webhook_failed') AND intent_id NOT IN
    (SELECT subject_id FROM events WHERE event_type = 'payment.confirmed')
"""
TOLD_TOO_EARLY = """
    SELECT subject_id FROM events WHERE event_type = 'payment.confirmed' AND subject_id NOT IN
    (SELECT intent_id FROM intents WHERE status IN ('confirmed', 'webhook_failed'))
"""
TOLD_TWICE = """
    SELECT subject_id FROM events WHERE event_type = 'payment.confirmed' GROUP BY subject_id HAVING count(*) > 1
"""
WRITTEN_TWICE = "SELECT DISTINCT event_id FROM attempts GROUP BY event_id, round, number HAVING count(*) > 1"
REORGED = """
    SELECT intent_id, tx_hash FROM transfers WHERE reason = 'reorged' AND chain_id = ?1 UNION
    SELECT subject_id, json_extract(body, '$.txHash') FROM events
    WHERE event_type = 'payment.reorged' AND chain_id = ?1
"""
SETTLED = "SELECT intent_id, tx_hash, amount, coalesce(reason, '') FROM transfers WHERE settled"
OWNED = "SELECT chain_id, tx_hash, event_key, intent_id, settled FROM transfers"
SUMS = "SELECT intent_id, amount, amount_received FROM intents WHERE status IN ('confirmed', 'webhook_failed')"
CHECKPOINTS = "SELECT rail, last_scanned_block FROM checkpoints WHERE chain_id = ?"
KNOWN = "SELECT tx_hash FROM transfers WHERE chain_id = ?"


@dataclass(slots=True, kw_only=True)
class JudgedChain:
    """One of the chains a scanner watches, and what is known of it without the scanner."""

    chain_id: int
    ledger: EvmLedger | None = None  # where it is an EVM chain
    deepest: int = 0  # blocks that a reorganisation replaces
    bounded: bool = True  # whether no endpoint makes up a head
    # Why a transaction cannot settle an intent that asks for so many confirmations; None: it can.
    doubt: Callable[[str, int], str | None] = lambda _tx, _required: None
    orders: Callable[[], Sequence[Order]] = tuple
    known_at: dict[str, int] = field(default_factory=dict)  # orders, and the chain's head when they were acknowledged


class Invariants:
    """Looks once a second of virtual time; what it finds ends the run."""

    COUNT = COUNT  # what changes when it is worth a look at once

    def __init__(self, loop: SimLoop, store: Path, chains: Sequence[JudgedChain], *, every_s: float = EVERY_S) -> None:
        self._every_s = every_s
        self.found: list[str] = []
        self._said: set[str] = set()
        self._reader = sqlite3.connect(store)  # the world's own: it outlives the processes
        self._count = 0  # of confirmed intents
        self._loop = loop
        self._store = store
        self._chains = chains
        self._next = 0.0
        self._owners: dict[tuple[int, str, str], str] = {}  # of every transfer that ever settled an intent
        self._judged: set[str] = set()  # confirmed intents whose transfers were deep when they were looked at

    def __call__(self) -> None:
        if self._loop.time() < self._next or len(self.found) >= MOST_SENTENCES:
            return
        self._next = self._loop.time() + self._every_s
        ready = len(self._loop._ready)  # type: ignore[attr-defined]
        if ready > MOST_READY:
            self.say(f"{ready} callbacks are ready at once")
        store = sqlite3.connect(self._store)
        try:
            self._look(store)
        finally:
            store.close()

    def committed(self) -> None:
        """Look at once where an intent was confirmed: a moment later its payment may be as deep as it should have been."""
        (count,) = self._reader.execute(self.COUNT).fetchone()
        if count != self._count and len(self.found) < MOST_SENTENCES:
            self._count = count
            self._look(self._reader)

    def say(self, sentence: str) -> None:
        """Note a broken promise, once."""
        if sentence in self._said:
            return
        self._said.add(sentence)
        self.found.append(f"broken at {self._loop.time() - 1000.0:.3f} s: {sentence}")
        self._loop.note(f"BROKEN: {sentence}")

    def _look(self, store: sqlite3.Connection) -> None:
        for sql, what in (
            (UNTOLD, "is confirmed without an event"),
            (TOLD_TOO_EARLY, "has an event and is not confirmed"),
            (TOLD_TWICE, "is confirmed by two events"),
            (WRITTEN_TWICE, "has an attempt that was written down twice"),
        ):
            for (intent_id,) in store.execute(sql):
                self.say(f"{intent_id} {what}")
        self._add_up(store)
        self._keep(store)
        for chain in self._chains:
            self._doubt_confirmed(store, chain)
            if chain.ledger is not None:
                self._compare(store, chain, chain.ledger)

    def _add_up(self, store: sqlite3.Connection) -> None:
        """A settled intent has received what its settled transfers add up to, but for those the chain took back."""
        received: dict[str, int] = {}
        lost = set()
        for intent_id, _, amount, reason in store.execute(SETTLED):
            stands = reason != "reorged"
            received[intent_id] = received.get(intent_id, 0) + (int(amount) if stands else 0)
            lost |= set() if stands else {intent_id}
        for intent_id, amount, told in store.execute(SUMS):
            if received.get(intent_id, 0) != int(told) or (int(told) < int(amount) and intent_id not in lost):
                self.say(f"{intent_id} of {amount} tells {told}, and {received.get(intent_id, 0)} settled it")

    def _keep(self, store: sqlite3.Connection) -> None:
        """What settled an intent once is never another one's."""
        for chain_id, tx_hash, event_key, intent_id, settled in store.execute(OWNED):
            if settled:
                self._owners.setdefault((chain_id, tx_hash, event_key), intent_id)
            owner = self._owners.get((chain_id, tx_hash, event_key), intent_id)
            if owner != intent_id:
                self.say(f"{tx_hash} settled {owner}, and is {intent_id or 'nobody'}'s now")

    def _compare(self, store: sqlite3.Connection, chain: JudgedChain, ledger: EvmLedger) -> None:
        passed = dict(store.execute(CHECKPOINTS, (chain.chain_id,)).fetchall())
        for rail, position in passed.items():
            if chain.bounded and position > ledger.head + chain.deepest:
                self.say(f"the {rail} rail was read to {position}, and the chain ends at {ledger.head}")
        self._compare_read(store, chain, ledger, passed)
        for intent_id, tx_hash in store.execute(REORGED, (chain.chain_id,)):
            if tx_hash not in ledger.replaced:
                self.say(f"{tx_hash} of {intent_id} was taken for reorganised, and never left its block")

    def _doubt_confirmed(self, store: sqlite3.Connection, chain: JudgedChain) -> None:
        """Whatever settles an intent stood, as deep as was asked, when the intent is first seen to be confirmed."""
        confirmed = store.execute(CONFIRMED, (chain.chain_id,))
        fresh = {intent_id: required for intent_id, required in confirmed if intent_id not in self._judged}
        for intent_id, tx_hash, *_ in store.execute(SETTLED).fetchall() if fresh else ():
            why = chain.doubt(tx_hash, fresh[intent_id]) if intent_id in fresh else None
            if why is not None:
                self.say(f"{intent_id} is confirmed by {tx_hash}, {why}")
        self._judged |= fresh.keys()

    def _compare_read(
        self, store: sqlite3.Connection, chain: JudgedChain, ledger: EvmLedger, passed: dict[str, Any]
    ) -> None:
        """What was paid after an order was acknowledged, and lies below the checkpoint for good, is stored."""
        orders = {order.intent_id: order for order in chain.orders()}
        for intent_id in orders:
            chain.known_at.setdefault(intent_id, ledger.head)
        known: set[str] | None = None
        for order in orders.values():
            end = passed.get(order.rail, 0) - chain.deepest - 2
            since = chain.known_at[order.intent_id] + 1
            for tx_hash in ledger.paid(order, since, end):
                known = known if known is not None else {tx for (tx,) in store.execute(KNOWN, (chain.chain_id,))}
                if tx_hash not in known:
                    self.say(
                        f"{tx_hash} for {order.intent_id} lies below the checkpoint of its rail, and is not stored"
                    )
                    return
