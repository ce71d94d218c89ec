"""Newer secrets of callback URLs."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import NamedTuple

from sqlalchemy import Column, bindparam, func, select, update

from kernel.sealing.secret_cipher import SEALED
from kernel.store.database import Tx
from kernel.store.dialects import begins_with, upsert
from scanner.secrets.rotation import Rotation
from scanner.store.tables import balance_watches, callback_rotations, intents


async def get(tx: Tx, callback_url: str) -> Rotation | None:
    """Return a URL's newest rotation."""
    row = (
        await tx.execute(select(callback_rotations).where(callback_rotations.c.callback_url == callback_url))
    ).one_or_none()
    return None if row is None else Rotation._make(row)


async def put(tx: Tx, rotation: Rotation) -> None:
    """Store a URL's newest rotation."""
    statement = upsert(callback_rotations).values(rotation._asdict())
    await tx.execute(
        statement.on_conflict_do_update(
            index_elements=[callback_rotations.c.callback_url],
            set_={name: statement.excluded[name] for name in Rotation._fields if name != "callback_url"},
        )
    )


Holder = Column[str]

_PREFIX = 18  # characters that say with which key a text is sealed (kernel/sealing)
HOLDERS: Sequence[Holder] = (
    intents.c.callback_secret,
    balance_watches.c.callback_secret,
    callback_rotations.c.secret,
    callback_rotations.c.former_secret,
)


async def one_of_each_key(tx: Tx) -> list[str]:
    """Return a sealed secret for each key that any is sealed with. One a key, since a store holds a million."""
    found: list[str] = []
    for column in HOLDERS:
        of_key = select(func.min(column)).where(begins_with(column, SEALED))
        found += (await tx.execute(of_key.group_by(func.substr(column, 1, _PREFIX)))).scalars()
    return found


class Stale(NamedTuple):
    """A secret that is not sealed with the key in use, and the row that holds it."""

    key: int | str  # of its row
    secret: str


async def stale_secrets(tx: Tx, column: Holder, current: str, *, after: int | str | None, limit: int) -> list[Stale]:
    """Return secrets of a column that do not begin with `current`, by the keys of their rows, after a row."""
    (key,) = column.table.primary_key
    statement = select(key, column).where(func.substr(column, 1, len(current)) != current)
    if after is None:
        # In order, every row of the table would be visited by its key only to find that nothing is stale.
        if (await tx.execute(select(statement.exists()))).scalar_one() == 0:
            return []
    else:
        statement = statement.where(key > after)
    return [Stale._make(row) for row in await tx.execute(statement.order_by(key).limit(limit))]


async def replace_secrets(tx: Tx, column: Holder, new: Mapping[Stale, str]) -> None:
    """Store secrets in another form, each where it still stands as it was read."""
    (key,) = column.table.primary_key
    statement = (
        update(column.table)
        .where(key == bindparam("id"), column == bindparam("before"))
        .values({column.name: bindparam("after")})
    )
    await tx.execute(statement, [{"id": s.key, "before": s.secret, "after": after} for s, after in new.items()])
