"""One statement for many rows, compiled once and bound as plain tuples: what is written a thousand at a time."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping
from itertools import repeat
from typing import Any

from sqlalchemy import Insert, Update
from sqlalchemy.dialects.sqlite import dialect as sqlite_dialect
from sqlalchemy.ext.asyncio import AsyncConnection

SLICE = 1_000  # rows bound in one go: binding holds the event loop


class Bulk:
    """
    An INSERT or UPDATE whose parameters `names` come from columns.

    Values are bound as the store holds them (amounts as text): no type of the table is asked.
    """

    def __init__(self, statement: Insert | Update, names: Collection[str]) -> None:
        keys = list(names) if isinstance(statement, Insert) else None
        compiled = statement.compile(dialect=sqlite_dialect(), column_keys=keys)
        self._sql = str(compiled)
        self._places = [(name, compiled.params.get(name)) for name in compiled.positiontup or ()]
        self._names = frozenset(names)

    async def run(self, tx: AsyncConnection, columns: Mapping[str, Iterable[Any]]) -> None:
        """Run once for each row of `columns`, of which at least one is finite."""
        bound = [columns[name] if name in self._names else repeat(constant) for name, constant in self._places]
        rows = list(zip(*bound, strict=False))
        for start in range(0, len(rows), SLICE):
            await tx.exec_driver_sql(self._sql, rows[start : start + SLICE])
