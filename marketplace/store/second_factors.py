"""Second factors: what codes are made of (sealed), which was taken last, and recovery codes (digests)."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field

from sqlalchemy import delete, insert, select, update

from kernel.store.dialects import upsert
from marketplace.store.database import Tx
from marketplace.store.rows import changed, one
from marketplace.store.tables import recovery_codes, second_factors

_f, _r = second_factors.c, recovery_codes.c


@dataclass(frozen=True, slots=True, kw_only=True)
class SecondFactor:
    """What somebody's codes are made of; None in `confirmed_at`: no code of it was ever right."""

    user_id: str
    sealed: str = field(repr=False)
    confirmed_at: int | None
    last_step: int
    created_at: int


async def of_user(tx: Tx, user_id: str) -> SecondFactor | None:
    return await one(tx, select(second_factors).where(_f.user_id == user_id), SecondFactor)


async def begin(tx: Tx, user_id: str, sealed: str, now: int) -> bool:
    """Keep a secret that is not confirmed, in the place of another such; False when there is a confirmed one."""
    new = {"sealed": sealed, "last_step": 0, "created_at": now}
    statement = upsert(second_factors).values(user_id=user_id, **new)
    unconfirmed = _f.confirmed_at.is_(None)
    done = await tx.execute(statement.on_conflict_do_update(index_elements=[_f.user_id], set_=new, where=unconfirmed))
    return done.rowcount == 1


async def confirm(tx: Tx, user_id: str, step: int, now: int) -> bool:
    """Let a secret count from now on; False when it does already."""
    new = (_f.user_id == user_id) & _f.confirmed_at.is_(None)
    return await changed(tx, update(second_factors).where(new).values(confirmed_at=now, last_step=step))


async def take(tx: Tx, user_id: str, step: int) -> bool:
    """Take the code of a step; False when it, or a later one, was taken: whoever saw a code cannot use it again."""
    unused = (_f.user_id == user_id) & (_f.last_step < step)
    return await changed(tx, update(second_factors).where(unused).values(last_step=step))


async def remove(tx: Tx, user_id: str) -> bool:
    """Forget somebody's second factor and its recovery codes; False when there was none."""
    await tx.execute(delete(recovery_codes).where(_r.user_id == user_id))
    gone = await tx.execute(delete(second_factors).where(_f.user_id == user_id))
    return bool(gone.rowcount)


async def put_recovery_codes(tx: Tx, user_id: str, hashes: Iterable[str]) -> None:
    """Keep new recovery codes in the place of the former."""
    await tx.execute(delete(recovery_codes).where(_r.user_id == user_id))
    await tx.execute(insert(recovery_codes), [{"user_id": user_id, "code_hash": each} for each in hashes])


async def take_recovery_code(tx: Tx, user_id: str, code_hash: str, now: int) -> bool:
    """Use a recovery code up; False when it is none, or was used."""
    unused = (_r.user_id == user_id) & (_r.code_hash == code_hash) & _r.used_at.is_(None)
    return await changed(tx, update(recovery_codes).where(unused).values(used_at=now))


async def sealed_otherwise(tx: Tx, prefix: str) -> list[tuple[str, str]]:
    """Return whose secrets are sealed with a former key, and how."""
    old = select(_f.user_id, _f.sealed).where(~_f.sealed.startswith(prefix, autoescape=True))
    return [(user_id, sealed) for user_id, sealed in await tx.execute(old)]


async def seal_anew(tx: Tx, user_id: str, former: str, sealed: str) -> None:
    """Exchange the sealed text of a secret, unless it is another secret by now."""
    same = (_f.user_id == user_id) & (_f.sealed == former)
    await tx.execute(update(second_factors).where(same).values(sealed=sealed))
