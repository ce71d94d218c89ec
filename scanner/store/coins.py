"""The coin_balances table."""

from __future__ import annotations

from collections.abc import Collection, Mapping

from sqlalchemy import bindparam, select
from sqlalchemy.dialects.sqlite import insert
from sqlalchemy.ext.asyncio import AsyncConnection

from scanner.store.lists import in_one_row, is_one_of, listed, rows_of
from scanner.store.tables import coin_balances

_KNOWN = in_one_row(
    select(coin_balances.c.destination, coin_balances.c.balance).where(
        coin_balances.c.chain_id == bindparam("chain"), is_one_of(coin_balances.c.destination, "keys")
    )
)


async def known(tx: AsyncConnection, chain_id: int, destinations: Collection[str]) -> dict[str, int]:
    """Return what was last seen of the coin at these addresses, in base units."""
    rows = await rows_of(tx, _KNOWN, chain=chain_id, keys=listed(destinations))
    return {destination: int(balance) for destination, balance in rows}


async def put(tx: AsyncConnection, chain_id: int, seen: Mapping[str, int]) -> None:
    """Remember what was seen."""
    statement = insert(coin_balances)
    await tx.execute(
        statement.on_conflict_do_update(
            index_elements=[coin_balances.c.chain_id, coin_balances.c.destination],
            set_={"balance": statement.excluded.balance},
        ),
        [{"chain_id": chain_id, "destination": key, "balance": balance} for key, balance in seen.items()],
    )
