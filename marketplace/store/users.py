"""People, and the refresh tokens they hold."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from dataclasses import asdict, dataclass

from sqlalchemy import delete, insert, or_, select, update

from marketplace.model import Page, Role, User
from marketplace.store.database import Tx
from marketplace.store.rows import changed, many, one, paged
from marketplace.store.tables import refresh_tokens, users


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


async def add(tx: Tx, user: User) -> None:
    """Store a user; `Taken` when the e-mail is."""
    await tx.execute(insert(users).values(**asdict(user)))


async def by_email(tx: Tx, email: str) -> User | None:
    return await one(tx, select(users).where(users.c.email == email), User)


async def by_id(tx: Tx, user_id: str) -> User | None:
    return await one(tx, select(users).where(users.c.id == user_id), User)


async def listing(tx: Tx, page: Page, *, text: str | None, role: Role | None) -> tuple[list[User], int]:
    """Return one page of people, newest first; `text` is a part of a name or an e-mail, in any case."""
    found = select(users).order_by(users.c.created_at.desc(), users.c.id)
    if text is not None:
        named = [column.icontains(text, autoescape=True) for column in (users.c.email, users.c.name)]
        found = found.where(or_(*named))
    if role is not None:
        found = found.where(users.c.role == role)
    return await paged(tx, found, User, page)


async def by_ids(tx: Tx, user_ids: Collection[str]) -> dict[str, User]:
    """Return people by their ids."""
    return {user.id: user for user in await many(tx, select(users).where(users.c.id.in_(user_ids)), User)}


async def ids_with(tx: Tx, roles: Sequence[Role]) -> list[str]:
    """Return the ids of everybody with one of these roles."""
    return list((await tx.execute(select(users.c.id).where(users.c.role.in_(roles)))).scalars())


async def set_password_hash(tx: Tx, user_id: str, password_hash: str) -> None:
    await tx.execute(update(users).where(users.c.id == user_id).values(password_hash=password_hash))


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
