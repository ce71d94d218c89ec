"""How many transactions are begun on a store."""

from __future__ import annotations

from collections import Counter
from typing import Any

import pytest

from kernel.store.database import Database


class Transactions:
    """Counts the transactions that are begun on a store."""

    def __init__(self, db: Database, monkeypatch: pytest.MonkeyPatch) -> None:
        self._counted: Counter[str] = Counter()
        for kind in ("read", "write"):
            monkeypatch.setattr(db, kind, self._counting(kind, getattr(db, kind)))

    def _counting(self, kind: str, begin: Any) -> Any:
        def counted() -> Any:
            self._counted[kind] += 1
            return begin()

        return counted

    def take(self) -> dict[str, int]:
        """Return how many there were since this was asked."""
        found, self._counted = dict(self._counted), Counter()
        return found
