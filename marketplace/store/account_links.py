"""Links that admins hand out: each is used once, by whoever has it; only its digest is kept."""

from __future__ import annotations

from dataclasses import asdict, dataclass

from sqlalchemy import delete, insert, or_, select, update

from marketplace.model import LinkKind, Page, Role
from marketplace.store.database import Tx
from marketplace.store.rows import changed, one, paged
from marketplace.store.tables import account_links

_l = account_links.c
_UNUSED = _l.used_at.is_(None) & _l.revoked_at.is_(None)


@dataclass(frozen=True, slots=True, kw_only=True)
class Link:
    """One link: an invitation names who may join, a reset whose password it renews."""

    id: str
    token_hash: str
    kind: LinkKind
    email: str | None = None
    role: Role | None = None
    user_id: str | None = None
    created_by: str
    created_at: int
    expires_at: int
    used_at: int | None = None
    revoked_at: int | None = None

    @property
    def guest(self) -> tuple[str, Role]:
        """Return whom an invitation is for, and as what."""
        if self.email is None or self.role is None:
            raise ValueError("a link for a new password invites nobody")
        return self.email, self.role

    @property
    def owner(self) -> str:
        """Return whose password a link renews."""
        if self.user_id is None:
            raise ValueError("an invitation renews no password")
        return self.user_id

    def is_good(self, now: int) -> bool:
        """Say whether somebody may use it."""
        return self.used_at is None and self.revoked_at is None and self.expires_at > now


async def add(tx: Tx, link: Link) -> None:
    """Keep a link; the one before it for the same person ends."""
    same = _l.email == link.email if link.user_id is None else _l.user_id == link.user_id
    await tx.execute(
        update(account_links).where(_l.kind == link.kind, same, _UNUSED).values(revoked_at=link.created_at)
    )
    await tx.execute(insert(account_links).values(**asdict(link)))


async def by_token(tx: Tx, kind: LinkKind | None, token_hash: str) -> Link | None:
    """Return a link by its digest, of one kind or of any."""
    found = select(account_links).where(_l.token_hash == token_hash)
    return await one(tx, found if kind is None else found.where(_l.kind == kind), Link)


async def use(tx: Tx, link_id: str, now: int) -> bool:
    """Use a link up; False when it was used, revoked, or is over."""
    good = (_l.id == link_id) & _UNUSED & (_l.expires_at > now)
    return await changed(tx, update(account_links).where(good).values(used_at=now))


async def revoke(tx: Tx, link_id: str, now: int) -> bool:
    """End a link that nobody used; False when there is none."""
    return await changed(tx, update(account_links).where(_l.id == link_id, _UNUSED).values(revoked_at=now))


async def revoke_of(tx: Tx, user_id: str, now: int) -> None:
    """End what somebody handed out, and what would renew their password."""
    theirs = or_(_l.created_by == user_id, _l.user_id == user_id)
    await tx.execute(update(account_links).where(theirs, _UNUSED).values(revoked_at=now))


async def revoke_resets(tx: Tx, user_id: str, now: int) -> None:
    """End what would renew somebody's password: they have a new one."""
    await tx.execute(update(account_links).where(_l.user_id == user_id, _UNUSED).values(revoked_at=now))


async def invitations(tx: Tx, page: Page) -> tuple[list[Link], int]:
    """Return one page of invitations, newest first."""
    found = select(account_links).where(_l.kind == LinkKind.INVITATION)
    return await paged(tx, found.order_by(_l.created_at.desc(), _l.id), Link, page)


async def forget(tx: Tx, before: int, limit: int = 1_000) -> None:
    """Remove links that ended before a time; what came of them is in the history of the accounts."""
    old = select(_l.id).where(_l.expires_at < before).limit(limit)
    await tx.execute(delete(account_links).where(_l.id.in_(old)))
