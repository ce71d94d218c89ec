"""What the lines of the ledger add up to, in integers; pure."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

from marketplace.model import EscrowState, LedgerEntryType
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
        fees: what the platform took of what was held.
    """

    detected: int
    held: int
    disputed: int
    available: int
    released: int
    refunded: int
    fees: int

    def releasable(self, escrow: EscrowState | None) -> int:
        """Return what may go to the seller in this state of the escrow."""
        return max(0, self.held - self.disputed) if escrow is EscrowState.RELEASABLE else 0


def balances(lines: Iterable[Line]) -> Balances:
    """Add up the lines of one pay-in."""
    sums = dict.fromkeys(LedgerEntryType, 0)
    for line in lines:
        sums[line.entry_type] += line.amount_base
    fees = sums[LedgerEntryType.PLATFORM_FEE]
    out = sums[LedgerEntryType.RELEASE] + sums[LedgerEntryType.REFUND] + fees
    surplus = sums[LedgerEntryType.PAYMENT_DETECTED] - sums[LedgerEntryType.HOLD]
    return Balances(
        detected=sums[LedgerEntryType.PAYMENT_DETECTED],
        held=sums[LedgerEntryType.HOLD] - out,
        disputed=sums[LedgerEntryType.DISPUTE_HOLD] - sums[LedgerEntryType.ADJUSTMENT],
        available=surplus - sums[LedgerEntryType.PROVIDER_FEE],
        released=sums[LedgerEntryType.RELEASE],
        refunded=sums[LedgerEntryType.REFUND],
        fees=fees,
    )
