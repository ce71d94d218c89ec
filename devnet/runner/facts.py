"""What the runner knows and measures: frozen facts, no I/O."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from enum import StrEnum


class FlowFailed(Exception):
    """One worker's story did not go as told; the message says where."""


class Fault(StrEnum):
    """What must never happen."""

    UNPROVEN = "paid without the right evidence"
    DUPLICATE = "duplicate credit"
    WRONG_RECIPIENT = "notification to the wrong user"
    SERVER_ERRORS = "more than 1 % of the answers were 5xx"
    BACKLOG = "a backlog that does not drain"
    LEAK = "one worker saw another's"
    LEDGER = "ledger inconsistency"
    FLOW = "flow not finished"
    REPEATED = "told twice"
    NOT_TOLD = "live and listed notifications differ"


# The run ends with the level that shows one of these; the others are told at its end.
STOPPING = frozenset({Fault.UNPROVEN, Fault.DUPLICATE, Fault.WRONG_RECIPIENT, Fault.SERVER_ERRORS, Fault.BACKLOG})


@dataclass(frozen=True, slots=True)
class Finding:
    """One thing that is wrong."""

    fault: Fault
    detail: str


@dataclass(frozen=True, slots=True)
class Sample:
    """One answered (or failed) call; `status` 0 is no answer at all."""

    operation: str
    seconds: float
    status: int


@dataclass(frozen=True, slots=True)
class Note:
    """A notification as somebody was told it; `latency_s` is None where it was read from the list."""

    id: str
    user_id: str
    type: str
    about: str
    latency_s: float | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Deal:
    """Who is who in one worker's story, and what they made. Growing: see `with_`-style `replace`."""

    worker: int
    buyer: str
    sellers: Sequence[str]
    request_id: str = ""
    offers: Mapping[str, str] = field(default_factory=dict)  # offer id to its seller
    winner: str = ""
    payment_id: str = ""


@dataclass(frozen=True, slots=True)
class Credit:
    """A transfer that a payment was credited with."""

    payment_id: str
    tx_hash: str
    event_key: str


@dataclass(frozen=True, slots=True, kw_only=True)
class OnChain:
    """What the chain itself says of what a buyer sent."""

    tx_hash: str
    succeeded: bool
    canonical: bool  # its block is still part of the chain
    depth: int
    sender: str
    received: int  # of the token, by the destination, in that transaction
    balance: int  # of the destination now


@dataclass(frozen=True, slots=True, kw_only=True)
class Owed:
    """What was agreed: the price in base units, in which token, where, from whose wallet."""

    chain_id: int
    token: str
    amount: int
    wallet: str


@dataclass(frozen=True, slots=True)
class FlowResult:
    """How one worker's story ended."""

    deal: Deal
    seconds: float
    failed: str | None
    findings: Sequence[Finding]


@dataclass(frozen=True, slots=True, kw_only=True)
class LevelResult:
    """What one number of simultaneous workers showed."""

    workers: int
    seconds: float
    flows: Sequence[FlowResult]
    samples: Sequence[Sample]
    live_s: Sequence[float]  # how long each notification took to be heard
    listed_s: Sequence[float]  # and to be found in the list, polled
    late: int  # notifications that took more than ten seconds
    findings: Sequence[Finding]

    @property
    def finished(self) -> int:
        return sum(flow.failed is None for flow in self.flows)

    @property
    def server_errors(self) -> int:
        return sum(sample.status >= 500 for sample in self.samples)

    @property
    def ok(self) -> bool:
        return self.finished == self.workers and not self.findings

    @property
    def stopping(self) -> Sequence[Finding]:
        """What ends the whole run."""
        return [finding for finding in self.findings if finding.fault in STOPPING]
