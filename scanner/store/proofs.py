"""What shows by hashes alone that transfers are in their blocks, as they were when they settled something."""

from __future__ import annotations

from collections.abc import Mapping

import msgspec
from sqlalchemy import func, select
from sqlalchemy.ext.asyncio import AsyncConnection

from chains.types import TransferProof
from kernel.store.dialects import upsert
from protocol import codec
from protocol.answers import ProofTransfer
from scanner.store.tables import transfer_proofs, transfers

_READ = msgspec.json.Decoder(ProofTransfer)
_STATEMENT = upsert(transfer_proofs)
_KEEP = _STATEMENT.on_conflict_do_update(
    index_elements=[transfer_proofs.c.transfer_id], set_={"proof": _STATEMENT.excluded.proof}
)


async def keep(tx: AsyncConnection, proofs: Mapping[int, tuple[str, TransferProof]]) -> None:
    """Keep proofs of transfers, by row, each with its transaction; an earlier one gives way."""
    rows = [{"transfer_id": row, "proof": _as_text(tx_hash, proof)} for row, (tx_hash, proof) in proofs.items()]
    if rows:
        await tx.execute(_KEEP, rows)


def _as_text(tx_hash: str, proof: TransferProof) -> str:
    told = ProofTransfer(
        tx_hash=tx_hash,
        block_number=proof.block_number,
        block_hash=proof.block_hash,
        header="0x" + proof.header.hex(),
        transaction_index=proof.transaction_index,
        receipt="0x" + proof.receipt.hex(),
        nodes=tuple("0x" + node.hex() for node in proof.nodes),
        log_position=proof.log_position,
    )
    return codec.encode(told).decode()


_OF_INTENT = (
    select(transfer_proofs.c.proof)
    .select_from(transfers.outerjoin(transfer_proofs, transfer_proofs.c.transfer_id == transfers.c.id))
    .where(transfers.c.counted)
    .order_by(transfers.c.id)
)
_SIZE = (
    select(func.count(), func.coalesce(func.sum(func.length(transfer_proofs.c.proof)), 0))
    .select_from(transfers.outerjoin(transfer_proofs, transfer_proofs.c.transfer_id == transfers.c.id))
    .where(transfers.c.counted)
)


async def size_of(tx: AsyncConnection, intent_id: str) -> tuple[int, int]:
    """Return how many transfers count for an intent, and the characters of their proofs."""
    count, characters = (await tx.execute(_SIZE.where(transfers.c.intent_id == intent_id))).one()
    return int(count), int(characters)


async def of_intent(tx: AsyncConnection, intent_id: str) -> list[ProofTransfer | None]:
    """Return the proofs of transfers that count for an intent, in the order they were seen; None where one lacks."""
    found = await tx.execute(_OF_INTENT.where(transfers.c.intent_id == intent_id))
    return [None if text is None else _READ.decode(text) for text in found.scalars()]
