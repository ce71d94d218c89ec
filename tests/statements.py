"""One cache of compiled statements for all stores of a test run: compiling them anew was half of what a test costs."""

from __future__ import annotations

from typing import Any

import pytest
from sqlalchemy import Engine, create_engine
from sqlalchemy.dialects.sqlite.aiosqlite import SQLiteDialect_aiosqlite
from sqlalchemy.util import LRUCache

from kernel.store import database

MOST = 3000


def share(patch: pytest.MonkeyPatch) -> None:
    """Let every store that is opened from now on find what others compiled."""
    compiled: LRUCache[Any, Any] = LRUCache(MOST)

    def create(*arguments: Any, **named: Any) -> Engine:
        engine = create_engine(*arguments, **named)
        engine._compiled_cache = compiled
        return engine

    # What is compiled is kept by its dialect, of which every engine makes one: all of them are the same.
    patch.setattr(SQLiteDialect_aiosqlite, "__eq__", lambda one, other: type(one) is type(other))
    patch.setattr(SQLiteDialect_aiosqlite, "__hash__", lambda one: hash(type(one)))
    patch.setattr(database, "create_engine", create)
