"""The ledger of funds: lines are added and never touched again; balances are sums over them."""

from __future__ import annotations

from dataclasses import dataclass

from sqlalchemy import insert, select

from marketplace.model import LedgerEntryType, Payment
from marketplace.store.database import Tx
from marketplace.store.rows import many
from marketplace.store.tables import funds_ledger_entries

_l = funds_ledger_entries.c


@dataclass(frozen=True, slots=True, kw_only=True)
class Line:
    """One entry."""

    id: int
    entry_type: LedgerEntryType
    payment_id: str
    purchase_request_id: str
    chain_id: int
    token_address: str
    amount_base: int
    idempotency_key: str
    created_at: int


async def add(
    tx: Tx, payment: Payment, entry: LedgerEntryType, amount: int, now: int, *, key: str | None = None
) -> None:
    """Write a line about a pay-in; the same key twice is refused by the database."""
    await tx.execute(
        insert(funds_ledger_entries).values(
            entry_type=entry,
            payment_id=payment.id,
            purchase_request_id=payment.purchase_request_id,
            chain_id=payment.chain_id,
            token_address=payment.token_address,
            amount_base=amount,
            idempotency_key=key or f"{entry}:{payment.id}",
            created_at=now,
        )
    )


async def lines(tx: Tx, payment_id: str) -> list[Line]:
    """Return what was written about a payment."""
    return await many(tx, select(funds_ledger_entries).where(_l.payment_id == payment_id).order_by(_l.id), Line)


async def every(tx: Tx) -> list[Line]:
    """Return every line there is."""
    return await many(tx, select(funds_ledger_entries).order_by(_l.id), Line)
