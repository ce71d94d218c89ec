"""How often clients asked lately, as several processes count it together."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from dataclasses import dataclass

from sqlalchemy import delete, select

from kernel.store.bulk import BulkInsert
from kernel.store.dialects import among, upsert
from marketplace.store.database import Tx
from marketplace.store.tables import rate_counts

_r = rate_counts.c


@dataclass(frozen=True, slots=True)
class SlotCount:
    """How often a client asked in one piece of a limit's time; `ends_at` in unix ms."""

    limit_name: str
    client: str
    slot: int
    count: int
    ends_at: int


_added = upsert(rate_counts)
_ADD = BulkInsert(
    _added.on_conflict_do_update(
        index_elements=[_r.limit_name, _r.client, _r.slot, _r.process],
        set_={"count": _r.count + _added.excluded.count},
    ),
    ("limit_name", "client", "slot", "process", "count", "ends_at"),
)
_OF_OTHERS = select(_r.limit_name, _r.client, _r.slot, _r.count, _r.ends_at).where(among(_r.client, "clients"))


async def add(tx: Tx, process: str, counts: Sequence[SlotCount]) -> None:
    """Add what this process let through."""
    await _ADD.run(
        tx,
        {
            "limit_name": [each.limit_name for each in counts],
            "client": [each.client for each in counts],
            "slot": [each.slot for each in counts],
            "process": [process] * len(counts),
            "count": [each.count for each in counts],
            "ends_at": [each.ends_at for each in counts],
        },
    )


async def of_others(tx: Tx, process: str, clients: Collection[str]) -> list[SlotCount]:
    """Return what the other processes let through of these clients."""
    found = await tx.execute(_OF_OTHERS.where(_r.process != process), {"clients": clients})
    return [SlotCount(*row) for row in found]


async def forget(tx: Tx, before: int) -> None:
    """Forget what no limit looks at any more."""
    await tx.execute(delete(rate_counts).where(_r.ends_at < before))
