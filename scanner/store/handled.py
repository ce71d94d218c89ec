"""What operators noted of transfers that settled nothing: that somebody saw to them, who, and when."""

from __future__ import annotations

from collections.abc import Collection
from typing import NamedTuple

from sqlalchemy import select

from kernel.store.database import Tx
from kernel.store.dialects import among, as_json_rows, fetch_json_rows, upsert
from scanner.store.tables import handled_transfers


class Handled(NamedTuple):
    """Somebody saw to it."""

    note: str
    by: str  # slot of the API key, or name of the session
    at: int  # unix ms


_STATEMENT = upsert(handled_transfers)
_NOTE = _STATEMENT.on_conflict_do_update(
    index_elements=[handled_transfers.c.transfer_id],
    set_={name: _STATEMENT.excluded[name] for name in Handled._fields},
)


async def note(tx: Tx, transfer_id: int, handled: Handled) -> None:
    """Keep a note of a row; one that was there is overwritten."""
    await tx.execute(_NOTE, {"transfer_id": transfer_id, **handled._asdict()})


_OF = as_json_rows(
    select(handled_transfers.c.transfer_id, *(handled_transfers.c[name] for name in Handled._fields)).where(
        among(handled_transfers.c.transfer_id, "ids")
    )
)


async def of_transfers(tx: Tx, ids: Collection[int]) -> dict[int, Handled]:
    """Return the notes there are of some rows."""
    return {row[0]: Handled(*row[1:]) for row in await fetch_json_rows(tx, _OF, ids=ids)}
