"""What one look at the chain found, however it was done."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass, field

from chains.tron.transfer_log import TransferLog


@dataclass(slots=True)
class CandidateTransactions:
    """Transactions that may concern us, up to and including a time; their receipts say what they hold."""

    end_ms: int  # everything up to here was looked at
    rows: int = 0  # rows the service answered with
    at_block: dict[str, int] = field(default_factory=dict)  # transaction: number of its block
    at_time: dict[str, int] = field(default_factory=dict)  # transaction: its time, where the service tells that instead
    told: dict[str, list[TransferLog]] = field(default_factory=dict)  # what a log or row says, for who has no receipt
    by_row: dict[str, int] = field(default_factory=dict)  # what was told by its row alone, and when it happened
    unreadable: dict[str, str] = field(default_factory=dict)  # what could not be read, and why

    @property
    def hashes(self) -> list[str]:
        return [*self.at_block, *(tx_hash for tx_hash in self.at_time if tx_hash not in self.at_block)]

    def take(self, other: CandidateTransactions) -> None:
        """Add what another look found."""
        self.rows += other.rows
        self.at_block |= other.at_block
        self.at_time |= other.at_time
        self.unreadable |= other.unreadable
        for tx_hash, transfers in other.told.items():
            # Both may tell of the same: of forty alike there are as many as the one that shows more of them shows.
            most = Counter(self.told.get(tx_hash, ())) | Counter(transfers)
            self.told[tx_hash] = list(most.elements())
