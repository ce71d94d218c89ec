"""Webhooks as they came, transfers that were credited, and money that nobody may credit by itself."""

from __future__ import annotations

import uuid
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any

from sqlalchemy import select, update
from sqlalchemy.dialects.sqlite import insert

from marketplace.model import Page
from marketplace.store.database import Tx
from marketplace.store.rows import many, paged
from marketplace.store.tables import credited_transfers, recoveries, webhook_inbox


@dataclass(frozen=True, slots=True)
class Credit:
    """One transfer that counts towards a payment."""

    tx_hash: str
    event_key: str
    amount: int
    sender: str | None


@dataclass(frozen=True, slots=True, kw_only=True)
class Recovery:
    """Money that came and was not credited: a person decides what becomes of it."""

    id: str
    payment_id: str
    reason: str
    amount_base: int | None
    tx_hash: str | None
    evidence: Mapping[str, Any]
    dedupe_key: str
    created_at: int


async def add(tx: Tx, *, event_id: str, event_type: str, payment_id: str, body: str, now: int) -> bool:
    """Keep a webhook; False when this event was kept before."""
    row = {"event_id": event_id, "event_type": event_type, "payment_id": payment_id, "body": body}
    kept = insert(webhook_inbox).values(**row, outcome="", received_at=now).on_conflict_do_nothing()
    return (await tx.execute(kept)).rowcount == 1


async def is_kept(tx: Tx, event_id: str) -> bool:
    found = select(webhook_inbox.c.event_id).where(webhook_inbox.c.event_id == event_id)
    return (await tx.execute(found)).first() is not None


async def set_outcome(tx: Tx, event_id: str, outcome: str) -> None:
    """Note what a webhook came to."""
    await tx.execute(update(webhook_inbox).where(webhook_inbox.c.event_id == event_id).values(outcome=outcome))


async def latest_received_at(tx: Tx) -> int | None:
    newest = select(webhook_inbox.c.received_at).order_by(webhook_inbox.c.received_at.desc()).limit(1)
    return (await tx.execute(newest)).scalar_one_or_none()


async def credited_elsewhere(tx: Tx, chain_id: int, credits_: Iterable[Credit], payment_id: str) -> bool:
    """Say whether one of these transfers paid for something else already."""
    c = credited_transfers.c
    for credit in credits_:
        key = (c.chain_id == chain_id) & (c.tx_hash == credit.tx_hash) & (c.event_key == credit.event_key)
        if (await tx.execute(select(c.payment_id).where(key, c.payment_id != payment_id))).first() is not None:
            return True
    return False


async def credited_hashes(tx: Tx, payment_id: str) -> frozenset[str]:
    """Return the transactions that paid for a payment."""
    c = credited_transfers.c
    return frozenset((await tx.execute(select(c.tx_hash).where(c.payment_id == payment_id))).scalars())


async def add_credits(tx: Tx, chain_id: int, credits_: Iterable[Credit], payment_id: str, now: int) -> None:
    """Note which transfers paid; the database refuses one that paid before."""
    for credit in credits_:
        await tx.execute(
            credited_transfers.insert().values(
                chain_id=chain_id,
                tx_hash=credit.tx_hash,
                event_key=credit.event_key,
                payment_id=payment_id,
                amount=credit.amount,
                sender=credit.sender,
                created_at=now,
            )
        )


async def add_recovery(
    tx: Tx,
    *,
    payment_id: str,
    reason: str,
    amount: int | None,
    tx_hash: str | None,
    evidence: Mapping[str, Any],
    dedupe_key: str,
    now: int,
) -> bool:
    """Note money that is not credited; False when it was noted before."""
    row = {
        "id": str(uuid.uuid4()),
        "payment_id": payment_id,
        "reason": reason,
        "amount_base": amount,
        "tx_hash": tx_hash,
        "evidence": dict(evidence),
        "dedupe_key": dedupe_key,
        "created_at": now,
    }
    return (await tx.execute(insert(recoveries).values(**row).on_conflict_do_nothing())).rowcount == 1


async def recoveries_of(tx: Tx, payment_id: str, tx_hash: str) -> list[Recovery]:
    """Return what waits for a person of one transaction, oldest first."""
    c = recoveries.c
    mine = select(recoveries).where(c.payment_id == payment_id, c.tx_hash == tx_hash)
    return await many(tx, mine.order_by(c.created_at, c.id), Recovery)


async def move_recovery(tx: Tx, recovery_id: str, evidence: Mapping[str, Any]) -> None:
    """Say anew where money that waits for a person lies."""
    await tx.execute(update(recoveries).where(recoveries.c.id == recovery_id).values(evidence=dict(evidence)))


async def recovered(tx: Tx, payment_id: str, prefix: str, *, reason: str | None = None) -> int:
    """Return how much of a payment's money waits for a person under keys that start so, for one reason if named."""
    c = recoveries.c
    found = select(c.amount_base).where(c.payment_id == payment_id, c.dedupe_key.startswith(prefix, autoescape=True))
    if reason is not None:
        found = found.where(c.reason == reason)
    return sum(amount or 0 for amount in (await tx.execute(found)).scalars())


async def all_recoveries(tx: Tx, page: Page) -> tuple[list[Recovery], int]:
    """Return what waits for a person, newest first."""
    newest = select(recoveries).order_by(recoveries.c.created_at.desc(), recoveries.c.id)
    return await paged(tx, newest, Recovery, page)
