"""People, and the sessions they hold."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from dataclasses import asdict, dataclass

from sqlalchemy import Column, ColumnElement, and_, delete, insert, or_, select, update

from kernel.store.dialects import is_postgresql
from marketplace.model import Page, Role, User
from marketplace.store.database import Tx
from marketplace.store.rows import changed, many, one, paged
from marketplace.store.tables import admin_sessions, refresh_tokens, second_factors, users

_u = users.c
_LAST = "\U0010ffff"  # comes after every other character
SHOWN_SESSIONS = 100


@dataclass(frozen=True, slots=True, kw_only=True)
class RefreshToken:
    """One link of a family: each refresh uses one up and adds the next."""

    token_hash: str
    family_id: str
    user_id: str
    used_at: int | None
    revoked_at: int | None
    expires_at: int
    created_at: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Session:
    """Where somebody is signed in: a login of the API, or a browser at the pages."""

    kind: str
    last_used_at: int
    expires_at: int


def searched(text: str) -> str:
    """Return a name or an e-mail as it is searched for."""
    return text.strip().lower()


async def add(tx: Tx, user: User) -> None:
    """Store a user; `Taken` when the e-mail is."""
    await tx.execute(insert(users).values(**asdict(user)))


async def by_email(tx: Tx, email: str) -> User | None:
    return await one(tx, select(users).where(users.c.email == email), User)


async def anybody(tx: Tx) -> bool:
    """Say whether there is an account at all."""
    return (await tx.execute(select(_u.id).limit(1))).first() is not None


async def by_id(tx: Tx, user_id: str) -> User | None:
    return await one(tx, select(users).where(users.c.id == user_id), User)


async def listing(tx: Tx, page: Page, *, text: str | None, role: Role | None) -> tuple[list[User], int]:
    """Return one page of people, newest first; `text` is what a name or an e-mail begins with, in any case."""
    found = select(users).order_by(users.c.created_at.desc(), users.c.id)
    if text is not None:
        found = found.where(or_(*(_begins(tx, column, searched(text)) for column in (_u.email, _u.name_key))))
    if role is not None:
        found = found.where(users.c.role == role)
    return await paged(tx, found, User, page)


def _begins(tx: Tx, column: Column[str], text: str) -> ColumnElement[bool]:
    """Ask for what begins with a text in the words that each engine finds through an index."""
    if is_postgresql(tx):
        return column.startswith(text, autoescape=True)
    return and_(column >= text, column < text + _LAST)  # SQLite's LIKE disregards case, and with it the index


async def by_ids(tx: Tx, user_ids: Collection[str]) -> dict[str, User]:
    """Return people by their ids."""
    return {user.id: user for user in await many(tx, select(users).where(users.c.id.in_(user_ids)), User)}


async def ids_with(tx: Tx, roles: Sequence[Role]) -> list[str]:
    """Return the ids of everybody with one of these roles who is not suspended."""
    found = select(_u.id).where(_u.role.in_(roles), _u.suspended_at.is_(None))
    return list((await tx.execute(found)).scalars())


async def another_admin(tx: Tx, user_id: str) -> bool:
    """Say whether there is an admin besides this one who is not suspended."""
    others = select(_u.id).where(_u.role == Role.ADMIN, _u.suspended_at.is_(None), _u.id != user_id)
    return (await tx.execute(others.limit(1))).first() is not None


async def suspend(tx: Tx, user_id: str, now: int) -> bool:
    """Suspend somebody; False when they are already."""
    return await changed(tx, update(users).where(_u.id == user_id, _u.suspended_at.is_(None)).values(suspended_at=now))


async def unsuspend(tx: Tx, user_id: str) -> bool:
    """Let somebody in again; False when they are not suspended."""
    return await changed(
        tx, update(users).where(_u.id == user_id, _u.suspended_at.is_not(None)).values(suspended_at=None)
    )


async def end_sessions(tx: Tx, user_id: str, now: int) -> None:
    """End every session of somebody: access tokens, families of refresh tokens, browsers at the pages."""
    # The row goes first: a login that is under way has it locked, and what it adds is seen below.
    await tx.execute(update(users).where(_u.id == user_id).values(generation=_u.generation + 1))
    t = refresh_tokens.c
    await tx.execute(update(refresh_tokens).where(t.user_id == user_id, t.revoked_at.is_(None)).values(revoked_at=now))
    await tx.execute(delete(admin_sessions).where(admin_sessions.c.user_id == user_id))


async def sessions(tx: Tx, user_id: str, now: int) -> list[Session]:
    """Return where somebody is signed in, what was used last first."""
    t, s = refresh_tokens.c, admin_sessions.c
    live = (t.user_id == user_id) & t.used_at.is_(None) & t.revoked_at.is_(None) & (t.expires_at > now)
    logins = select(t.created_at, t.expires_at).where(live).order_by(t.created_at.desc()).limit(SHOWN_SESSIONS)
    browsers = select(s.created_at, s.expires_at).where(s.user_id == user_id, s.expires_at > now)
    found = [
        Session(kind=kind, last_used_at=used, expires_at=ends)
        for kind, asked in (("api", logins), ("pages", browsers.limit(SHOWN_SESSIONS)))
        for used, ends in await tx.execute(asked)
    ]
    return sorted(found, key=lambda each: -each.last_used_at)


async def with_second_factor(tx: Tx, user_ids: Collection[str]) -> set[str]:
    """Return who of these people has a second factor."""
    f = second_factors.c
    found = select(f.user_id).where(f.user_id.in_(user_ids), f.confirmed_at.is_not(None))
    return set((await tx.execute(found)).scalars())


async def set_password_hash(tx: Tx, user_id: str, password_hash: str) -> None:
    await tx.execute(update(users).where(users.c.id == user_id).values(password_hash=password_hash))


async def renew_password_hash(tx: Tx, user_id: str, former: str, renewed: str) -> None:
    """Store the hash of the same password made anew, unless another password was set meanwhile."""
    same = (_u.id == user_id) & (_u.password_hash == former)
    await tx.execute(update(users).where(same).values(password_hash=renewed))


async def add_token(tx: Tx, token: RefreshToken) -> None:
    await tx.execute(insert(refresh_tokens).values(**asdict(token)))


async def token(tx: Tx, token_hash: str) -> RefreshToken | None:
    return await one(tx, select(refresh_tokens).where(refresh_tokens.c.token_hash == token_hash), RefreshToken)


async def use_token(tx: Tx, token_hash: str, now: int) -> bool:
    """Use a token up; False when it was used or revoked before."""
    t = refresh_tokens.c
    unused = (t.token_hash == token_hash) & t.used_at.is_(None) & t.revoked_at.is_(None)
    return await changed(tx, update(refresh_tokens).where(unused).values(used_at=now))


async def revoke_family(tx: Tx, family_id: str, now: int) -> None:
    """End every token that came from one login."""
    t = refresh_tokens.c
    await tx.execute(
        update(refresh_tokens).where(t.family_id == family_id, t.revoked_at.is_(None)).values(revoked_at=now)
    )


async def forget_tokens(tx: Tx, before: int) -> None:
    """Remove tokens that expired before a time."""
    await tx.execute(delete(refresh_tokens).where(refresh_tokens.c.expires_at < before))
