"""Who people are: users, logins, and refresh tokens that work once."""

from __future__ import annotations

import logging
from collections.abc import AsyncIterator, Collection, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass, replace
from typing import Protocol

from pydantic import SecretStr

from marketplace.errors import Refused, conflict, forbidden, invalid, not_found
from marketplace.identity.lockout import KNOWN_MS, Credentials, Lockout
from marketplace.identity.standing import Standings
from marketplace.identity.tokens import AccessTokens, digest, new_refresh
from marketplace.model import AccountEvent, Actor, Role, User
from marketplace.store import account_events, account_links, known_addresses, locks, users
from marketplace.store.errors import Taken
from marketplace.store.users import RefreshToken
from marketplace.unit_of_work import UnitOfWork, UnitOfWorkFactory, new_id

log = logging.getLogger(__name__)

REFRESH_MS = 30 * 24 * 3_600_000


class PasswordCheck(Protocol):
    """Slow hashing, off the event loop."""

    async def hash(self, password: str) -> str:
        """Return what is stored."""

    async def verify(self, hashed: str | None, password: str) -> bool:
        """Say whether it is the password; None takes as long and is False."""

    def needs_rehash(self, hashed: str) -> bool:
        """Say whether the stored hash is of older parameters."""


class SecondFactorCheck(Protocol):
    """Judges the second factor of a login."""

    async def judge(self, work: UnitOfWork, user_id: str, code: str | None) -> None:
        """Use up a code, where the account asks for one; refuse a wrong one."""


@dataclass(frozen=True, slots=True)
class Tokens:
    """What a login hands out."""

    access: str
    refresh: str

    def __repr__(self) -> str:
        return "Tokens(***)"


class Accounts:
    """Use cases of accounts."""

    def __init__(
        self,
        units: UnitOfWorkFactory,
        passwords: PasswordCheck,
        tokens: AccessTokens,
        standings: Standings,
        lockout: Lockout,
        codes: SecondFactorCheck,
    ) -> None:
        self._units = units
        self._passwords = passwords
        self._tokens = tokens
        self._standings = standings
        self._lockout = lockout
        self._codes = codes

    async def create(self, *, email: str, password: str, role: Role, name: str, by: Actor | None = None) -> User:
        """Add a user; e-mails differ in more than letter case."""
        hashed = await self._passwords.hash(password)
        async with self._units.begin(None) as work:
            user = new_user(work, email=email, password_hash=hashed, role=role, name=name)
            if await users.by_email(work.tx, user.email) is not None:
                raise conflict("this e-mail is taken", field="email")
            await users.add(work.tx, user)
            creator = None if by is None else by.user_id
            await account_events.add(work.tx, AccountEvent.CREATED, about=user.id, by=creator, now=work.now)
        return user

    async def named(self, user_ids: Collection[str]) -> Mapping[str, User]:
        """Return people by their ids."""
        async with self._units.db.read() as tx:
            return await users.by_ids(tx, user_ids)

    async def ensure_admin(self, email: str, password: SecretStr) -> None:
        """Create the first admin when there is no such user yet."""
        async with self._units.db.read() as tx:
            known = await users.by_email(tx, same_email(email))
        if known is None:
            try:
                await self.create(email=email, password=password.get_secret_value(), role=Role.ADMIN, name="Admin")
            except (Taken, Refused):
                log.info("[accounts] first admin created by another process")
            else:
                log.info("[accounts] first admin created")

    async def anybody(self) -> bool:
        """Say whether somebody has an account."""
        async with self._units.db.read() as tx:
            return await users.anybody(tx)

    async def login(self, given: Credentials) -> tuple[User, Tokens]:
        """Trade e-mail and password, and a code where the account asks for one, for tokens."""
        async with self.signing_in(given) as (work, user):
            return user, await self.issue(work, user)

    @asynccontextmanager
    async def signing_in(self, given: Credentials) -> AsyncIterator[tuple[UnitOfWork, User]]:
        """Begin the transaction in which whoever has these credentials is given a session."""
        user = await self._authenticate(given)
        async with self._units.begin(locks.user(user.id)) as work:
            user = await self.confirmed(work, user)
            await self._codes.judge(work, user.id, given.code)
            await self.know(work, user.id, given.client)
            yield work, user

    async def know(self, work: UnitOfWork, user_id: str, client: str) -> None:
        """Remember from where somebody came who proved who they are."""
        await known_addresses.see(work.tx, user_id, self._lockout.address_of(client), work.now)

    async def require_password(self, actor: Actor, password: str) -> User:
        """Return who the actor is; refuse whoever has their token and not their password."""
        user = await self.me(actor)
        if not await self._passwords.verify(user.password_hash, password):
            raise invalid("password", "is wrong")
        return user

    async def _authenticate(self, given: Credentials) -> User:
        """Return whose e-mail and password these are; a wrong one and an unknown user look and cost the same."""
        email, password = same_email(given.email), given.password
        async with self._units.db.read() as tx:
            user = await users.by_email(tx, email)
            address = self._lockout.address_of(given.client)
            seen = None if user is None else await known_addresses.seen_at(tx, user.id, address)
        if seen is None or seen + KNOWN_MS <= self._units.clock.now_ms():
            self._lockout.try_account(email)
        right = await self._passwords.verify(None if user is None else user.password_hash, password)
        if user is None or not right:
            raise Refused("bad_credentials", "e-mail or password is wrong")
        if self._passwords.needs_rehash(user.password_hash):
            renewed = await self._passwords.hash(password)
            async with self._units.begin(None) as work:
                await users.renew_password_hash(work.tx, user.id, user.password_hash, renewed)
        return user

    async def confirmed(self, work: UnitOfWork, user: User) -> User:
        """
        Return who somebody is now, with their account locked: hashing takes long, and much may happen meanwhile.

        Raises:
            Refused: they were suspended, or their password is another one now.
        """
        now = await users.by_id(work.tx, user.id)
        if now is None or now.generation != user.generation:
            raise Refused("bad_credentials", "e-mail or password is wrong")
        if now.suspended_at is not None:  # told to whoever knows the password, and to nobody else
            raise forbidden("this account is suspended")
        return now

    async def change_password(self, actor: Actor, current: str, wanted: str, client: str) -> Tokens:
        """Give the actor a new password and new tokens; every other session of theirs ends."""
        async with self.changing_password(actor, current, wanted, client) as (work, user):
            return await self.issue(work, user)

    @asynccontextmanager
    async def changing_password(
        self, actor: Actor, current: str, wanted: str, client: str
    ) -> AsyncIterator[tuple[UnitOfWork, User]]:
        """Give the actor a new password and end their sessions; what the block adds is the session that goes on."""
        user = await self.me(actor)
        if not await self._passwords.verify(user.password_hash, current):
            raise invalid("currentPassword", "is wrong")
        hashed = await self._passwords.hash(wanted)
        async with self.ending_sessions(user.id) as work:
            await self.confirmed(work, user)
            await self.put_password(work, user.id, hashed)
            await self.know(work, user.id, client)
            await account_events.add(work.tx, AccountEvent.PASSWORD_CHANGED, about=user.id, by=user.id, now=work.now)
            yield work, replace(user, password_hash=hashed, generation=user.generation + 1)

    @asynccontextmanager
    async def ending_sessions(self, user_id: str) -> AsyncIterator[UnitOfWork]:
        """Begin a transaction about an account, after which its standing is read again."""
        try:
            async with self._units.begin(locks.user(user_id)) as work:
                yield work
        finally:
            self._standings.forget(user_id)

    async def put_password(self, work: UnitOfWork, user_id: str, password_hash: str) -> None:
        """Replace a password, end every session, and tell whose it was."""
        await users.set_password_hash(work.tx, user_id, password_hash)
        await users.end_sessions(work.tx, user_id, work.now)
        await account_links.revoke_resets(work.tx, user_id, work.now)
        await known_addresses.forget(work.tx, user_id)
        work.notify([user_id], "account", "password_changed", "Your password was changed", about=user_id)

    async def refresh(self, plain: str) -> Tokens:
        """
        Trade a refresh token for the next pair.

        A token that comes a second time was stolen, from us or by us: nobody of its family gets further.
        """
        hashed = digest(plain)
        async with self._units.begin(locks.holder_of_token(hashed)) as work:
            token = await users.token(work.tx, hashed)
            if token is None or token.expires_at <= work.now:
                raise _unknown_token()
            user = await users.by_id(work.tx, token.user_id)
            used = await users.use_token(work.tx, hashed, work.now)
            if used and user is not None and user.suspended_at is None:
                return await self.issue(work, user, token.family_id)
            await users.revoke_family(work.tx, token.family_id, work.now)  # committed, though the answer is a refusal
        log.warning("[accounts] a refresh token came twice: its family is revoked")
        raise _unknown_token()

    async def me(self, actor: Actor) -> User:
        """Return the actor's own account."""
        async with self._units.db.read() as tx:
            user = await users.by_id(tx, actor.user_id)
        if user is None:
            raise not_found("user")
        return user

    async def issue(self, work: UnitOfWork, user: User, family_id: str | None = None) -> Tokens:
        """Return tokens for somebody, of the family they come from, else of a new one."""
        plain, hashed = new_refresh()
        await users.add_token(
            work.tx,
            RefreshToken(
                token_hash=hashed,
                family_id=family_id or new_id(),
                user_id=user.id,
                used_at=None,
                revoked_at=None,
                expires_at=work.now + REFRESH_MS,
                created_at=work.now,
            ),
        )
        return Tokens(self._tokens.issue(user.id, user.role, user.generation), plain)


def same_email(email: str) -> str:
    """Return the one form of an e-mail."""
    return email.strip().lower()


def new_user(work: UnitOfWork, *, email: str, password_hash: str, role: Role, name: str) -> User:
    """Return a user that is not stored yet."""
    return User(
        id=new_id(),
        email=same_email(email),
        name=name,
        name_key=users.searched(name),
        role=role,
        password_hash=password_hash,
        created_at=work.now,
    )


def _unknown_token() -> Refused:
    return Refused("unauthorized", "the refresh token is not valid: log in again")
