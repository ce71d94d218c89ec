"""What people are told elsewhere as well: their choices, where they are reached, and what is still to be sent."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from dataclasses import dataclass

from sqlalchemy import ColumnElement, delete, func, insert, literal, or_, select, update

from kernel.store.dialects import upsert
from marketplace.model import Channel
from marketplace.store.database import Tx
from marketplace.store.rows import changed, many
from marketplace.store.tables import channel_choices, messages, notifications, telegram_codes, telegram_links, users

_c, _m, _n = channel_choices.c, messages.c, notifications.c
_l, _k = telegram_links.c, telegram_codes.c


@dataclass(frozen=True, slots=True, kw_only=True)
class Message:
    """One notification that goes out over one channel."""

    id: int
    channel: Channel
    user_id: str
    notification_id: str
    title: str
    status: str
    attempts: int
    next_attempt_at: int
    last_error: str | None
    created_at: int
    done_at: int | None
    claim: str | None
    claimed_until: int | None


# -- choices and places --------------------------------------------------------------------------------


async def choices(tx: Tx, user_id: str) -> list[tuple[Channel, str]]:
    """Return which categories somebody wants over which channel."""
    found = select(_c.channel, _c.category).where(_c.user_id == user_id).order_by(_c.channel, _c.category)
    return [(Channel(channel), category) for channel, category in await tx.execute(found)]


async def choose(tx: Tx, user_id: str, wanted: Collection[tuple[Channel, str]]) -> None:
    """Replace what somebody chose."""
    await tx.execute(delete(channel_choices).where(_c.user_id == user_id))
    if wanted:
        rows = [{"user_id": user_id, "channel": channel, "category": category} for channel, category in wanted]
        await tx.execute(insert(channel_choices), rows)


async def chat_of(tx: Tx, user_id: str) -> str | None:
    """Return the chat that somebody linked."""
    return (await tx.execute(select(_l.chat_id).where(_l.user_id == user_id))).scalar_one_or_none()


async def put_code(tx: Tx, user_id: str, code_hash: str, expires_at: int) -> None:
    """Keep the one code that links a chat to somebody."""
    new = {"code_hash": code_hash, "expires_at": expires_at}
    statement = upsert(telegram_codes).values(user_id=user_id, **new)
    await tx.execute(statement.on_conflict_do_update(index_elements=[_k.user_id], set_=new))


async def link(tx: Tx, code_hash: str, chat_id: str, now: int) -> str | None:
    """Link a chat by a code, which is used up; return whose it is, None when it is worth nothing."""
    good = (_k.code_hash == code_hash) & (_k.expires_at > now)
    used = await tx.execute(delete(telegram_codes).where(good).returning(_k.user_id))
    user_id: str | None = used.scalar_one_or_none()
    if user_id is not None:
        new = {"chat_id": chat_id, "linked_at": now}
        statement = upsert(telegram_links).values(user_id=user_id, **new)
        await tx.execute(statement.on_conflict_do_update(index_elements=[_l.user_id], set_=new))
    return user_id


async def unlink(tx: Tx, user_id: str) -> None:
    """Forget somebody's chat."""
    await tx.execute(delete(telegram_links).where(_l.user_id == user_id))
    await tx.execute(delete(telegram_codes).where(_k.user_id == user_id))


async def address_of(tx: Tx, message: Message) -> str | None:
    """Return where a message goes; None where its reader is suspended or has unlinked."""
    if message.channel is Channel.TELEGRAM:
        place = select(_l.chat_id).join(users, users.c.id == _l.user_id).where(_l.user_id == message.user_id)
    else:
        place = select(users.c.email).where(users.c.id == message.user_id)
    return (await tx.execute(place.where(users.c.suspended_at.is_(None)))).scalar_one_or_none()


# -- messages ------------------------------------------------------------------------------------------


async def add(tx: Tx, notification_ids: Sequence[str], channels: Collection[Channel], now: int) -> int:
    """Write what these notifications' readers want over the channels that there are; return how many that is."""
    chosen = (_c.user_id == _n.user_id) & (_c.category == _n.category)
    linked = or_(_c.channel != Channel.TELEGRAM, select(_l.user_id).where(_l.user_id == _n.user_id).exists())
    wanted = (
        select(_c.channel, _n.user_id, _n.id, _n.title, literal("pending"), literal(now), literal(now))
        .select_from(notifications.join(channel_choices, chosen))
        .where(_n.id.in_(notification_ids), _c.channel.in_(channels), linked)
    )
    names = ["channel", "user_id", "notification_id", "title", "status", "next_attempt_at", "created_at"]
    return int((await tx.execute(insert(messages).from_select(names, wanted))).rowcount)


def _due(now: int) -> tuple[ColumnElement[bool], ...]:
    free = or_(_m.claim.is_(None), _m.claimed_until <= now)
    return (_m.status == "pending", _m.next_attempt_at <= now, free)


async def claim(tx: Tx, token: str, now: int, until: int, limit: int) -> list[Message]:
    """Take what may be sent now, oldest first; what another process is taking is left to it."""
    free = select(_m.id).where(*_due(now)).order_by(_m.id).limit(limit).with_for_update(skip_locked=True)
    ids = list((await tx.execute(free)).scalars())
    if not ids:
        return []
    await tx.execute(update(messages).where(_m.id.in_(ids)).values(claim=token, claimed_until=until))
    return await many(tx, select(messages).where(_m.id.in_(ids)).order_by(_m.id), Message)


async def finish(tx: Tx, message: Message, now: int, error: str | None = None) -> bool:
    """End a message: sent, or given up; False when it is another's by now."""
    ended = {"status": "sent" if error is None else "failed", "last_error": error, "done_at": now}
    ended |= {"claim": None, "claimed_until": None, "attempts": message.attempts + 1}
    return await changed(tx, update(messages).where(*_ours(message)).values(**ended))


async def postpone(tx: Tx, message: Message, until: int, error: str) -> bool:
    """Send it later."""
    later = {"attempts": message.attempts + 1, "next_attempt_at": until, "last_error": error}
    return await changed(tx, update(messages).where(*_ours(message)).values(**later, claim=None, claimed_until=None))


def _ours(message: Message) -> tuple[ColumnElement[bool], ...]:
    return (_m.id == message.id, _m.claim.is_not_distinct_from(message.claim))


async def waiting(tx: Tx) -> int:
    """Return how many messages are still to be sent."""
    return int((await tx.execute(select(func.count()).where(_m.status == "pending"))).scalar_one())


async def prune(tx: Tx, before: int, limit: int) -> int:
    """Forget messages that were sent or given up long ago."""
    old = select(_m.id).where(_m.done_at < before).limit(limit)
    return int((await tx.execute(delete(messages).where(_m.id.in_(old.with_for_update(skip_locked=True))))).rowcount)
