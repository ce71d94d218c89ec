"""What the runner knows and measures: frozen facts, no I/O."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from enum import StrEnum


class FlowFailed(Exception):
    """One worker's scenario did not go as planned; the message says where."""


class FindingKind(StrEnum):
    """Kinds of finding: what must never happen."""

    UNPROVEN = "paid without the right evidence"
    DUPLICATE = "duplicate credit"
    WRONG_RECIPIENT = "notification to the wrong user"
    SERVER_ERRORS = "more than 1 % of the answers were 5xx"
    BACKLOG = "a backlog that does not drain"
    LEAK = "one worker saw another's"
    LEDGER = "ledger inconsistency"
    FLOW = "flow not finished"
    REPEATED = "notified twice"
    NOT_NOTIFIED = "live and listed notifications differ"
    GOODS = "a good, or an order, that is two or nobody's"


# The run ends with the level that shows one of these; the others are reported at its end.
STOPPING = frozenset(
    {
        FindingKind.UNPROVEN,
        FindingKind.DUPLICATE,
        FindingKind.WRONG_RECIPIENT,
        FindingKind.GOODS,
        FindingKind.SERVER_ERRORS,
        FindingKind.BACKLOG,
    }
)


@dataclass(frozen=True, slots=True)
class Finding:
    """One thing that is wrong."""

    kind: FindingKind
    detail: str


@dataclass(frozen=True, slots=True)
class CallSample:
    """One answered (or failed) call; `status` 0 is no answer at all."""

    operation: str
    seconds: float
    status: int


@dataclass(frozen=True, slots=True)
class Notification:
    """A notification as one user received it; `latency_s` is None where it was read from the list."""

    id: str
    user_id: str
    type: str
    about: str
    latency_s: float | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Purchase:
    """Who is who in one worker's scenario, and what they made. It grows step by step, by `replace`."""

    worker: int
    buyer: str
    sellers: Sequence[str]
    request_id: str = ""
    offers: Mapping[str, str] = field(default_factory=dict)  # offer id to its seller
    winner: str = ""
    payment_id: str = ""
    dispute_id: str = ""
    stocks: Mapping[str, str] = field(default_factory=dict)  # stock id to its seller


@dataclass(frozen=True, slots=True)
class CreditedTransfer:
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
class ExpectedPayment:
    """What was agreed: the price in base units, in which token, where, from whose wallet."""

    chain_id: int
    token: str
    amount: int
    wallet: str


@dataclass(frozen=True, slots=True)
class FlowResult:
    """How one worker's scenario ended."""

    purchase: Purchase
    seconds: float
    failed: str | None
    findings: Sequence[Finding]


@dataclass(frozen=True, slots=True, kw_only=True)
class LevelResult:
    """What one number of simultaneous workers showed."""

    workers: int
    seconds: float
    flows: Sequence[FlowResult]
    samples: Sequence[CallSample]
    live_s: Sequence[float]  # how long each notification took on the live stream
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
        return [finding for finding in self.findings if finding.kind in STOPPING]
