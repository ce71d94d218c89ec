"""Which of the transactions that a hosted provider names are looked at, and in which order."""

from __future__ import annotations

from typing import Any, cast

from marketplace.payments.hosted.hosted_provider import next_to_look_at
from marketplace.store import told_transactions
from marketplace.store.database import Tx
from marketplace.store.told_transactions import ToldTransaction


def test_what_waits_longest_is_looked_at_first_in_whatever_order_it_is_told() -> None:
    names = [f"0x{number:03x}" for number in range(500)]
    settled = [ToldTransaction(each, 0, 1, {}, 1) for each in names[:200]]
    looked = [ToldTransaction(each, 0, 50) for each in names[200:300]]
    real = ToldTransaction("0xfff", 40)
    later = [ToldTransaction(each, 60) for each in names[300:]]

    chosen = next_to_look_at([*later, *settled, real, *looked])

    assert chosen[0] == real
    assert (len(chosen), set(looked) <= set(chosen[1:])) == (200, True)


class Rows:
    """Takes what is written, and holds nothing."""

    def __init__(self) -> None:
        self.written: list[list[dict[str, Any]]] = []

    async def execute(self, _: object, rows: list[dict[str, Any]] | None = None) -> Rows:
        if rows is not None:
            self.written.append(rows)
        return self

    def scalars(self) -> list[str]:
        return []


async def test_rows_are_written_in_one_order_however_they_are_named() -> None:
    """Two looks at once name them in two orders, and PostgreSQL ends one of two that wait for each other."""
    taken = Rows()
    tx = cast("Tx", taken)

    await told_transactions.add(tx, "one", ["0xb", "0xa", "0xb"], 1)
    await told_transactions.set_seen(tx, "one", [ToldTransaction("0xb", 1), ToldTransaction("0xa", 1)])

    added, seen = taken.written
    assert [row["tx_hash"] for row in added] == [row["named"] for row in seen] == ["0xa", "0xb"]
