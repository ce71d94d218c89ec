"""Look again at what is deep enough, on the canonical chain, and only then confirm."""

from __future__ import annotations

from collections.abc import AsyncIterator, Iterator, Sequence
from itertools import chain, groupby

from chains.base import ChainAdapter
from chains.types import Cursor, Head, Outcome, Transfer, Verification
from config.catalog import Chain
from scanner import findings
from scanner.clock import Clock
from scanner.findings import Recorded
from scanner.lifecycle import due, horizon
from scanner.model import StoredTransfer
from scanner.store import checkpoints, intents, transfers
from scanner.store.database import Database

BATCH = 200  # intents looked at in one go
TOGETHER = 10  # intents confirmed in one transaction: whoever registers or cancels waits until it is over

Looked = list[tuple[StoredTransfer, Verification]]


class Confirmer:
    """Takes one chain's intents from `confirming` to `confirmed`, or back."""

    def __init__(self, chain: Chain, adapter: ChainAdapter, db: Database, clock: Clock) -> None:
        self._chain = chain
        self._adapter = adapter
        self._db = db
        self._clock = clock

    async def run(self, head: Head) -> AsyncIterator[Recorded]:
        """
        Look again at everything that is deep enough under `head`, batch by batch.

        Raises:
            ChainError: no endpoint could tell; nothing has changed.
        """
        if self._adapter.counts_blocks:
            await self._count_depths(head)
        ids = await self._deep(head)
        for start in range(0, len(ids), BATCH):
            found = await self._due(ids[start : start + BATCH], head)
            if not found:
                continue
            seen = await self._adapter.verify([_as_fact(transfer) for transfer in found], head=head)
            for looked in _apart(list(zip(found, seen, strict=True))):
                yield await self._apply(looked)

    async def _count_depths(self, head: Head) -> None:
        async with self._db.read() as tx:
            waiting = await intents.confirmations_behind(tx, self._chain.chain_id, head.position)
        if waiting:
            async with self._db.write() as tx:
                await intents.advance_confirmations(tx, self._chain.chain_id, head.position)

    async def _deep(self, head: Head) -> list[str]:
        """Return the intents with anything that is deep enough to be looked at again."""
        chain_id, (tip, final) = self._chain.chain_id, horizon(head, self._chain.finality)
        async with self._db.read() as tx:
            whole = await intents.deep(tx, chain_id, tip=tip, final=final)
            others = await transfers.unseen(tx, chain_id, tip=tip, final=final)
        return sorted(whole | others)

    async def _due(self, ids: Sequence[str], head: Head) -> list[StoredTransfer]:
        """Return whole sums that are deep enough, and what else nobody has looked at yet."""
        async with self._db.read() as tx:
            owners = await intents.get_many(tx, ids)
            held = await transfers.of_intents(tx, ids)
        return [
            transfer
            for intent in owners.values()
            for transfer in due(intent, held[intent.intent_id], head, self._chain.finality)
        ]

    async def _apply(self, looked: Looked) -> Recorded:
        now = self._clock.now_ms()
        async with self._db.write() as tx:
            recorded, passed = await findings.apply_verdicts(tx, self._chain.chain_id, looked, now=now)
            owners = {stored.intent_id for stored, _ in looked if stored.intent_id}
            await findings.settle(tx, owners, {t.key for t in passed}, recorded, now=now)
            gone = _lowest_gone(looked)
            if gone is not None:
                anchors = await checkpoints.anchors(tx, self._chain.chain_id)
                below = next((a for a in anchors if a.position < gone), Cursor(max(0, gone - 1)))
                taken_back = await findings.rewind(tx, self._chain.chain_id, below, now=now)
                recorded.reorged += taken_back.reorged
        return recorded


def _apart(looked: Looked) -> Iterator[Looked]:
    """Cut what was looked at into transactions, never between the parts of one intent's sum."""
    if _lowest_gone(looked) is not None:  # what is gone is taken back in one go, down to the lowest
        yield looked
        return
    of_intents = [list(parts) for _, parts in groupby(looked, key=lambda each: each[0].intent_id)]
    for start in range(0, len(of_intents), TOGETHER):
        yield list(chain.from_iterable(of_intents[start : start + TOGETHER]))


def _lowest_gone(looked: Looked) -> int | None:
    return min((stored.block_number for stored, seen in looked if seen.outcome is Outcome.GONE), default=None)


def _as_fact(stored: StoredTransfer) -> Transfer:
    return Transfer(**{name: getattr(stored, name) for name in Transfer._fields})
