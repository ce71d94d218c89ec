"""What one look at the chain found, however it was done."""

from __future__ import annotations

from dataclasses import dataclass, field


@dataclass(slots=True)
class Sighting:
    """Transactions that may concern us, up to and including a time; what they hold is in their receipts."""

    end_ms: int  # everything up to here was looked at
    rows: int = 0  # rows the service answered with
    at_block: dict[str, int] = field(default_factory=dict)  # transaction: number of its block
    at_time: dict[str, int] = field(default_factory=dict)  # transaction: its time, where the service tells that instead

    @property
    def hashes(self) -> list[str]:
        return [*self.at_block, *self.at_time]
