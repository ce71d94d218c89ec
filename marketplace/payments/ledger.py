"""What the lines of the ledger add up to, in integers; pure."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

from marketplace.model import Entry, Escrow
from marketplace.store.ledger import Line


@dataclass(frozen=True, slots=True, kw_only=True)
class Balances:
    """
    Of one pay-in, in base units.

    Attributes:
        detected: what came in.
        held: what the escrow still has to keep for somebody.
        disputed: the part of it that an open dispute locks.
        available: what came in and is held for nobody: a surplus.
    """

    detected: int
    held: int
    disputed: int
    available: int
    released: int
    refunded: int

    def releasable(self, escrow: Escrow | None) -> int:
        """Return what may go to the seller in this state of the escrow."""
        return max(0, self.held - self.disputed) if escrow is Escrow.RELEASABLE else 0


def balances(lines: Iterable[Line]) -> Balances:
    """Add up the lines of one pay-in."""
    sums = dict.fromkeys(Entry, 0)
    for line in lines:
        sums[line.entry_type] += line.amount_base
    out = sums[Entry.RELEASE] + sums[Entry.REFUND]
    fees = sums[Entry.PROVIDER_FEE] + sums[Entry.PLATFORM_FEE]
    return Balances(
        detected=sums[Entry.PAYMENT_DETECTED],
        held=sums[Entry.HOLD] - out,
        disputed=sums[Entry.DISPUTE_HOLD] - sums[Entry.ADJUSTMENT],
        available=sums[Entry.PAYMENT_DETECTED] - sums[Entry.HOLD] - fees,
        released=sums[Entry.RELEASE],
        refunded=sums[Entry.REFUND],
    )
