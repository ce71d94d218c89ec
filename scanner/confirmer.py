"""Look again at what is deep enough, on the canonical chain, and only then confirm."""

from __future__ import annotations

from collections.abc import AsyncIterator, Collection, Iterator, Mapping, Sequence
from itertools import chain, groupby
from typing import NamedTuple

from chains.base import ChainAdapter
from chains.types import Cursor, Head, Rail, Transfer, Verification, VerificationOutcome
from config.catalog import Chain
from kernel.clock import Clock
from kernel.store.database import Database, Tx
from scanner import ingest, settlement, verdicts
from scanner.lifecycle import due_for_verification, horizon
from scanner.model import StoredTransfer
from scanner.page_result import PageResult
from scanner.store import checkpoints, intents, transfers
from scanner.upkeep.health import Stuck

BATCH = 200  # intents looked at in one go
BATCH_SIZE = 500  # transfers looked at in one go: what a stranger piles onto one intent is stored part by part
CONFIRM_BATCH = 10  # intents confirmed in one transaction: whoever registers or cancels waits until it is over

Looked = list[tuple[StoredTransfer, Verification]]


class Replaced(NamedTuple):
    """What of a rail is not canonical any more, and the block below from which it is read again."""

    below: Cursor
    blocks: Collection[Cursor]


class Confirmer:
    """Takes one chain's intents from `confirming` to `confirmed`, or back."""

    def __init__(self, chain: Chain, adapter: ChainAdapter, db: Database, clock: Clock, *, late_ms: int = 0) -> None:
        self._chain = chain
        self._adapter = adapter
        self._db = db
        self._clock = clock
        self._late_ms = late_ms
        self._stuck: Mapping[int, Stuck] = {}  # by row

    @property
    def stuck(self) -> list[Stuck]:
        """What could not be judged when it was last looked at, the longest first."""
        return sorted(self._stuck.values(), key=lambda stuck: (stuck.since, stuck.tx_hash))

    async def run(self, head: Head, ids: Sequence[str]) -> AsyncIterator[PageResult]:
        """
        Look again at what of these intents is deep enough under `head`, batch by batch.

        Raises:
            ChainError: no endpoint could tell; nothing has changed.
        """
        stuck: dict[int, Stuck] = {}
        for start in range(0, len(ids), BATCH):
            found = await self._due(ids[start : start + BATCH], head)
            last = {transfer.intent_id: transfer.id for transfer in found}
            passed: set[tuple[str, str]] = set()
            for first in range(0, len(found), BATCH_SIZE):
                part = found[first : first + BATCH_SIZE]
                seen = await self._adapter.verify([_as_fact(transfer) for transfer in part], head=head)
                looked = list(zip(part, seen, strict=True))
                stuck |= self._not_yet(looked)
                for group in _apart(looked):
                    whole = {t.intent_id for t, _ in group if t.intent_id and last[t.intent_id] == t.id}
                    replaced = {rail: await self._replaced(rail, blocks, head) for rail, blocks in _gone(group).items()}
                    yield await self._apply(group, whole, passed, replaced, moment=head.time * 1000)
        self._stuck = stuck

    def _not_yet(self, looked: Looked) -> dict[int, Stuck]:
        now = self._clock.now_ms()
        found = {}
        for stored, seen in looked:
            if seen.outcome is VerificationOutcome.NOT_YET and seen.why:
                before = self._stuck.get(stored.id)
                found[stored.id] = Stuck(stored.tx_hash, before.since if before else now, seen.why)
        return found

    async def deep(self, tx: Tx, head: Head) -> list[str]:
        """Return the intents with anything that is deep enough to be looked at again."""
        chain_id, (tip, final) = self._chain.chain_id, horizon(head, self._chain.finality)
        whole = await intents.deep(tx, chain_id, tip=tip, final=final)
        others = await transfers.unseen(tx, chain_id, tip=tip, final=final)
        return sorted(whole | others)

    async def _due(self, ids: Sequence[str], head: Head) -> list[StoredTransfer]:
        """Return whole sums that are deep enough, and what else nobody has looked at yet, intent by intent."""
        async with self._db.read() as tx:
            owners = await intents.get_many(tx, ids)
            held = await transfers.of_intents(tx, ids)
        return [
            transfer
            for intent in owners.values()
            for transfer in due_for_verification(intent, held[intent.intent_id], head, self._chain.finality)
        ]

    async def _replaced(self, rail: Rail, gone: Collection[Cursor], head: Head) -> Replaced:
        """
        Return from where to read again what may have gone into a block that was read already, and what was replaced.

        Once the checkpoint is below, no fork above it is noticed: what stands there, too worthless to be looked
        at twice or nobody's, would stay listed for ever. So each of these blocks is asked for.
        """
        chain_id, lowest = self._chain.chain_id, min(block.position for block in gone)
        async with self._db.read() as tx:
            known_blocks = await checkpoints.known_blocks(tx, chain_id, rail)
            below = next((a for a in known_blocks if a.position < lowest), Cursor(max(0, lowest - 1)))
            above = await ingest.blocks_between(tx, chain_id, rail, below.position, head.position)
        hashed = {block for block in gone if block.block_hash is not None}
        asked = sorted(hashed | above, key=lambda block: block.position)
        tip = Cursor(head.position, head.block_hash)
        replaced = await self._adapter.replaced(asked, tip=tip) if asked else set()
        return Replaced(below, hashed | replaced)

    async def _apply(
        self,
        looked: Looked,
        whole: Collection[str],
        passed: set[tuple[str, str]],
        replaced: Mapping[Rail, Replaced],
        *,
        moment: int,
    ) -> PageResult:
        """Store what was seen; `whole` are the intents of which everything has been looked at by now."""
        now, chain_id = self._clock.now_ms(), self._chain.chain_id
        async with self._db.write() as tx:
            recorded, good = await verdicts.apply_verdicts(
                tx, chain_id, looked, now=now, late_ms=self._late_ms, moment=moment
            )
            passed |= {transfer.key for transfer in good}
            await settlement.settle(tx, whole, passed, recorded, now=now)
            for rail, (below, blocks) in replaced.items():
                beside = await ingest.rewind(tx, chain_id, rail, below, gone=blocks, now=now)
                recorded.reorged += beside.reorged
                recorded.queued += beside.queued
        return recorded


def _apart(looked: Looked) -> Iterator[Looked]:
    """Cut what was looked at into transactions, never between the parts of one intent's sum."""
    of_intents = [list(parts) for _, parts in groupby(looked, key=lambda each: each[0].intent_id)]
    for start in range(0, len(of_intents), CONFIRM_BATCH):
        yield list(chain.from_iterable(of_intents[start : start + CONFIRM_BATCH]))


def _gone(looked: Looked) -> dict[Rail, set[Cursor]]:
    """Return the blocks, by rail, in which something no longer stands."""
    found: dict[Rail, set[Cursor]] = {}
    for stored, seen in looked:
        if seen.outcome is VerificationOutcome.GONE:
            found.setdefault(stored.rail, set()).add(Cursor(stored.block_number, stored.block_hash))
    return found


def _as_fact(stored: StoredTransfer) -> Transfer:
    return Transfer(**{name: getattr(stored, name) for name in Transfer._fields})
