"""Derived addresses, what may leave them, and which transaction was made for what."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from dataclasses import asdict, dataclass
from typing import Any

from sqlalchemy import Select, and_, delete, exists, insert, or_, select

from marketplace.model import (
    Direction,
    DisputeOutcome,
    DisputeStatus,
    EscrowState,
    LedgerEntryType,
    Page,
    PaymentStatus,
)
from marketplace.store.database import Tx
from marketplace.store.rows import many, paged
from marketplace.store.tables import (
    address_reservations,
    disputes,
    funds_ledger_entries,
    payments,
    sweep_transfers,
)

_r, _p, _s = address_reservations.c, payments.c, sweep_transfers.c
CHUNK = 400
Cursor = tuple[int, str]


@dataclass(frozen=True, slots=True, kw_only=True)
class DerivedAddress:
    """An address that was handed out, and for which payment; None: that was pruned."""

    id: str
    chain_id: int
    token_key: str
    destination_key: str
    source: str
    source_index: int
    payment_id: str | None
    released_at: int | None
    created_at: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Source:
    """Money at a derived address that may leave it."""

    subject: str  # what it is moved for: an instruction, or the treasury's part of a payment
    created_at: int
    payment_id: str
    address: str
    source: str
    source_index: int
    to: str | None  # None: the treasury
    amount: int | None  # None: what the ledger says


@dataclass(frozen=True, slots=True, kw_only=True)
class SweepTransfer:
    """A transaction that was made for something, signed or not: there is never a second one beside it."""

    subject: str
    batch_id: str
    chain_id: int
    from_address: str
    nonce: int
    to_address: str
    amount: int
    built_by: str
    built_at: int
    tx_id: str | None  # of a transaction that is kept as it is, where numbers guard nothing
    raw: str | None
    expires_at: int | None


async def derived(tx: Tx, page: Page, *, chain_id: int | None) -> tuple[list[DerivedAddress], int]:
    """Return one page of the addresses that were handed out, newest first."""
    found = select(address_reservations).order_by(_r.created_at.desc(), _r.id)
    if chain_id is not None:
        found = found.where(_r.chain_id == chain_id)
    return await paged(tx, found, DerivedAddress, page)


async def to_instructions(tx: Tx, *, chain_id: int, token: str, after: Cursor | None, limit: int) -> list[Source]:
    """Return what instructions wait for at derived addresses, oldest first."""
    order = payments.alias("instruction")
    o = order.c
    found = (
        select(
            o.id.label("subject"),
            o.created_at,
            _p.id.label("payment_id"),
            _p.destination.label("address"),
            _r.source,
            _r.source_index,
            o.destination.label("to"),
            o.amount_base.label("amount"),
        )
        .select_from(order)
        .join(payments, _p.id == o.settles_payment_id)
        .join(address_reservations, _r.payment_id == _p.id)
        .where(o.direction != Direction.IN, o.status == PaymentStatus.PENDING)
        .where(o.chain_id == chain_id, o.token_address == token, _p.reorged_at.is_(None))
    )
    return await many(tx, _after(found, o.created_at, o.id, after, limit), Source)


async def to_treasury(tx: Tx, *, chain_id: int, token: str, now: int, after: Cursor | None, limit: int) -> list[Source]:
    """Return payments of which something may leave for the treasury: releasable money, or a fee that was taken."""
    quiet = ~exists().where(disputes.c.payment_id == _p.id, disputes.c.status == DisputeStatus.OPEN)
    free = (
        (_p.hold_until.is_(None) | (_p.hold_until <= now))
        & quiet
        & (_p.ordered.is_(None) | (_p.ordered != DisputeOutcome.REFUND))
    )
    lines = funds_ledger_entries.c
    fee = exists().where(lines.payment_id == _p.id, lines.entry_type == LedgerEntryType.PLATFORM_FEE)
    may = or_(and_(_p.escrow_state == EscrowState.RELEASABLE, free), and_(_p.escrow_state == EscrowState.RELEASED, fee))
    found = (
        select(
            _p.id.label("subject"),
            _p.created_at,
            _p.id.label("payment_id"),
            _p.destination.label("address"),
            _r.source,
            _r.source_index,
        )
        .join(address_reservations, _r.payment_id == _p.id)
        .where(_p.direction == Direction.IN, _p.chain_id == chain_id, _p.token_address == token)
        .where(_p.reorged_at.is_(None), may)
    )
    rows = (await tx.execute(_after(found, _p.created_at, _p.id, after, limit))).mappings()
    return [Source(**row, to=None, amount=None) for row in rows]


def _after(found: Select[Any], created_at: Any, row_id: Any, after: Cursor | None, limit: int) -> Select[Any]:
    if after is not None:
        at, last = after
        found = found.where(or_(created_at > at, and_(created_at == at, row_id > last)))
    return found.order_by(created_at, row_id).limit(limit)


async def made(tx: Tx, chain_id: int, addresses: Collection[str]) -> list[SweepTransfer]:
    """Return every transaction that was made for these addresses."""
    listed, found = list(addresses), []
    for start in range(0, len(listed), CHUNK):
        mine = (_s.chain_id == chain_id) & _s.from_address.in_(listed[start : start + CHUNK])
        found += await many(tx, select(sweep_transfers).where(mine).order_by(_s.nonce), SweepTransfer)
    return found


async def replace_all(tx: Tx, chain_id: int, gone: Collection[tuple[str, int]], new: Sequence[SweepTransfer]) -> None:
    """Store which transactions stand for what now; one address has one transaction of a number."""
    for address, nonce in gone:
        mine = (_s.chain_id == chain_id) & (_s.from_address == address) & (_s.nonce == nonce)
        await tx.execute(delete(sweep_transfers).where(mine))
    if new:
        await tx.execute(insert(sweep_transfers), [asdict(each) for each in new])
