"""The chain_reports table: what the leader of a chain tells the other processes, and what they ask of it."""

from __future__ import annotations

from collections.abc import Collection
from typing import NamedTuple

from sqlalchemy import literal_column, select, update

from kernel.store.database import Tx
from kernel.store.ddl import Whole
from kernel.store.dialects import among, upsert
from scanner.model import ChainTime
from scanner.store.tables import chain_reports as reports
from scanner.store.tables import leases

_NOW = literal_column("now_ms()", Whole)


class Report(NamedTuple):
    """A row. Times are unix ms by the database's clock."""

    chain_id: int
    report: str | None
    at: int | None
    chain_ms: int | None
    chain_position: int | None
    asked: int
    answered: int
    failure: str | None
    blind: int


async def join(tx: Tx, chain_ids: Collection[int]) -> None:
    """Have a row for each chain."""
    for chain_id in sorted(chain_ids):
        await tx.execute(upsert(reports).values(chain_id=chain_id).on_conflict_do_nothing())


async def every(tx: Tx) -> tuple[dict[int, Report], int]:
    """Return the reports by chain, and what time it is."""
    rows = await tx.execute(select(*(reports.c[name] for name in Report._fields)))
    now = (await tx.execute(select(_NOW))).scalar_one()
    return {row[0]: Report(*row) for row in rows}, int(now)


async def tell(tx: Tx, chain_id: int, term: str, lease: str, report: str, chain_time: ChainTime | None) -> None:
    """Publish what the leader knows, if it still is the leader: what another one published later stays."""
    still = select(leases.c.name).where(leases.c.name == lease, leases.c.term == term).exists()
    await tx.execute(
        update(reports)
        .where(reports.c.chain_id == chain_id, still)
        .values(
            report=report,
            at=_NOW,
            chain_ms=chain_time and chain_time.ms,
            chain_position=chain_time and chain_time.position,
        )
    )


async def hold(tx: Tx, names: Collection[str]) -> dict[str, str | None]:
    """Return the terms of leases, which nobody takes over until the transaction ends."""
    # In one order everywhere: two that wait for each other's rows never end.
    statement = select(leases.c.name, leases.c.term).where(among(leases.c.name, "names")).order_by(leases.c.name)
    return {row[0]: row[1] for row in await tx.execute(statement.with_for_update(), {"names": names})}


async def ask(tx: Tx, chain_id: int) -> int:
    """Ask the leader for a poll; return the number under which it is answered."""
    statement = update(reports).where(reports.c.chain_id == chain_id).values(asked=reports.c.asked + 1)
    return int((await tx.execute(statement.returning(reports.c.asked))).scalar_one())


async def answer(tx: Tx, chain_id: int, asked: int, failure: str | None) -> None:
    """Say that what was asked for up to a number has been done, or why not."""
    await tx.execute(
        update(reports)
        .where(reports.c.chain_id == chain_id, reports.c.answered < asked)
        .values(answered=asked, failure=failure)
    )


async def answered(tx: Tx, chain_id: int) -> tuple[int, str | None]:
    """Return up to which number was answered, and why the last one failed."""
    row = (await tx.execute(select(reports.c.answered, reports.c.failure).where(reports.c.chain_id == chain_id))).one()
    return row[0], row[1]


async def count_blind(tx: Tx, chain_ids: Collection[int]) -> None:
    """Count that something was registered on these chains while their time was not known."""
    # In one order: two that wait for each other's rows never end.
    for chain_id in sorted(chain_ids):
        await tx.execute(update(reports).where(reports.c.chain_id == chain_id).values(blind=reports.c.blind + 1))
