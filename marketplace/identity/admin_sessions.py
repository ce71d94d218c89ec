"""Signing in to the pages with an account, and out again."""

from __future__ import annotations

from kernel.web.browser_sessions import LIFE_MS, is_token, new_token, token_hash
from marketplace.errors import forbidden
from marketplace.identity.accounts import Accounts
from marketplace.identity.lockout import Credentials
from marketplace.model import Actor, Role, User
from marketplace.store import admin_sessions
from marketplace.store.admin_sessions import AdminSession
from marketplace.unit_of_work import UnitOfWork, UnitOfWorkFactory

STAFF = (Role.ADMIN, Role.RESOLVER)


class AdminSessions:
    """Opens, finds and ends sessions; what somebody may do is read from their account each time."""

    def __init__(self, units: UnitOfWorkFactory, accounts: Accounts) -> None:
        self._units = units
        self._accounts = accounts

    async def open(self, given: Credentials) -> str:
        """Sign a browser in; return the token that it keeps."""
        async with self._accounts.signing_in(given) as (work, user):
            if user.role not in STAFF:
                raise forbidden("these pages are for admins and resolvers")
            return await _opened(work, user)

    async def change_password(self, actor: Actor, current: str, wanted: str, client: str) -> str:
        """Give somebody who is signed in a new password; return the token of the one session that goes on."""
        async with self._accounts.changing_password(actor, current, wanted, client) as (work, user):
            return await _opened(work, user)

    async def of(self, token: str) -> User | None:
        """Return who is signed in with a token; None when nobody is, or they may not be here any more."""
        if not is_token(token):
            return None
        async with self._units.db.read() as tx:
            user = await admin_sessions.holder(tx, token_hash(token), now=self._units.clock.now_ms())
        return user if user is not None and user.role in STAFF else None

    async def close(self, token: str) -> None:
        """Sign a browser out."""
        async with self._units.begin(None) as work:
            await admin_sessions.close(work.tx, token_hash(token))


async def _opened(work: UnitOfWork, user: User) -> str:
    token = new_token()
    session = AdminSession(
        token_hash=token_hash(token), user_id=user.id, created_at=work.now, expires_at=work.now + LIFE_MS
    )
    await admin_sessions.add(work.tx, session)
    return token
