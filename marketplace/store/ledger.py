"""The ledger of funds: lines are added and never touched again; balances are sums over them."""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass

from sqlalchemy import BigInteger, cast, func, insert, literal, select

from marketplace.model import LedgerEntryType, Payment
from marketplace.store.database import Tx
from marketplace.store.rows import many
from marketplace.store.tables import funds_ledger_entries

_l = funds_ledger_entries.c
DIGITS, LIMB = 80, 10  # an amount has at most 78 digits; a sum over limbs of ten has room for hundreds of millions


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


@dataclass(frozen=True, slots=True, kw_only=True)
class Collected:
    """What fees of one token brought."""

    chain_id: int
    token_address: str
    amount_base: int


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


async def of_payments(tx: Tx, payment_ids: Collection[str]) -> dict[str, list[Line]]:
    """Return what was written about each of some payments."""
    found: dict[str, list[Line]] = {each: [] for each in payment_ids}
    for line in await many(tx, select(funds_ledger_entries).where(_l.payment_id.in_(found)).order_by(_l.id), Line):
        found[line.payment_id].append(line)
    return found


async def collected_fees(tx: Tx) -> list[Collected]:
    """Return what the platform's fees add up to by chain and token, exactly: neither engine adds text of 78 digits."""
    padded = func.substr(literal("0" * DIGITS).concat(_l.amount_base), func.length(_l.amount_base) + 1, DIGITS)
    limbs = [
        func.sum(cast(func.substr(padded, 1 + place, LIMB), BigInteger)).label(f"limb_{place}")
        for place in range(0, DIGITS, LIMB)
    ]
    fees = select(_l.chain_id, _l.token_address, *limbs).where(_l.entry_type == LedgerEntryType.PLATFORM_FEE)
    grouped = fees.group_by(_l.chain_id, _l.token_address).order_by(_l.chain_id, _l.token_address)
    found = []
    for row in await tx.execute(grouped):
        total = 0
        for limb in row[2:]:
            total = total * 10**LIMB + int(limb)
        found.append(Collected(chain_id=row.chain_id, token_address=row.token_address, amount_base=total))
    return found


async def every(tx: Tx) -> list[Line]:
    """Return every line there is."""
    return await many(tx, select(funds_ledger_entries).order_by(_l.id), Line)
