"""The coin_balances table."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from typing import NamedTuple

from sqlalchemy import bindparam, select

from kernel.store.database import Tx
from kernel.store.dialects import among, as_json_rows, fetch_json_rows, upsert
from scanner.store.tables import coin_balances


class Seen(NamedTuple):
    """The coin an address held, in base units, and where the chain stood then."""

    balance: int
    position: int


_KNOWN = as_json_rows(
    select(coin_balances.c.destination, coin_balances.c.balance, coin_balances.c.position).where(
        coin_balances.c.chain_id == bindparam("chain"), among(coin_balances.c.destination, "keys")
    )
)


async def known(tx: Tx, chain_id: int, destinations: Collection[str]) -> dict[str, Seen]:
    """Return what was last seen of the coin at these addresses."""
    rows = await fetch_json_rows(tx, _KNOWN, chain=chain_id, keys=destinations)
    return {destination: Seen(int(balance), position) for destination, balance, position in rows}


async def put(tx: Tx, chain_id: int, seen: Mapping[str, int], *, position: int) -> None:
    """Remember what was seen, and where the chain stood."""
    statement = upsert(coin_balances)
    await tx.execute(
        statement.on_conflict_do_update(
            index_elements=[coin_balances.c.chain_id, coin_balances.c.destination],
            set_={"balance": statement.excluded.balance, "position": statement.excluded.position},
        ),
        [
            {"chain_id": chain_id, "destination": key, "balance": balance, "position": position}
            for key, balance in seen.items()
        ],
    )
