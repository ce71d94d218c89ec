"""What building a sweep needs of a chain's own node, whatever its family."""

from __future__ import annotations

import asyncio
from collections.abc import Coroutine, Iterable, Mapping, Sequence
from typing import Any, Protocol, TypeVar

from marketplace.errors import Refused
from marketplace.payments.sweeps.plan import AddressState, FixedTransaction, PlannedTransfer
from marketplace.store.sweeps import SweepTransfer

T = TypeVar("T")


class SweepNode(Protocol):
    """One endpoint of a chain; every method raises `Refused` when it cannot be used."""

    async def check_chain(self, chain_id: int) -> None:
        """Refuse a node of another chain: what is signed for it would be worth nothing, or something else."""

    async def states(
        self, token: str, addresses: Sequence[str], made: Sequence[SweepTransfer]
    ) -> dict[str, AddressState]:
        """Return what there is at each address, and what became of the transactions that were made for it."""

    async def prepare(self) -> None:
        """Read what all transactions of a file have in common."""

    def fixed(self, token: str, transfer: PlannedTransfer, built_at: int) -> FixedTransaction | None:
        """Return a transaction that is kept as it is, where no number makes a second one worthless; else None."""

    async def transactions(
        self, token: str, transfers: Sequence[PlannedTransfer], built_at: int
    ) -> list[dict[str, Any] | None]:
        """Return each transfer as an unsigned transaction; None: it would fail."""

    def coins(self, entries: Sequence[Mapping[str, Any]], states: Mapping[str, AddressState]) -> list[dict[str, str]]:
        """Return for each address what its transactions may cost at most, and how much of that is not there."""


def away(why: str) -> Refused:
    """Say that nothing can be built now; the URL may carry a key and is not named."""
    return Refused("node_unavailable", f"the chain's own node cannot be used: {why}", retryAfter=5)


async def all_of(work: Iterable[Coroutine[Any, Any, T]]) -> list[T]:
    """Do all of it at the same time, and leave nothing running when one fails."""
    try:
        async with asyncio.TaskGroup() as group:
            tasks = [group.create_task(each, name="question to a node") for each in work]
    except BaseExceptionGroup as failed:
        raise failed.exceptions[0] from None  # the first of them says what is wrong
    return [task.result() for task in tasks]
