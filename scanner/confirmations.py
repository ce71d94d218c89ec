"""Look again at what is deep enough, on the canonical chain, and only then confirm."""

from __future__ import annotations

import itertools

from chains.base import ChainAdapter
from chains.types import Cursor, Head, Outcome, Transfer, Verification
from config.catalog import Chain
from scanner import findings
from scanner.clock import Clock
from scanner.findings import Recorded
from scanner.lifecycle import is_deep, ready
from scanner.matching import allocate
from scanner.model import IntentStatus, StoredTransfer
from scanner.store import checkpoints, intents, transfers
from scanner.store.database import Database

BATCH = 200  # transfers looked at in one go


class Confirmer:
    """Takes one chain's intents from `confirming` to `confirmed`, or back."""

    def __init__(self, chain: Chain, adapter: ChainAdapter, db: Database, clock: Clock) -> None:
        self._chain = chain
        self._adapter = adapter
        self._db = db
        self._clock = clock

    async def run(self, head: Head) -> list[Recorded]:
        """
        Look again at everything that is deep enough under `head`.

        Raises:
            ChainError: no endpoint could tell; nothing has changed.
        """
        if self._adapter.counts_blocks:
            await self._count_depths(head)
        due = await self._due(head)
        return [await self._look(batch) for batch in _batches(due)]

    async def _count_depths(self, head: Head) -> None:
        async with self._db.read() as tx:
            waiting = await intents.confirmations_behind(tx, self._chain.chain_id, head.position)
        if waiting:
            async with self._db.write() as tx:
                await intents.advance_confirmations(tx, self._chain.chain_id, head.position)

    async def _due(self, head: Head) -> list[StoredTransfer]:
        """Return whole sums that are deep enough, and single parts nobody has looked at yet."""
        chain_id = self._chain.chain_id
        async with self._db.read() as tx:
            confirming = await intents.with_status(tx, chain_id, IntentStatus.CONFIRMING)
            loose = await transfers.unverified(tx, chain_id)
            owners = await intents.get_many(tx, {t.intent_id for t in loose if t.intent_id})
            held = await transfers.of_intents(tx, {intent.intent_id for intent in confirming})
        due: dict[int, StoredTransfer] = {}
        for intent in confirming:
            for transfer in ready(
                intent,
                allocate(intent.amount, held[intent.intent_id], fee_amount=intent.fee_amount),
                head,
                self._chain.finality,
            ):
                due[transfer.id] = transfer
        for transfer in loose:
            required = owners[transfer.intent_id or ""].confirmations_required
            if is_deep(transfer.block_number, head, required, self._chain.finality):
                due.setdefault(transfer.id, transfer)
        return sorted(due.values(), key=lambda t: t.intent_id or "")

    async def _look(self, due: list[StoredTransfer]) -> Recorded:
        seen = await self._adapter.verify([_as_fact(t) for t in due])
        looked = list(zip(due, seen, strict=True))
        now = self._clock.now_ms()
        async with self._db.write() as tx:
            recorded, passed = await findings.apply_verdicts(tx, self._chain.chain_id, looked, now=now)
            owners = {t.intent_id for t in due if t.intent_id}
            await findings.settle(tx, owners, {t.key for t in passed}, recorded, now=now)
            gone = _lowest_gone(looked)
            if gone is not None:
                anchors = await checkpoints.anchors(tx, self._chain.chain_id)
                below = next((a for a in anchors if a.position < gone), Cursor(max(0, gone - 1)))
                taken_back = await findings.rewind(tx, self._chain.chain_id, below, now=now)
                recorded.reorged += taken_back.reorged
        return recorded


def _batches(due: list[StoredTransfer]) -> list[list[StoredTransfer]]:
    """Cut to batches; the parts of one sum stay together, since one look at all of it settles an intent."""
    batches: list[list[StoredTransfer]] = []
    for _, group in itertools.groupby(due, key=lambda t: t.intent_id):
        parts = list(group)
        if batches and len(batches[-1]) + len(parts) <= BATCH:
            batches[-1] += parts
        else:
            batches.append(parts)
    return batches


def _lowest_gone(looked: list[tuple[StoredTransfer, Verification]]) -> int | None:
    return min((stored.block_number for stored, seen in looked if seen.outcome is Outcome.GONE), default=None)


def _as_fact(stored: StoredTransfer) -> Transfer:
    return Transfer(**{name: getattr(stored, name) for name in Transfer._fields})
