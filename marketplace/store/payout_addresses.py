"""Addresses that sellers proved to be theirs, and the challenges they prove them with."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Any

from sqlalchemy import delete, func, insert, select, update

from marketplace.model import Page
from marketplace.store.database import Tx
from marketplace.store.rows import changed, many, one, paged
from marketplace.store.tables import payout_addresses, payout_challenges

_a, _c = payout_addresses.c, payout_challenges.c
_COLUMNS = [each for each in payout_addresses.c if each.name != "number"]  # which only says what came first


@dataclass(frozen=True, slots=True, kw_only=True)
class PayoutChallenge:
    """What a seller is to sign, once and in time."""

    id: str
    user_id: str
    chain_id: int
    address: str  # in the form addresses are compared in
    shown_address: str  # as it was typed
    nonce: str
    message: str
    created_at: int
    expires_at: int
    used_at: int | None


@dataclass(frozen=True, slots=True, kw_only=True)
class PayoutAddress:
    """An address a seller proved; when it takes effect follows from those before it."""

    id: str
    user_id: str
    chain_id: int
    address: str
    shown_address: str
    challenge_id: str
    proof: Mapping[str, Any]
    effective_at: int
    created_at: int


async def add_challenge(tx: Tx, challenge: PayoutChallenge, keep: int) -> None:
    """Store a challenge; of one user only the newest few are kept."""
    await tx.execute(insert(payout_challenges).values(**asdict(challenge)))
    mine = select(_c.id).where(_c.user_id == challenge.user_id, _c.used_at.is_(None))
    newest = mine.order_by(_c.created_at.desc(), (_c.id == challenge.id).desc(), _c.id).limit(keep)
    old = (_c.user_id == challenge.user_id) & _c.used_at.is_(None) & _c.id.not_in(newest)
    await tx.execute(delete(payout_challenges).where(old))


async def challenge(tx: Tx, challenge_id: str) -> PayoutChallenge | None:
    return await one(tx, select(payout_challenges).where(_c.id == challenge_id), PayoutChallenge)


async def use(tx: Tx, challenge_id: str, user_id: str, now: int) -> bool:
    """Use a challenge up; False when it was used, is over, or is somebody else's."""
    open_ = (_c.id == challenge_id) & (_c.user_id == user_id) & _c.used_at.is_(None) & (_c.expires_at > now)
    return await changed(tx, update(payout_challenges).where(open_).values(used_at=now))


async def add(tx: Tx, address: PayoutAddress) -> None:
    """Store an address; one challenge proves one."""
    await tx.execute(insert(payout_addresses).values(**asdict(address)))


async def history(tx: Tx, user_id: str, chain_id: int | None = None) -> list[PayoutAddress]:
    """Return what a seller proved, oldest first."""
    found = select(*_COLUMNS).where(_a.user_id == user_id)
    if chain_id is not None:
        found = found.where(_a.chain_id == chain_id)
    return await many(tx, found.order_by(_a.created_at, _a.number), PayoutAddress)


async def proved_since(tx: Tx, user_id: str, since: int) -> int:
    """Return how many addresses a seller proved since a time."""
    mine = select(func.count()).select_from(payout_addresses).where(_a.user_id == user_id, _a.created_at > since)
    return int((await tx.execute(mine)).scalar_one())


async def listing(tx: Tx, page: Page, *, user_id: str | None) -> tuple[list[PayoutAddress], int]:
    """Return one page of what was proved, newest first."""
    found = select(*_COLUMNS).order_by(_a.created_at.desc(), _a.number.desc())
    if user_id is not None:
        found = found.where(_a.user_id == user_id)
    return await paged(tx, found, PayoutAddress, page)
