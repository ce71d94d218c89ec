"""Codes of an authenticator (RFC 6238) beside the password, for admins and resolvers; and recovery codes."""

from __future__ import annotations

import hashlib
import hmac
import secrets
from collections.abc import Collection, Sequence
from dataclasses import dataclass

import pyotp

from kernel.sealing.secret_cipher import SecretCipher
from marketplace.errors import Refused, conflict, forbidden, invalid
from marketplace.identity.accounts import Accounts
from marketplace.identity.admin_sessions import STAFF
from marketplace.identity.lockout import Lockout
from marketplace.identity.members import Members
from marketplace.model import AccountEvent, Actor, Role
from marketplace.store import account_events, second_factors, users
from marketplace.store.second_factors import SecondFactor
from marketplace.unit_of_work import UnitOfWork, UnitOfWorkFactory

ISSUER = "AMN marketplace"
STEP_MS = 30_000
SLACK = 1  # steps a clock may be off, either way
RECOVERY_CODES = 10
_ALPHABET = "ABCDEFGHJKLMNPQRSTUVWXYZ23456789"  # without what is read as something else
_GROUPS, _LETTERS = 4, 4  # 80 bits


@dataclass(frozen=True, slots=True)
class Enrolment:
    """What an authenticator is given; it counts once a code of it was right."""

    secret: str
    uri: str

    def __repr__(self) -> str:
        return "Enrolment(***)"


class CodeCheck:
    """Judges codes at a login, in its transaction."""

    def __init__(self, cipher: SecretCipher, lockout: Lockout) -> None:
        self._cipher = cipher
        self._lockout = lockout

    async def judge(self, work: UnitOfWork, user_id: str, code: str | None) -> None:
        """
        Take a code of somebody who has a second factor.

        Raises:
            Refused: none was given, it is wrong, it was used before, or there were too many.
        """
        factor = await second_factors.of_user(work.tx, user_id)
        if factor is None or factor.confirmed_at is None:
            return
        if code is None:
            raise Refused("code_required", "give the code of your authenticator, or a recovery code")
        self._lockout.try_code(user_id)
        if not await self.takes(work, factor, code):
            raise Refused("bad_credentials", "the code is wrong, or was used before")

    async def takes(self, work: UnitOfWork, factor: SecondFactor, code: str) -> bool:
        """Say whether a code is right, and use it up."""
        step = self.step_of(factor, code, work.now)
        if step is not None:
            return await second_factors.take(work.tx, factor.user_id, step)
        hashed = _hashed(factor.user_id, code)
        if not await second_factors.take_recovery_code(work.tx, factor.user_id, hashed, work.now):
            return False
        await _note(work, AccountEvent.RECOVERY_CODE_USED, factor.user_id, factor.user_id)
        title = "A recovery code of yours was used"
        work.notify([factor.user_id], "account", "recovery_code_used", title, about=factor.user_id)
        return True

    def step_of(self, factor: SecondFactor, code: str, now: int) -> int | None:
        """Return which step a code is of; None when it is of none that counts now."""
        totp = pyotp.TOTP(self._cipher.decrypt(factor.sealed))
        given, found = "".join(code.split()).encode("utf-8", "replace"), None
        for step in range(now // STEP_MS - SLACK, now // STEP_MS + SLACK + 1):
            if hmac.compare_digest(totp.generate_otp(step).encode(), given):
                found = step
        return found


class SecondFactors:
    """Use cases of second factors."""

    def __init__(
        self,
        units: UnitOfWorkFactory,
        accounts: Accounts,
        members: Members,
        cipher: SecretCipher,
        check: CodeCheck,
        *,
        required: Collection[Role],
    ) -> None:
        self._units = units
        self._accounts = accounts
        self._members = members
        self._cipher = cipher
        self._check = check
        self.required = frozenset(required)

    async def start(self, actor: Actor, password: str) -> Enrolment:
        """Make a secret for the actor's authenticator; it counts for nothing until it is confirmed."""
        if actor.role not in STAFF:
            raise forbidden("a second factor is for admins and resolvers")
        await self._accounts.require_password(actor, password)
        secret = pyotp.random_base32()
        async with self._accounts.ending_sessions(actor.user_id) as work:
            if not await second_factors.begin(work.tx, actor.user_id, self._cipher.encrypt(secret), work.now):
                raise conflict("there is a second factor already: remove it first")
        return await self._shown(actor, secret)

    async def pending(self, actor: Actor) -> Enrolment | None:
        """Return what was begun and not confirmed."""
        async with self._units.db.read() as tx:
            factor = await second_factors.of_user(tx, actor.user_id)
        if factor is None or factor.confirmed_at is not None:
            return None
        return await self._shown(actor, self._cipher.decrypt(factor.sealed))

    async def confirm(self, actor: Actor, code: str) -> Sequence[str]:
        """Let the secret count, by a code of it; return recovery codes, which are shown this once."""
        codes = [_new_code() for _ in range(RECOVERY_CODES)]
        async with self._accounts.ending_sessions(actor.user_id) as work:
            factor = await second_factors.of_user(work.tx, actor.user_id)
            if factor is None or factor.confirmed_at is not None:
                raise conflict("there is nothing to confirm: begin anew")
            step = self._check.step_of(factor, code, work.now)
            if step is None:
                raise invalid("code", "is wrong: is the clock of your device right?")
            if not await second_factors.confirm(work.tx, actor.user_id, step, work.now):
                raise conflict("there is nothing to confirm: begin anew")
            await second_factors.put_recovery_codes(
                work.tx, actor.user_id, [_hashed(actor.user_id, each) for each in codes]
            )
            await _note(work, AccountEvent.SECOND_FACTOR_ADDED, actor.user_id, actor.user_id)
            title = "Your account asks for a second factor now"
            work.notify([actor.user_id], "account", "second_factor_added", title, about=actor.user_id)
        return codes

    async def remove(self, actor: Actor, password: str, code: str) -> None:
        """Sign in with the password alone again, where that is enough for the role."""
        if actor.role in self.required:
            raise conflict(f"a second factor is required of every {actor.role}")
        await self._accounts.require_password(actor, password)
        async with self._accounts.ending_sessions(actor.user_id) as work:
            await self._check.judge(work, actor.user_id, code)
            await self._gone(work, actor.user_id, actor)

    async def remove_of(self, actor: Actor, user_id: str) -> None:
        """Remove somebody's second factor, which was lost, and sign them out everywhere."""
        if actor.user_id == user_id:  # else a stolen session would do without the password
            raise conflict("remove your own second factor with your password")
        async with self._members.deciding(actor, user_id) as (work, _):
            await self._gone(work, user_id, actor)
            await users.end_sessions(work.tx, user_id, work.now)

    async def _gone(self, work: UnitOfWork, user_id: str, by: Actor) -> None:
        if not await second_factors.remove(work.tx, user_id):
            raise conflict("there is no second factor")
        await _note(work, AccountEvent.SECOND_FACTOR_REMOVED, user_id, by.user_id)
        title = "Your account asks for no second factor any more"
        work.notify([user_id], "account", "second_factor_removed", title, about=user_id)

    async def _shown(self, actor: Actor, secret: str) -> Enrolment:
        user = await self._accounts.me(actor)
        return Enrolment(secret, pyotp.TOTP(secret).provisioning_uri(name=user.email, issuer_name=ISSUER))


def _new_code() -> str:
    return "-".join("".join(secrets.choice(_ALPHABET) for _ in range(_LETTERS)) for _ in range(_GROUPS))


def _hashed(user_id: str, code: str) -> str:
    """Return what is stored of a recovery code: it holds 80 random bits, so a fast hash is enough."""
    plain = code.upper().replace("-", "").replace(" ", "")
    return hashlib.sha256(f"{user_id}\n{plain}".encode("utf-8", "replace")).hexdigest()


async def _note(work: UnitOfWork, kind: AccountEvent, user_id: str, by: str) -> None:
    await account_events.add(work.tx, kind, about=user_id, by=by, now=work.now)
