"""How each chain was doing, minute by minute, for a week."""

from __future__ import annotations

from typing import NamedTuple

from sqlalchemy import bindparam, delete, func, or_, select

from kernel.store.database import Tx
from kernel.store.ddl import Whole
from kernel.store.dialects import as_json_rows, fetch_json_rows, upsert
from scanner.store.tables import chain_samples

MINUTE_MS = 60_000
HOUR_MS = 60 * MINUTE_MS
KEPT_HOURS = 168
MAX_POINTS = 1_440  # in one answer: of longer times several minutes are one point


class Sample(NamedTuple):
    """One minute, or several as one: then the newest head, and the worst of the others."""

    at: int  # unix ms
    head: int | None
    lag_seconds: int | None
    detection_ms: int | None  # from the time of a block until a payment in it was stored; None: nobody paid


_STATEMENT = upsert(chain_samples)
_ADD = _STATEMENT.on_conflict_do_update(
    index_elements=[chain_samples.c.chain_id, chain_samples.c.at],
    set_={name: _STATEMENT.excluded[name] for name in Sample._fields if name != "at"},
)
# What a clock that was ahead wrote would otherwise stay, more with every time it is.
_FORGET = delete(chain_samples).where(
    chain_samples.c.chain_id == bindparam("chain"),
    or_(chain_samples.c.at < bindparam("before", type_=Whole), chain_samples.c.at > bindparam("now", type_=Whole)),
)


async def add(tx: Tx, chain_id: int, sample: Sample) -> None:
    """Keep a minute, and forget what is older than a week."""
    minute = sample.at // MINUTE_MS * MINUTE_MS
    await tx.execute(_ADD, {"chain_id": chain_id, **sample._replace(at=minute)._asdict()})
    await tx.execute(_FORGET, {"chain": chain_id, "before": minute - KEPT_HOURS * HOUR_MS, "now": sample.at})


_SINCE = as_json_rows(
    select(
        func.max(chain_samples.c.at),
        func.max(chain_samples.c.head),
        func.max(chain_samples.c.lag_seconds),
        func.max(chain_samples.c.detection_ms),
        (chain_samples.c.at // bindparam("step", type_=Whole)).label("slot"),
    )
    .where(chain_samples.c.chain_id == bindparam("chain"), chain_samples.c.at > bindparam("since", type_=Whole))
    .group_by("slot")
    .order_by("slot")
)


async def since(tx: Tx, chain_id: int, *, now: int, hours: int) -> list[Sample]:
    """Return the last hours of a chain, the oldest first, in at most `MAX_POINTS` and one more."""
    step = -(-hours * 60 // MAX_POINTS) * MINUTE_MS
    rows = await fetch_json_rows(tx, _SINCE, chain=chain_id, since=now - hours * HOUR_MS, step=step)
    return [Sample(*row[:-1]) for row in rows]
