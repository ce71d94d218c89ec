"""How often clients asked lately, as several processes count it together; not kept through a crash."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from dataclasses import dataclass

from sqlalchemy import Column, Index, MetaData, Table, Text, delete, select

from kernel.store.bulk import BulkInsert
from kernel.store.database import Tx
from kernel.store.ddl import Whole
from kernel.store.dialects import among, upsert


def rate_table(metadata: MetaData) -> Table:
    """Declare the table of counts in a service's schema."""
    return Table(
        "rate_counts",
        metadata,
        Column("client", Text, primary_key=True),
        Column("limit_name", Text, primary_key=True),
        Column("slot", Whole, primary_key=True, autoincrement=False),  # a piece of the limit's time, by its number
        Column("process", Text, primary_key=True),
        Column("count", Whole, nullable=False),
        Column("over_at", Whole, nullable=False),  # unix ms: from then on the limit does not look at it
        Index("rate_counts_over", "over_at"),
    )


@dataclass(frozen=True, slots=True)
class SlotCount:
    """How often a client asked in one piece of a limit's time; `over_at` in unix ms."""

    client: str
    limit_name: str
    slot: int
    count: int
    over_at: int


_table = rate_table(MetaData())  # of whichever schema a transaction is in
_r = _table.c
_added = upsert(_table)
_ADD = BulkInsert(
    _added.on_conflict_do_update(
        index_elements=[_r.client, _r.limit_name, _r.slot, _r.process],
        set_={"count": _r.count + _added.excluded.count},
    ),
    ("client", "limit_name", "slot", "process", "count", "over_at"),
)
_OF_OTHERS = select(_r.client, _r.limit_name, _r.slot, _r.count, _r.over_at).where(among(_r.client, "clients"))


async def add(tx: Tx, process: str, counts: Sequence[SlotCount]) -> None:
    """Add what this process let through."""
    await _ADD.run(
        tx,
        {
            "client": [each.client for each in counts],
            "limit_name": [each.limit_name for each in counts],
            "slot": [each.slot for each in counts],
            "process": [process] * len(counts),
            "count": [each.count for each in counts],
            "over_at": [each.over_at for each in counts],
        },
    )


async def of_others(tx: Tx, process: str, clients: Collection[str]) -> list[SlotCount]:
    """Return what the other processes let through of these clients."""
    found = await tx.execute(_OF_OTHERS.where(_r.process != process), {"clients": clients})
    return [SlotCount(*row) for row in found]


async def forget(tx: Tx, now: int) -> None:
    """Forget what no limit looks at any more, whoever counted it."""
    await tx.execute(delete(_table).where(_r.over_at <= now))
