"""Look at one transaction, whomever it concerns: what a backend asks before it takes money for paid out."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from dataclasses import dataclass

from addresses import families
from chains.errors import ChainUnavailable, InvalidTxHash
from chains.types import Transaction, Transfer
from config.catalog import Chain
from scanner.lifecycle import depth, is_sufficiently_confirmed
from scanner.worker import ChainWorker

INSPECT_S = 30.0


@dataclass(frozen=True, slots=True)
class Inspection:
    """What a transaction did, and how certain that is; None: not known, or there is no such transaction."""

    chain_id: int
    tx_hash: str
    found: bool
    success: bool | None = None
    block_number: int | None = None
    block_hash: str | None = None
    block_time: int | None = None  # unix milliseconds, by the chain's own clock
    depth: int | None = None  # None as well where positions are no blocks
    final: bool = False
    transfers: tuple[Transfer, ...] = ()


class Inspections:
    """Answers `POST /transactions/inspect`."""

    def __init__(self, worker_of: Callable[[int], ChainWorker]) -> None:
        self._worker_of = worker_of

    async def inspect(self, chain_id: int, tx_hash: str) -> Inspection:
        """
        Look at a transaction now.

        Raises:
            InvalidRequest: the chain is not enabled.
            ChainError: the chain did not tell, or there is no such hash.
        """
        worker = self._worker_of(chain_id)
        try:
            async with asyncio.timeout(INSPECT_S):
                found = await worker.adapter.transaction(tx_hash)
        except TimeoutError as exc:
            raise ChainUnavailable("no endpoint answered in time") from exc
        if found is None:
            return Inspection(chain_id, _spelt(worker.chain, tx_hash), found=False)
        return inspected(worker.chain, found, counts_blocks=worker.adapter.counts_blocks)


def inspected(chain: Chain, found: Transaction, *, counts_blocks: bool) -> Inspection:
    """Say how certain a transaction is by the chain's own policy, the one that intents are confirmed by."""
    deep = is_sufficiently_confirmed(found.block_number, found.head, chain.confirmation_threshold, chain.finality)
    return Inspection(
        chain.chain_id,
        found.tx_hash,
        found=True,
        success=found.succeeded,
        block_number=found.block_number,
        block_hash=found.block_hash,
        block_time=None if found.block_time is None else found.block_time * 1000,
        depth=depth(found.block_number, found.head.position) if counts_blocks else None,
        final=deep and found.is_complete,
        transfers=found.transfers,
    )


def _spelt(chain: Chain, tx_hash: str) -> str:
    canonical = families.canonical_tx_hash(chain.chain_type, tx_hash)
    if canonical is None:
        raise InvalidTxHash("is not a transaction hash of this chain")
    return canonical
