"""Ways in that need no password: an invitation, a reset by an admin's link, and registration where it is open."""

from __future__ import annotations

import logging
from dataclasses import dataclass, replace

from marketplace.errors import Refused, conflict, forbidden, not_found
from marketplace.identity.accounts import Accounts, PasswordCheck, Tokens, new_user, same_email
from marketplace.identity.members import ADMINS, Members, still_admin
from marketplace.identity.tokens import digest, new_refresh
from marketplace.model import AccountEvent, Actor, LinkKind, Page, Role, User
from marketplace.store import account_events, account_links, users
from marketplace.store.account_links import Link
from marketplace.store.errors import Taken
from marketplace.unit_of_work import UnitOfWork, UnitOfWorkFactory, new_id

log = logging.getLogger(__name__)

HOUR_MS = 3_600_000
INVITATION_MS = 72 * HOUR_MS
RESET_MS = 24 * HOUR_MS
KEPT_MS = 30 * 24 * HOUR_MS  # after a link is over
OPEN_ROLES = (Role.BUYER, Role.SELLER)  # what somebody may register as


@dataclass(frozen=True, slots=True)
class HandedOut:
    """A link, and its token, which is shown this once."""

    link: Link
    token: str

    def __repr__(self) -> str:
        return f"HandedOut({self.link.id}, ***)"


class Links:
    """Use cases of whoever has no password yet, or none any more."""

    def __init__(
        self,
        units: UnitOfWorkFactory,
        accounts: Accounts,
        members: Members,
        passwords: PasswordCheck,
        *,
        registration: bool,
    ) -> None:
        self._units = units
        self._accounts = accounts
        self._members = members
        self._passwords = passwords
        self._registration = registration

    async def invite(self, actor: Actor, email: str, role: Role) -> HandedOut:
        """Let one person join with one e-mail and role; a former invitation of that e-mail ends."""
        async with self._units.begin(ADMINS) as work:
            await still_admin(work, actor)
            if await users.by_email(work.tx, same_email(email)) is not None:
                raise conflict("this e-mail is taken", field="email")
            made = _made(work, actor, LinkKind.INVITATION, INVITATION_MS)
            made = replace(made, link=replace(made.link, email=same_email(email), role=role))
            await account_links.add(work.tx, made.link)
            await _note(work, AccountEvent.INVITED, None, actor.user_id, made.link.id)
        return made

    async def invitations(self, page: Page) -> tuple[list[Link], int]:
        """Return invitations, newest first."""
        async with self._units.db.read() as tx:
            return await account_links.invitations(tx, page)

    async def revoke(self, actor: Actor, link_id: str) -> None:
        """End an invitation that nobody used."""
        async with self._units.begin(ADMINS) as work:
            await still_admin(work, actor)
            if not await account_links.revoke(work.tx, link_id, work.now):
                raise not_found("open invitation")
            await _note(work, AccountEvent.INVITATION_REVOKED, None, actor.user_id, link_id)

    async def order_reset(self, actor: Actor, user_id: str) -> HandedOut:
        """Let somebody choose a new password; the account and every admin are told, since it opens the account."""
        if actor.user_id == user_id:  # else a stolen session would do without the password
            raise conflict("change your own password with the one you have")
        async with self._members.deciding(actor, user_id) as (work, user):
            if user.suspended_at is not None:
                raise conflict("this account is suspended")
            made = _made(work, actor, LinkKind.RESET, RESET_MS)
            made = replace(made, link=replace(made.link, user_id=user_id))
            await account_links.add(work.tx, made.link)
            await _note(work, AccountEvent.RESET_ORDERED, user_id, actor.user_id, made.link.id)
            told = [user_id, *await work.people(Role.ADMIN)]
            work.notify(told, "account", "reset_ordered", "An admin made a link for a new password", about=user_id)
        return made

    async def look(self, token: str) -> Link | None:
        """Return a link that is good; looking at it does not use it."""
        async with self._units.db.read() as tx:
            link = await account_links.by_token(tx, None, digest(token))
        return link if link is not None and link.is_good(self._units.clock.now_ms()) else None

    async def join(self, token: str, name: str, password: str) -> tuple[User, Tokens]:
        """Trade an invitation for an account and its first session."""
        await self._good(token, LinkKind.INVITATION)  # nobody without one costs us a hash
        hashed = await self._passwords.hash(password)
        async with self._units.begin(None) as work:
            link = await self._used(work, token, LinkKind.INVITATION)
            email, role = link.guest
            user = new_user(work, email=email, password_hash=hashed, role=role, name=name)
            if await users.by_email(work.tx, user.email) is not None:
                raise conflict("this e-mail is taken", field="email")  # and the link is as it was
            await users.add(work.tx, user)
            await _note(work, AccountEvent.JOINED, user.id, link.created_by, link.id)
            return user, await self._accounts.issue(work, user)

    async def reset(self, token: str, password: str, client: str) -> User:
        """Trade a reset link for a new password; every session ends, and the second factor stays."""
        link = await self._good(token, LinkKind.RESET)
        hashed = await self._passwords.hash(password)
        owner = link.owner
        async with self._accounts.ending_sessions(owner) as work:
            await self._used(work, token, LinkKind.RESET)
            await self._accounts.put_password(work, owner, hashed)
            await self._accounts.know(work, owner, client)  # no stranger's guesses keep out who has the link
            await _note(work, AccountEvent.PASSWORD_RESET, owner, link.created_by, link.id)
            user = await users.by_id(work.tx, owner)
        if user is None:
            raise not_found("user")
        return user

    async def register(self, *, email: str, password: str, role: Role, name: str) -> None:
        """
        Make an account for whoever asks, where that is open.

        A taken e-mail is answered in the same way and at the same price: nobody learns here who has an account.
        """
        if not self._registration:
            raise forbidden("registration is closed: ask for an invitation")
        if role not in OPEN_ROLES:
            raise forbidden("only buyers and sellers register by themselves")
        hashed = await self._passwords.hash(password)
        try:
            async with self._units.begin(None) as work:
                user = new_user(work, email=email, password_hash=hashed, role=role, name=name)
                if await users.by_email(work.tx, user.email) is None:
                    await users.add(work.tx, user)
                    await _note(work, AccountEvent.REGISTERED, user.id, None)
        except Taken:
            log.debug("[accounts] two registered with one e-mail at once")

    async def _good(self, token: str, kind: LinkKind) -> Link:
        link = await self.look(token)
        if link is None or link.kind is not kind:
            raise _worthless()
        return link

    async def _used(self, work: UnitOfWork, token: str, kind: LinkKind) -> Link:
        link = await account_links.by_token(work.tx, kind, digest(token))
        if link is None or not await account_links.use(work.tx, link.id, work.now):
            raise _worthless()
        return link


def _made(work: UnitOfWork, actor: Actor, kind: LinkKind, life_ms: int) -> HandedOut:
    token, hashed = new_refresh()
    return HandedOut(
        Link(
            id=new_id(),
            token_hash=hashed,
            kind=kind,
            created_by=actor.user_id,
            created_at=work.now,
            expires_at=work.now + life_ms,
        ),
        token,
    )


def _worthless() -> Refused:
    return Refused("not_found", "this link was used, revoked, or is over: ask for another one")


async def _note(
    work: UnitOfWork, kind: AccountEvent, user_id: str | None, by: str | None, detail: str | None = None
) -> None:
    await account_events.add(work.tx, kind, about=user_id, by=by, now=work.now, detail=detail)
