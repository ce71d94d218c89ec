"""Signing in to the pages with an account, and out again."""

from __future__ import annotations

from kernel.web.browser_sessions import LIFE_MS, is_token, new_token, token_hash
from marketplace.errors import forbidden
from marketplace.identity.accounts import Accounts
from marketplace.model import Role, User
from marketplace.store import admin_sessions
from marketplace.store.admin_sessions import AdminSession
from marketplace.unit_of_work import UnitOfWorkFactory

STAFF = (Role.ADMIN, Role.RESOLVER)


class AdminSessions:
    """Opens, finds and ends sessions; what somebody may do is read from their account each time."""

    def __init__(self, units: UnitOfWorkFactory, accounts: Accounts) -> None:
        self._units = units
        self._accounts = accounts

    async def open(self, email: str, password: str) -> str:
        """Sign a browser in; return the token that it keeps."""
        user = await self._accounts.authenticate(email, password)
        if user.role not in STAFF:
            raise forbidden("these pages are for admins and resolvers")
        token = new_token()
        async with self._units.begin(None) as work:
            session = AdminSession(
                token_hash=token_hash(token), user_id=user.id, created_at=work.now, expires_at=work.now + LIFE_MS
            )
            await admin_sessions.add(work.tx, session)
        return token

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
