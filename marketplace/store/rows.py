"""From rows to frozen facts, and lists by page."""

from __future__ import annotations

from typing import Any, TypeVar

from sqlalchemy import Select, Update, func, select

from marketplace.model import Page
from marketplace.store.database import Tx

T = TypeVar("T")


async def one(tx: Tx, statement: Select[Any], kind: type[T]) -> T | None:
    """Return the row as a fact; None when there is none."""
    row = (await tx.execute(statement)).mappings().one_or_none()
    return None if row is None else kind(**row)


async def many(tx: Tx, statement: Select[Any], kind: type[T]) -> list[T]:
    """Return every row as a fact."""
    return [kind(**row) for row in (await tx.execute(statement)).mappings()]


async def paged(tx: Tx, statement: Select[Any], kind: type[T], page: Page) -> tuple[list[T], int]:
    """Return one page and the total."""
    total = (await tx.execute(select(func.count()).select_from(statement.order_by(None).subquery()))).scalar_one()
    return await many(tx, statement.limit(page.limit).offset(page.offset), kind), int(total)


async def changed(tx: Tx, statement: Update) -> bool:
    """Run a conditional UPDATE of one row and say whether its condition held."""
    return (await tx.execute(statement)).rowcount == 1
