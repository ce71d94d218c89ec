"""Who people are: users, logins, and refresh tokens that work once."""

from __future__ import annotations

import logging
from collections.abc import Collection, Mapping
from dataclasses import dataclass
from typing import Protocol

from pydantic import SecretStr

from marketplace.errors import Refused, conflict, not_found
from marketplace.identity.tokens import AccessTokens, digest, new_refresh
from marketplace.model import Actor, Page, Role, User
from marketplace.store import locks, users
from marketplace.store.database import Tx
from marketplace.store.errors import Taken
from marketplace.store.users import RefreshToken
from marketplace.unit_of_work import UnitOfWorkFactory, new_id

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


@dataclass(frozen=True, slots=True)
class Tokens:
    """What a login hands out."""

    access: str
    refresh: str

    def __repr__(self) -> str:
        return "Tokens(***)"


class Accounts:
    """Use cases of accounts."""

    def __init__(self, units: UnitOfWorkFactory, passwords: PasswordCheck, tokens: AccessTokens) -> None:
        self._units = units
        self._passwords = passwords
        self._tokens = tokens

    async def create(self, *, email: str, password: str, role: Role, name: str) -> User:
        """Add a user; e-mails differ in more than letter case."""
        hashed = await self._passwords.hash(password)
        async with self._units.begin(None) as work:
            if await users.by_email(work.tx, _same(email)) is not None:
                raise conflict("this e-mail is taken", field="email")
            user = User(
                id=new_id(), email=_same(email), name=name, role=role, password_hash=hashed, created_at=work.now
            )
            await users.add(work.tx, user)
        return user

    async def listing(self, page: Page, *, text: str | None, role: Role | None) -> tuple[list[User], int]:
        """Return people, newest first."""
        async with self._units.db.read() as tx:
            return await users.listing(tx, page, text=text, role=role)

    async def named(self, user_ids: Collection[str]) -> Mapping[str, User]:
        """Return people by their ids."""
        async with self._units.db.read() as tx:
            return await users.by_ids(tx, user_ids)

    async def ensure_admin(self, email: str, password: SecretStr) -> None:
        """Create the first admin when there is no such user yet."""
        async with self._units.db.read() as tx:
            known = await users.by_email(tx, _same(email))
        if known is None:
            try:
                await self.create(email=email, password=password.get_secret_value(), role=Role.ADMIN, name="Admin")
            except (Taken, Refused):
                log.info("[accounts] first admin created by another process")
            else:
                log.info("[accounts] first admin created")

    async def login(self, email: str, password: str) -> tuple[User, Tokens]:
        """Trade e-mail and password for tokens."""
        user = await self.authenticate(email, password)
        async with self._units.begin(None) as work:
            return user, await self._issue(work.tx, user, new_id(), work.now)

    async def authenticate(self, email: str, password: str) -> User:
        """Return whose e-mail and password these are; a wrong one and an unknown user look and cost the same."""
        async with self._units.db.read() as tx:
            user = await users.by_email(tx, _same(email))
        right = await self._passwords.verify(None if user is None else user.password_hash, password)
        if user is None or not right:
            raise Refused("bad_credentials", "e-mail or password is wrong")
        if self._passwords.needs_rehash(user.password_hash):
            renewed = await self._passwords.hash(password)
            async with self._units.begin(None) as work:
                await users.set_password_hash(work.tx, user.id, renewed)
        return user

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
            if used and user is not None:
                return await self._issue(work.tx, user, token.family_id, work.now)
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

    async def _issue(self, tx: Tx, user: User, family_id: str, now: int) -> Tokens:
        plain, hashed = new_refresh()
        await users.add_token(
            tx,
            RefreshToken(
                token_hash=hashed,
                family_id=family_id,
                user_id=user.id,
                used_at=None,
                revoked_at=None,
                expires_at=now + REFRESH_MS,
                created_at=now,
            ),
        )
        return Tokens(self._tokens.issue(user.id, user.role), plain)


def _same(email: str) -> str:
    return email.strip().lower()


def _unknown_token() -> Refused:
    return Refused("unauthorized", "the refresh token is not valid: log in again")
