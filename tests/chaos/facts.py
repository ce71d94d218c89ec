"""What the laboratory knows of a run without asking the scanner, and what the scanner said in the end."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

from tests.chaos.purchases import Rail


@dataclass(frozen=True, slots=True)
class Order:
    """An intent as it was acknowledged; addresses are in lower case."""

    intent_id: str
    rail: Rail
    token: str
    destination: str
    amount: int
    reference: str  # 0x + 16 hex
    expires_at: int | None = None  # unix seconds; None: far away
    cancelled: bool = False  # every payment comes after that
    since: int = 0  # chain time at which it took its address over
    unreadable: bool = False  # nobody can tell whether it is paid: its token answers nonsense


@dataclass(frozen=True, slots=True, order=True)
class ChainTransfer:
    """One transfer on the canonical chain that touches us, in chain order."""

    block: int
    log_index: int
    tx: str
    token: str
    destination: str
    amount: int
    topic: str | None = field(default=None, compare=False)  # the indexed reference; None on the direct rail
    credited: int | None = field(default=None, compare=False)  # by the token's own logs; None when it has none
    bounced: bool = field(default=False, compare=False)  # sent, seen and sent back
    time: int = field(default=0, compare=False)  # of its block, unix seconds
    behind: tuple[tuple[str, int], ...] = field(default=(), compare=False)  # the token's own logs of an event
    sender: str = field(default="", compare=False)  # whose token it was

    @property
    def place(self) -> tuple[str, int]:
        return self.tx, self.log_index


@dataclass(frozen=True, slots=True, order=True)
class Coin:
    """The chain's own coin arriving at a destination: a balance that rises, without a log."""

    position: int
    destination: str
    amount: int


@dataclass(frozen=True, slots=True)
class ReceivedWebhook:
    """One webhook as it came in."""

    event_id: str
    intent_id: str
    event_type: str
    tx: str
    received: int
    acknowledged: bool
    genuine: bool  # both signatures are right


@dataclass(frozen=True, slots=True)
class UnmatchedRow:
    """One line of `GET /unmatched`; its event key is opaque."""

    tx: str | None
    event_key: str
    intent_id: str | None
    reason: str
    amount: int
    token: str = field(default="", compare=False)
    destination: str = field(default="", compare=False)
    position: int = field(default=0, compare=False)
    count: int = field(default=1, compare=False)  # transfers in it

    @classmethod
    def of(cls, row: dict[str, Any], canonical: Callable[[str], str]) -> UnmatchedRow:
        return cls(
            row["txHash"],
            row["eventKey"],
            row["intentId"],
            row["reason"],
            int(row["amount"]),
            row["token"] if row["txHash"] is None else canonical(row["token"]),
            canonical(row["destination"]),
            row["blockNumber"],
            row.get("count", 1),
        )


@dataclass(frozen=True, slots=True)
class Outcome:
    """Everything the judge looks at."""

    orders: tuple[Order, ...]
    transfers: tuple[ChainTransfer, ...]
    webhooks: tuple[ReceivedWebhook, ...]
    statuses: dict[str, str]  # of every intent the scanner lists
    rows: tuple[UnmatchedRow, ...]
    coins: tuple[Coin, ...] = ()
    anomalies: tuple[str, ...] = ()  # what should not have happened while it ran
    late_rows: bool = False  # whether an index showed payments late


@dataclass(frozen=True, slots=True)
class Verdict:
    """Four lists of sentences, each empty when the promise was kept."""

    missed: tuple[str, ...]
    doubled: tuple[str, ...]
    invented: tuple[str, ...]
    unexplained: tuple[str, ...]

    @property
    def clean(self) -> bool:
        return not (self.missed or self.doubled or self.invented or self.unexplained)
