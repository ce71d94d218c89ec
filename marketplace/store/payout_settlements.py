"""Which transaction an instruction is said to be carried out by, and which transfer of it was found to pay it."""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import asdict, dataclass

from sqlalchemy import delete, select, update

from kernel.store.dialects import upsert
from marketplace.store.database import Tx
from marketplace.store.rows import many, one
from marketplace.store.tables import payout_settlements

_s = payout_settlements.c


@dataclass(frozen=True, slots=True, kw_only=True)
class PayoutSettlement:
    """What is known of the transaction of one instruction."""

    instruction_id: str
    chain_id: int
    given_hash: str  # as it was told, in the chain's spelling
    tx_hash: str  # as the chain knows it: on TON one transaction has several hashes
    event_key: str | None  # the transfer that pays; None while none was seen
    given_by: str
    given_at: int
    next_look_at: int
    reported_at: int | None  # when admins were told that it is not proved yet
    done_at: int | None


async def put(tx: Tx, settlement: PayoutSettlement) -> None:
    """Store what is known now; a transfer that pays another instruction is refused by the database."""
    row = asdict(settlement)
    stored = upsert(payout_settlements).values(**row)
    await tx.execute(stored.on_conflict_do_update(index_elements=[_s.instruction_id], set_=row))


async def get(tx: Tx, instruction_id: str) -> PayoutSettlement | None:
    return await one(tx, select(payout_settlements).where(_s.instruction_id == instruction_id), PayoutSettlement)


async def forget(tx: Tx, instruction_id: str) -> None:
    """Take back that a transaction carries an instruction out; what is done stays, by a trigger."""
    await tx.execute(delete(payout_settlements).where(_s.instruction_id == instruction_id))


async def taken(tx: Tx, chain_id: int, tx_hash: str, *, but: str) -> set[str]:
    """Return the transfers of a transaction that pay other instructions than this."""
    theirs = (_s.chain_id == chain_id) & (_s.tx_hash == tx_hash) & (_s.instruction_id != but)
    found = await tx.execute(select(_s.event_key).where(theirs, _s.event_key.is_not(None)))
    return set(found.scalars())


async def due(tx: Tx, now: int, limit: int) -> list[PayoutSettlement]:
    """Return what is to be looked at again, the longest waiting first."""
    waiting = select(payout_settlements).where(_s.done_at.is_(None), _s.next_look_at <= now)
    return await many(tx, waiting.order_by(_s.next_look_at, _s.instruction_id).limit(limit), PayoutSettlement)


async def postpone(tx: Tx, instruction_ids: Collection[str], until: int) -> None:
    """Look at these no earlier than then."""
    mine = _s.instruction_id.in_(instruction_ids) & _s.done_at.is_(None)
    await tx.execute(update(payout_settlements).where(mine).values(next_look_at=until))


async def proved(tx: Tx) -> set[str]:
    """Return every instruction whose transaction was seen to pay it."""
    return set((await tx.execute(select(_s.instruction_id).where(_s.done_at.is_not(None)))).scalars())
