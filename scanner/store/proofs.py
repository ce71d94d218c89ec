"""What shows by hashes alone that transfers are in their blocks, as they were when they settled something."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from typing import NamedTuple

import msgspec
from sqlalchemy import func, select, tuple_

from chains.types import TransferProof
from kernel.store.database import Tx
from kernel.store.dialects import among, upsert
from protocol.answers import ProofTransfer
from scanner.store.tables import receipt_proofs, transfer_proofs, transfers

RECEIPTS_PER_QUESTION = 200
MAX_PROOF_BYTES = 4 * 2**20  # of one proof: of a larger one nothing is kept but where its transfer stands

_t, _p, _r = transfers.c, transfer_proofs.c, receipt_proofs.c
_RECEIPT = upsert(receipt_proofs)
_KEEP_RECEIPT = _RECEIPT.on_conflict_do_update(
    index_elements=[_r.block_hash, _r.transaction_index], set_={"proof": _RECEIPT.excluded.proof}
)
_PLACE = upsert(transfer_proofs)
_KEEP_PLACE = _PLACE.on_conflict_do_update(
    index_elements=[_p.transfer_id],
    set_={name: _PLACE.excluded[name] for name in ("block_hash", "transaction_index", "log_position")},
)


class _Receipt(msgspec.Struct, frozen=True):
    """What the transfers of one transaction have in common."""

    block_number: int
    header: str
    receipt: str
    nodes: tuple[str, ...]


_READ = msgspec.json.Decoder(_Receipt)
Place = tuple[str, int, int]  # a log: its block, its transaction's place there, its own place in the receipt


class CountedTransfer(NamedTuple):
    """A transfer that counts, and where its proof is; None where it has none."""

    id: int
    tx_hash: str
    amount: int
    block_hash: str | None
    transaction_index: int | None
    log_position: int | None
    characters: int  # of what its transaction's transfers have in common

    @property
    def receipt(self) -> tuple[str | None, int | None]:
        return self.block_hash, self.transaction_index


async def keep(tx: Tx, proofs: Mapping[int, TransferProof]) -> None:
    """
    Keep proofs of transfers, by row; an earlier one gives way.

    A receipt is kept once: with each of two thousand transfers in it, it would have filled three gigabytes.
    """
    if not proofs:
        return
    receipts = {(proof.block_hash, proof.transaction_index): proof for proof in proofs.values()}
    common = [
        {"block_hash": block_hash, "transaction_index": index, "proof": _as_text(proof)}
        for (block_hash, index), proof in sorted(receipts.items())
        if _size(proof) <= MAX_PROOF_BYTES
    ]
    if common:
        await tx.execute(_KEEP_RECEIPT, common)
    places = [
        {
            "transfer_id": row,
            "block_hash": proof.block_hash,
            "transaction_index": proof.transaction_index,
            "log_position": proof.log_position,
        }
        for row, proof in proofs.items()
    ]
    await tx.execute(_KEEP_PLACE, places)


def place_of(proof: TransferProof) -> Place:
    """Return where the log of a transfer stands: there is one at each place, whatever its transaction is called."""
    return proof.block_hash, proof.transaction_index, proof.log_position


async def whose(tx: Tx, places: Collection[Place]) -> dict[Place, int]:
    """Return which transfers that count were proven to stand at these places."""
    rows = await tx.execute(_WHOSE, {"blocks": sorted({block_hash for block_hash, _, _ in places})})
    found: dict[Place, int] = {(each.block_hash, each.transaction_index, each.log_position): each.id for each in rows}
    return {place: row for place, row in found.items() if place in places}


def _size(proof: TransferProof) -> int:
    return len(proof.header) + len(proof.receipt) + sum(map(len, proof.nodes))


def _as_text(proof: TransferProof) -> str:
    common = _Receipt(
        proof.block_number,
        "0x" + proof.header.hex(),
        "0x" + proof.receipt.hex(),
        tuple("0x" + node.hex() for node in proof.nodes),
    )
    return msgspec.json.encode(common).decode()


_COUNTED = (
    select(
        _t.id,
        _t.tx_hash,
        _t.amount,
        _r.block_hash,
        _r.transaction_index,
        _p.log_position,
        func.coalesce(func.length(_r.proof), 0).label("characters"),
    )
    .select_from(
        transfers.outerjoin(transfer_proofs, _p.transfer_id == _t.id).outerjoin(
            receipt_proofs, (_r.block_hash == _p.block_hash) & (_r.transaction_index == _p.transaction_index)
        )
    )
    .where(_t.counted)
    # Amounts are decimal text: the longer one is the larger.
    .order_by(func.length(_t.amount).desc(), _t.amount.desc(), _t.id)
)
_WHOSE = (
    select(_t.id, _p.block_hash, _p.transaction_index, _p.log_position)
    .select_from(transfer_proofs.join(transfers, _t.id == _p.transfer_id))
    .where(_t.counted, among(_p.block_hash, "blocks"))
    .order_by(_t.id.desc())  # of several the first has the place
)
_COUNT = select(func.count()).select_from(transfers).where(_t.counted)


async def count(tx: Tx, intent_id: str) -> int:
    """Return how many transfers count for an intent."""
    return int((await tx.execute(_COUNT.where(_t.intent_id == intent_id))).scalar_one())


async def largest(tx: Tx, intent_id: str, limit: int) -> list[CountedTransfer]:
    """Return so many of the transfers that count for an intent, those of most money first."""
    found = await tx.execute(_COUNTED.where(_t.intent_id == intent_id).limit(limit))
    return [CountedTransfer(*row) for row in found]


async def told(tx: Tx, wanted: Collection[CountedTransfer]) -> list[ProofTransfer]:
    """Return the proofs of transfers that have one, in the order given."""
    names = sorted({each.receipt for each in wanted})
    receipts: dict[tuple[str | None, int | None], _Receipt] = {}
    for start in range(0, len(names), RECEIPTS_PER_QUESTION):
        mine = tuple_(_r.block_hash, _r.transaction_index).in_(names[start : start + RECEIPTS_PER_QUESTION])
        for block_hash, index, text in await tx.execute(
            select(_r.block_hash, _r.transaction_index, _r.proof).where(mine)
        ):
            receipts[block_hash, index] = _READ.decode(text)
    return [_told(each, receipts[each.receipt]) for each in wanted]


def _told(transfer: CountedTransfer, common: _Receipt) -> ProofTransfer:
    return ProofTransfer(
        tx_hash=transfer.tx_hash,
        block_number=common.block_number,
        block_hash=str(transfer.block_hash),
        header=common.header,
        transaction_index=int(transfer.transaction_index or 0),
        receipt=common.receipt,
        nodes=common.nodes,
        log_position=int(transfer.log_position or 0),
    )
