"""Webhooks as they came, transfers that were credited, and money that nobody may credit by itself."""

from __future__ import annotations

import uuid
from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

from sqlalchemy import ColumnElement, delete, func, literal_column, or_, select, update

from kernel.store.dialects import upsert
from marketplace.model import HOSTED, Page, Payment, Provider
from marketplace.store.database import Tx
from marketplace.store.rows import many, paged
from marketplace.store.tables import credited_transfers, payment_transfers, payments, recoveries, webhook_inbox

CHUNK = 400  # of a list in one statement
MAX_ROWS = 20  # of one payment and reason; the rest is one more row
TOLD = "event"  # how the keys of what events told start
NOTED = "noted"  # the outcome of news
UNREAD = "unread"  # the outcome of a webhook about transfers that could not all be read yet
# As its index says it: a plan that is made before values are known would not use it.
IS_UNREAD = webhook_inbox.c.outcome == literal_column("'unread'")


@dataclass(frozen=True, slots=True)
class Credit:
    """One transfer that counts towards a payment."""

    tx_hash: str
    event_key: str
    amount: int
    sender: str | None
    block_hash: str | None = None  # where it stood when it was told; None when nobody said


@dataclass(frozen=True, slots=True, kw_only=True)
class UnappliedFunds:
    """Money that came and was not credited: a person decides what becomes of it."""

    id: str
    payment_id: str
    reason: str
    amount_base: int | None
    token_address: str | None  # what really moved; None when nobody told
    count: int
    tx_hash: str | None
    last_tx_hash: str | None
    evidence: Mapping[str, Any]
    dedupe_key: str
    created_at: int
    updated_at: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Rest:
    """All there is of one token that settles nothing for one reason."""

    token: str | None
    amount: int
    count: int
    last_tx_hash: str | None
    tx_hashes: frozenset[str | None] = frozenset()  # of all of it


@dataclass(frozen=True, slots=True, kw_only=True)
class Kept:
    """A webhook as it came."""

    event_id: str
    event_type: str
    payment_id: str
    body: str


async def add(tx: Tx, *, event_id: str, event_type: str, payment_id: str, body: str, now: int) -> bool:
    """Keep a webhook; False when this event was kept before, and judged."""
    row = {"event_id": event_id, "event_type": event_type, "payment_id": payment_id, "body": body}
    kept = upsert(webhook_inbox).values(**row, outcome="", received_at=now).on_conflict_do_nothing()
    return (await tx.execute(kept)).rowcount == 1 or not await is_kept(tx, event_id)


async def is_kept(tx: Tx, event_id: str) -> bool:
    """Say whether an event was had and judged; one whose transfers could not be read is judged when it comes again."""
    i = webhook_inbox.c
    found = select(i.event_id).where(i.event_id == event_id, i.outcome != UNREAD)
    return (await tx.execute(found)).first() is not None


async def number_of(tx: Tx, payment_id: str) -> int:
    """Return how many webhooks of a payment are kept."""
    mine = select(func.count()).select_from(webhook_inbox).where(webhook_inbox.c.payment_id == payment_id)
    return int((await tx.execute(mine)).scalar_one())


async def set_outcome(tx: Tx, event_id: str, outcome: str) -> None:
    """Note what a webhook came to."""
    await tx.execute(update(webhook_inbox).where(webhook_inbox.c.event_id == event_id).values(outcome=outcome))


async def unread(tx: Tx, event_types: Collection[str], limit: int) -> list[Kept]:
    """
    Return webhooks of these types that are to be judged again, longest untried first.

    Those that never can be judged would otherwise be all there is, once there are as many as are returned.
    """
    i = webhook_inbox.c
    found = select(i.event_id, i.event_type, i.payment_id, i.body)
    waiting = found.where(IS_UNREAD, i.event_type.in_(event_types))
    order = func.coalesce(i.tried_at, i.received_at)
    return await many(tx, waiting.order_by(order, i.event_id).limit(limit), Kept)


async def set_tried(tx: Tx, event_id: str, now: int) -> None:
    """Note that a webhook could not be judged just now: others come first the next time."""
    await tx.execute(update(webhook_inbox).where(webhook_inbox.c.event_id == event_id).values(tried_at=now))


async def waiting_for_hosted(tx: Tx, providers: Collection[Provider], limit: int) -> list[Payment]:
    """Return payments of these providers whose webhooks nobody could follow up yet, longest unseen first."""
    i, p = webhook_inbox.c, payments.c
    waiting = select(i.payment_id).where(IS_UNREAD, _is_hosted())
    found = select(payments).where(p.id.in_(waiting), p.provider.in_(providers))
    found = found.order_by(func.coalesce(p.looked_at, 0), p.id).limit(limit)
    # What somebody decides about just now is looked at the next time: rows are locked here in no order.
    return await many(tx, found.with_for_update(skip_locked=True, key_share=True), Payment)


async def unread_of(tx: Tx, payment_id: str, limit: int) -> list[str]:
    """Return which webhooks of a hosted provider about a payment nobody could follow up yet."""
    i = webhook_inbox.c
    found = select(i.event_id).where(i.payment_id == payment_id, IS_UNREAD, _is_hosted())
    return list((await tx.execute(found.order_by(i.received_at, i.event_id).limit(limit))).scalars())


def _is_hosted() -> ColumnElement[bool]:
    return or_(*(webhook_inbox.c.event_type.startswith(f"{each}.", autoescape=True) for each in HOSTED))


async def latest_received_at(tx: Tx) -> int | None:
    newest = select(webhook_inbox.c.received_at).order_by(webhook_inbox.c.received_at.desc()).limit(1)
    return (await tx.execute(newest)).scalar_one_or_none()


async def credited_elsewhere(tx: Tx, chain_id: int, credits_: Sequence[Credit], payment_id: str) -> bool:
    """Say whether one of these transfers paid for something else already."""
    wanted = {(credit.tx_hash, credit.event_key) for credit in credits_}
    c = credited_transfers.c
    others = select(c.tx_hash, c.event_key).where(c.chain_id == chain_id, c.payment_id != payment_id)
    for hashes in _chunks(sorted({tx_hash for tx_hash, _ in wanted})):
        found = (await tx.execute(others.where(c.tx_hash.in_(hashes)))).all()
        if any((row.tx_hash, row.event_key) in wanted for row in found):
            return True
    return False


async def paid_elsewhere(tx: Tx, chain_id: int, tx_hashes: Collection[str], payment_id: str) -> bool:
    """Say whether one of these transactions paid for something else too, wherever in it."""
    c = credited_transfers.c
    others = select(c.tx_hash).where(c.chain_id == chain_id, c.payment_id != payment_id)
    for hashes in _chunks(sorted(set(tx_hashes))):
        if (await tx.execute(others.where(c.tx_hash.in_(hashes)).limit(1))).first() is not None:
            return True
    return False


def _chunks(items: Sequence[str]) -> Iterable[Sequence[str]]:
    return (items[start : start + CHUNK] for start in range(0, len(items), CHUNK))


async def keep_transfers(tx: Tx, payment_id: str, credits_: Iterable[Credit], now: int) -> list[Credit]:
    """Keep what was seen for a payment, each transfer once; return what is new of it."""
    c = payment_transfers.c
    told = {(credit.tx_hash, credit.event_key): credit for credit in credits_}
    rows = [
        {
            "payment_id": payment_id,
            "tx_hash": credit.tx_hash,
            "event_key": credit.event_key,
            "amount": credit.amount,
            "sender": credit.sender,
            "created_at": now,
        }
        for credit in told.values()
    ]
    if not rows:
        return []
    kept = upsert(payment_transfers).on_conflict_do_nothing().returning(c.tx_hash, c.event_key)
    return [told[row.tx_hash, row.event_key] for row in (await tx.execute(kept, rows)).all()]


async def kept_transfers(tx: Tx, payment_id: str) -> tuple[Credit, ...]:
    """Return what was seen for a payment, oldest first."""
    c = payment_transfers.c
    mine = select(c.tx_hash, c.event_key, c.amount, c.sender).where(c.payment_id == payment_id)
    rows = await tx.execute(mine.order_by(c.number))
    return tuple(Credit(row.tx_hash, row.event_key, row.amount, row.sender) for row in rows)


async def credited_blocks(tx: Tx, payment_id: str) -> dict[str, str | None]:
    """Return the transactions that paid for a payment, each with its block then; None when nobody said."""
    c = credited_transfers.c
    found = await tx.execute(select(c.tx_hash, c.block_hash).where(c.payment_id == payment_id))
    return {row.tx_hash: row.block_hash for row in found}


async def credited_places(tx: Tx, payment_id: str) -> list[tuple[str, str]]:
    """Return the transfers that paid for a payment: transaction, and place in it."""
    c = credited_transfers.c
    found = await tx.execute(select(c.tx_hash, c.event_key).where(c.payment_id == payment_id))
    return [(row.tx_hash, row.event_key) for row in found]


async def add_credits(tx: Tx, chain_id: int, credits_: Sequence[Credit], payment_id: str, now: int) -> None:
    """Note which transfers paid; the database refuses one that paid before."""
    if credits_:
        rows = [
            {
                "chain_id": chain_id,
                "tx_hash": credit.tx_hash,
                "event_key": credit.event_key,
                "payment_id": payment_id,
                "amount": credit.amount,
                "sender": credit.sender,
                "block_hash": credit.block_hash,
                "created_at": now,
            }
            for credit in credits_
        ]
        await tx.execute(credited_transfers.insert(), rows)


async def add_recovery(
    tx: Tx,
    *,
    payment_id: str,
    reason: str,
    amount: int | None,
    token: str | None,
    tx_hash: str | None,
    evidence: Mapping[str, Any],
    dedupe_key: str,
    now: int,
    count: int = 1,
) -> bool:
    """
    Note money that is not credited; False when it was noted before.

    Beyond `MAX_ROWS` of one payment and reason the rest is added up in one row: a stranger chooses how many there are.
    """
    row = {
        "id": str(uuid.uuid4()),
        "payment_id": payment_id,
        "reason": reason,
        "amount_base": amount,
        "token_address": token,
        "count": count,
        "tx_hash": tx_hash,
        "last_tx_hash": tx_hash,
        "evidence": dict(evidence),
        "dedupe_key": dedupe_key,
        "created_at": now,
        "updated_at": now,
    }
    c = recoveries.c
    if (await tx.execute(select(c.id).where(c.dedupe_key == dedupe_key))).first() is not None:
        return False
    like_it = select(func.count()).select_from(recoveries).where(c.payment_id == payment_id, c.reason == reason)
    if int((await tx.execute(like_it)).scalar_one()) < MAX_ROWS:
        await tx.execute(upsert(recoveries).values(**row))
        return True
    return await _add_to_rest(tx, row, f"{dedupe_key.split(':', 1)[0]}:{payment_id}:rest:{reason}:{token or ''}")


async def _add_to_rest(tx: Tx, row: Mapping[str, Any], key: str) -> bool:
    """Add money to the row that stands for all beyond the first ones."""
    c = recoveries.c
    rest = (await tx.execute(select(c.amount_base, c.count.label("times")).where(c.dedupe_key == key))).one_or_none()
    if rest is None:
        await tx.execute(upsert(recoveries).values(**{**row, "dedupe_key": key}))
        return True
    told = {
        "amount_base": (rest.amount_base or 0) + (row["amount_base"] or 0),
        "count": rest.times + row["count"],
        "last_tx_hash": row["last_tx_hash"],
        "updated_at": row["updated_at"],
    }
    await tx.execute(update(recoveries).where(c.dedupe_key == key).values(**told))
    return True


async def set_rest(tx: Tx, payment_id: str, reason: str, rest: Rest, evidence: Mapping[str, Any], now: int) -> bool:
    """
    Bring what is listed of a payment, a reason and a token to what there is; False when all of it is listed.

    Rows of their own stay, and stand for their transfer where it is still one of these; the rest is one more row.
    """
    c = recoveries.c
    key = _rest_key(payment_id, reason, rest.token)
    same_token = c.token_address.is_(None) if rest.token is None else c.token_address == rest.token
    mine = select(c.amount_base, c.count.label("times"), c.tx_hash).where(
        c.payment_id == payment_id, c.reason == reason, same_token
    )
    found = (await tx.execute(mine.where(c.dedupe_key != key))).all()
    listed = [row for row in found if row.tx_hash in rest.tx_hashes]
    amount = rest.amount - sum(row.amount_base or 0 for row in listed)
    count = rest.count - sum(row.times for row in listed)
    if count <= 0 or amount < 0:
        await tx.execute(delete(recoveries).where(c.dedupe_key == key))
        return False
    row = _rest_row(payment_id, reason, replace(rest, amount=amount, count=count), evidence, now)
    told = {name: row[name] for name in ("amount_base", "count", "last_tx_hash", "updated_at")}
    await tx.execute(upsert(recoveries).values(**row).on_conflict_do_update(index_elements=[c.dedupe_key], set_=told))
    return True


async def note_rest(tx: Tx, payment_id: str, reason: str, rest: Rest, evidence: Mapping[str, Any], now: int) -> bool:
    """List what is known of many transfers that cannot be read now; False when there is such a row already."""
    row = _rest_row(payment_id, reason, rest, evidence, now)
    return (await tx.execute(upsert(recoveries).values(**row).on_conflict_do_nothing())).rowcount == 1


def _rest_key(payment_id: str, reason: str, token: str | None) -> str:
    return f"{TOLD}:{payment_id}:rest:{reason}:{token or ''}"


def _rest_row(payment_id: str, reason: str, rest: Rest, evidence: Mapping[str, Any], now: int) -> dict[str, Any]:
    return {
        "id": str(uuid.uuid4()),
        "payment_id": payment_id,
        "reason": reason,
        "amount_base": rest.amount,
        "token_address": rest.token,
        "count": rest.count,
        "tx_hash": rest.last_tx_hash,
        "last_tx_hash": rest.last_tx_hash,
        "evidence": dict(evidence),
        "dedupe_key": _rest_key(payment_id, reason, rest.token),
        "created_at": now,
        "updated_at": now,
    }


async def lower(tx: Tx, payment_id: str, prefix: str, by: int, now: int) -> None:
    """Take so much off what is listed of a payment under keys that start so, the newest first."""
    c = recoveries.c
    mine = select(c.id, c.amount_base).where(
        c.payment_id == payment_id, c.dedupe_key.startswith(prefix, autoescape=True)
    )
    for row in (await tx.execute(mine.order_by(c.created_at.desc(), c.id))).all():
        taken = min(by, row.amount_base or 0)
        left = (row.amount_base or 0) - taken
        by -= taken
        if taken and left:
            await tx.execute(update(recoveries).where(c.id == row.id).values(amount_base=left, updated_at=now))
        elif taken:
            await tx.execute(delete(recoveries).where(c.id == row.id))


async def drop_rests(tx: Tx, payment_id: str, reason: str, *, but: Collection[str | None]) -> None:
    """Take back the rows that stand for the rest of a reason, but for these tokens: there is nothing of others."""
    c = recoveries.c
    keys = [_rest_key(payment_id, reason, token) for token in but]
    rests = c.dedupe_key.startswith(_rest_key(payment_id, reason, None), autoescape=True)
    await tx.execute(delete(recoveries).where(c.payment_id == payment_id, rests, c.dedupe_key.not_in(keys)))


async def told_recoveries(tx: Tx, payment_id: str) -> list[UnappliedFunds]:
    """Return what events told of a payment and waits for a person."""
    c = recoveries.c
    mine = select(recoveries).where(c.payment_id == payment_id, c.dedupe_key.startswith(f"{TOLD}:", autoescape=True))
    return await many(tx, mine.order_by(c.created_at, c.id), UnappliedFunds)


async def drop_recovery(tx: Tx, recovery_id: str) -> None:
    """Take back a row about money that does not wait for a person any more."""
    await tx.execute(delete(recoveries).where(recoveries.c.id == recovery_id))


async def noted(tx: Tx, payment_id: str, event_types: Collection[str]) -> list[Kept]:
    """Return what was noted of a payment of webhooks of these types, oldest first."""
    i = webhook_inbox.c
    found = select(i.event_id, i.event_type, i.payment_id, i.body)
    mine = found.where(i.payment_id == payment_id, i.outcome == NOTED, i.event_type.in_(event_types))
    return await many(tx, mine.order_by(i.received_at, i.event_id), Kept)


async def recoveries_of(tx: Tx, payment_id: str, tx_hash: str) -> list[UnappliedFunds]:
    """Return what waits for a person of one transaction, oldest first."""
    c = recoveries.c
    mine = select(recoveries).where(c.payment_id == payment_id, c.tx_hash == tx_hash)
    return await many(tx, mine.order_by(c.created_at, c.id), UnappliedFunds)


async def move_recovery(tx: Tx, recovery_id: str, evidence: Mapping[str, Any]) -> None:
    """Say anew where money that waits for a person lies."""
    await tx.execute(update(recoveries).where(recoveries.c.id == recovery_id).values(evidence=dict(evidence)))


async def recovered(tx: Tx, payment_id: str, prefix: str, *, but: Collection[str] = ()) -> int:
    """Return how much of a payment's money waits for a person under keys that start so, but for these reasons."""
    c = recoveries.c
    found = select(c.amount_base).where(c.payment_id == payment_id, c.dedupe_key.startswith(prefix, autoescape=True))
    found = found.where(c.reason.not_in(but))
    return sum(amount or 0 for amount in (await tx.execute(found)).scalars())


async def all_recoveries(tx: Tx, page: Page) -> tuple[list[UnappliedFunds], int]:
    """Return what waits for a person, newest first."""
    newest = select(recoveries).order_by(recoveries.c.updated_at.desc(), recoveries.c.id)
    return await paged(tx, newest, UnappliedFunds, page)
