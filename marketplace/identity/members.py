"""What admins see of accounts and do with them: search, suspend, let in again, end sessions."""

from __future__ import annotations

from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass

from marketplace.errors import conflict, forbidden, not_found
from marketplace.identity.standing import Standings
from marketplace.model import AccountEvent, Actor, Page, Role, User
from marketplace.store import account_events, account_links, users
from marketplace.store.account_events import Event
from marketplace.store.users import Session
from marketplace.unit_of_work import UnitOfWork, UnitOfWorkFactory

ADMINS = "admins"  # the lock of whoever decides about accounts: two admins cannot suspend each other


@dataclass(frozen=True, slots=True)
class Member:
    """An account as admins see it."""

    user: User
    second_factor: bool


class Members:
    """Use cases of admins about accounts."""

    def __init__(self, units: UnitOfWorkFactory, standings: Standings) -> None:
        self._units = units
        self._standings = standings

    async def listing(self, page: Page, *, text: str | None, role: Role | None) -> tuple[list[Member], int]:
        """Return people, newest first; `text` is what a name or an e-mail begins with."""
        async with self._units.db.read() as tx:
            found, total = await users.listing(tx, page, text=text, role=role)
            factors = await users.with_second_factor(tx, [user.id for user in found])
        return [Member(user, user.id in factors) for user in found], total

    async def one(self, user_id: str) -> tuple[Member, Sequence[Session]]:
        """Return somebody, and where they are signed in."""
        async with self._units.db.read() as tx:
            user = await users.by_id(tx, user_id)
            if user is None:
                raise not_found("user")
            factors = await users.with_second_factor(tx, [user_id])
            return Member(user, bool(factors)), await users.sessions(tx, user_id, self._units.clock.now_ms())

    async def history(self, user_id: str, page: Page) -> tuple[list[Event], int]:
        """Return what became of an account, newest first."""
        async with self._units.db.read() as tx:
            if await users.by_id(tx, user_id) is None:
                raise not_found("user")
            return await account_events.of_user(tx, user_id, page)

    async def suspend(self, actor: Actor, user_id: str, reason: str) -> None:
        """Keep somebody out from now on, and end every session of theirs; never the last admin."""
        async with self.deciding(actor, user_id) as (work, user):
            if user.role is Role.ADMIN and not await users.another_admin(work.tx, user_id):
                raise conflict("the last admin cannot be suspended")
            if not await users.suspend(work.tx, user_id, work.now):
                raise conflict("this account is suspended already")
            await users.end_sessions(work.tx, user_id, work.now)
            await account_links.revoke_of(work.tx, user_id, work.now)
            await _note(work, AccountEvent.SUSPENDED, user_id, actor, reason)
            # It wakes their streams, which find that they are over, in every process.
            work.notify([user_id], "account", "account_suspended", "Your account was suspended", about=user_id)

    async def unsuspend(self, actor: Actor, user_id: str) -> None:
        """Let somebody in again; they sign in anew."""
        async with self.deciding(actor, user_id) as (work, _):
            if not await users.unsuspend(work.tx, user_id):
                raise conflict("this account is not suspended")
            await _note(work, AccountEvent.UNSUSPENDED, user_id, actor)
            work.notify([user_id], "account", "account_unsuspended", "Your account is open again", about=user_id)

    async def end_sessions(self, actor: Actor, user_id: str) -> None:
        """Sign somebody out everywhere."""
        async with self.deciding(actor, user_id) as (work, _):
            await users.end_sessions(work.tx, user_id, work.now)
            await _note(work, AccountEvent.SESSIONS_ENDED, user_id, actor)
            work.notify([user_id], "account", "sessions_ended", "You were signed out everywhere", about=user_id)

    @asynccontextmanager
    async def deciding(self, actor: Actor, user_id: str) -> AsyncIterator[tuple[UnitOfWork, User]]:
        """
        Begin a transaction in which an admin decides about an account.

        Raises:
            Refused: the actor is no admin any more, or there is no such account.
        """
        try:
            async with self._units.begin(ADMINS) as work:
                await still_admin(work, actor)
                user = await users.by_id(work.tx, user_id)
                if user is None:
                    raise not_found("user")
                yield work, user
        finally:
            self._standings.forget(user_id)


async def still_admin(work: UnitOfWork, actor: Actor) -> None:
    """Refuse an admin who was suspended after their request had been let in."""
    user = await users.by_id(work.tx, actor.user_id)
    if user is None or user.role is not Role.ADMIN or user.suspended_at is not None:
        raise forbidden("this is for admins only")


async def _note(work: UnitOfWork, kind: AccountEvent, user_id: str, by: Actor, detail: str | None = None) -> None:
    await account_events.add(work.tx, kind, about=user_id, by=by.user_id, now=work.now, detail=detail)
