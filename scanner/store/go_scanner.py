"""Reads the store of the scanner written in Go, which this one takes the place of; nothing of it is changed."""

from __future__ import annotations

import sqlite3
from collections.abc import Mapping, Sequence
from contextlib import closing
from pathlib import Path
from typing import Any, NamedTuple

from scanner.store.errors import StoreError

Row = Mapping[str, Any]

_INTENTS = (
    "intent_id, chain_id, chain_type, token_address, destination, amount, payment_reference, topic_ref, status,"
    " callback_url, callback_secret, confirmations_required, tx_hash, block_number, salt,"
    " created_at, updated_at"
)
_WATCHES = (
    "watch_id, chain_id, chain_type, token_address, token_symbol, decimals, address, baseline_balance, current_balance,"
    " status, callback_url, callback_secret, change_count, last_notified_at, expires_at, created_at, updated_at"
)


class GoStore(NamedTuple):
    """All that is in it, as it is written there."""

    intents: Sequence[Row]
    checkpoints: Sequence[Row]
    watches: Sequence[Row]


def read_store(path: Path) -> GoStore:
    """
    Read a store.

    Raises:
        StoreError: it is none, or has not the columns of one.
    """
    if not path.is_file():
        raise StoreError(f"{path}: there is no such file")
    try:
        with closing(sqlite3.connect(f"{path.resolve().as_uri()}?mode=ro", uri=True)) as store:
            store.row_factory = sqlite3.Row
            return GoStore(
                _rows(store, f"SELECT {_INTENTS} FROM intents ORDER BY created_at, intent_id"),  # noqa: S608 - no data
                _rows(store, "SELECT chain_id, last_scanned_block FROM checkpoints ORDER BY chain_id"),
                _rows(store, f"SELECT {_WATCHES} FROM balance_watches ORDER BY created_at, watch_id"),  # noqa: S608
            )
    except sqlite3.Error as exc:
        raise StoreError(f"{path} cannot be read as a store of the Go scanner: {exc}") from exc


def _rows(store: sqlite3.Connection, question: str) -> list[Row]:
    return [dict(row) for row in store.execute(question)]
