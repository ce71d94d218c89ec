"""What the laboratory needs of a chain family: a chain it owns, endpoints that fail, and the truth."""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import AbstractAsyncContextManager
from pathlib import Path
from typing import Any, Protocol

from tests.chaos.facts import ChainTransfer, Coin, Order
from tests.chaos.purchases import How, Part, PlannedPurchase
from tests.chaos.schedule import Plan


class ChainEnvironment(Protocol):
    """One chain, two endpoints in front of it, and buyers who pay on it."""

    @property
    def chain_id(self) -> int:
        """The chain's number."""

    @property
    def payments(self) -> int:
        """How many were made so far."""

    def environment(self, folder: Path, plan: Plan) -> dict[str, str]:
        """Return the environment of a scanner that watches this chain through the two endpoints."""

    def body(self, purchase: PlannedPurchase, number: int) -> dict[str, Any]:
        """Return what a registration says about chain, token and destination; a number has its own address."""

    def canonical(self, address: str) -> str:
        """Return the form in which movements name an address."""

    async def mine(self, blocks: int) -> None:
        """Let the chain go on."""

    async def now(self) -> int:
        """Return the time of the chain's newest block, in unix seconds."""

    async def advance_to(self, moment: int) -> None:
        """Let time pass on the chain, if need be, until a block is at least as young as this (unix seconds)."""

    async def pay(self, purchase: PlannedPurchase, order: Order, share: int, *, right: bool, how: How = "sent") -> None:
        """Pay so many thousandths of an order, in its own token or in a wrong one; `how` says what becomes of it."""

    async def pay_together(self, payments: Sequence[tuple[Order, int]]) -> None:
        """Pay so many thousandths of each order, all in one transaction."""

    async def pay_many(self, order: Order, part: Part) -> None:
        """Let a stranger send an order many small transfers in one transaction."""

    async def reorg(self, depth: int, kind: str) -> None:
        """Replace the newest blocks."""

    def inject_fault(self, place: int, kind: str, method: str) -> AbstractAsyncContextManager[None]:
        """Let an endpoint misbehave until the block ends."""

    def heal(self) -> None:
        """Let every endpoint behave."""

    async def bury(self, plan: Plan) -> None:
        """Make everything that was paid as deep as it has to be."""

    async def is_read(self, position: int) -> bool:
        """Say whether a checkpoint covers everything that was paid."""

    async def transfers(self, orders: Sequence[Order]) -> tuple[ChainTransfer, ...]:
        """Return every transfer on the canonical chain that touches us."""

    async def coins(self, orders: Sequence[Order]) -> tuple[Coin, ...]:
        """Return every arrival of the chain's own coin at a direct destination, where it has to be noticed."""
