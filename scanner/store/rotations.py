"""Newer secrets of callback URLs."""

from __future__ import annotations

from collections.abc import Mapping

from sqlalchemy import bindparam, select, union, update
from sqlalchemy.dialects.sqlite import insert
from sqlalchemy.ext.asyncio import AsyncConnection

from scanner.secrets.rotation import Rotation
from scanner.store.tables import balance_watches, callback_rotations, intents


async def get(tx: AsyncConnection, callback_url: str) -> Rotation | None:
    """Return a URL's newest rotation."""
    row = (
        await tx.execute(select(callback_rotations).where(callback_rotations.c.callback_url == callback_url))
    ).one_or_none()
    return None if row is None else Rotation._make(row)


async def put(tx: AsyncConnection, rotation: Rotation) -> None:
    """Store a URL's newest rotation."""
    statement = insert(callback_rotations).values(rotation._asdict())
    await tx.execute(
        statement.on_conflict_do_update(
            index_elements=[callback_rotations.c.callback_url],
            set_={name: statement.excluded[name] for name in Rotation._fields if name != "callback_url"},
        )
    )


_HOLDERS = (
    intents.c.callback_secret,
    balance_watches.c.callback_secret,
    callback_rotations.c.secret,
    callback_rotations.c.former_secret,
)


async def every_secret(tx: AsyncConnection) -> set[str]:
    """Return every secret as it is stored, wherever it is."""
    everywhere = union(*(select(column.label("secret")).where(column.is_not(None)) for column in _HOLDERS))
    return set((await tx.execute(everywhere)).scalars())


async def replace_secrets(tx: AsyncConnection, stale: Mapping[str, str]) -> None:
    """Store secrets in another form, wherever they are."""
    for column in _HOLDERS:
        statement = update(column.table).where(column == bindparam("before")).values({column.name: bindparam("after")})
        await tx.execute(statement, [{"before": before, "after": after} for before, after in stale.items()])
