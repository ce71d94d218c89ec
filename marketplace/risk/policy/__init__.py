"""The marketplace's rules about money as pure decisions: facts in, a verdict out, no I/O."""

from __future__ import annotations

from marketplace.risk.policy.balance import (
    ADDRESS_TOKEN_MISMATCH,
    BASELINE_MISSING,
    BASELINE_STALE,
    Account,
    DirectBalance,
    direct_balance,
    paid,
    same_account,
)
from marketplace.risk.policy.crediting import (
    Approve,
    AwaitConfirmations,
    Evidence,
    Flags,
    Gate,
    PaymentFacts,
    Reason,
    Review,
    gate,
    same_address,
)
from marketplace.risk.policy.release import ReleaseDecision, ReleaseReason, release_block, release_decision
from marketplace.risk.policy.weighing import Part, SenderFacts, Weighed, refusal, weigh

__all__ = [
    "ADDRESS_TOKEN_MISMATCH",
    "BASELINE_MISSING",
    "BASELINE_STALE",
    "Account",
    "Approve",
    "AwaitConfirmations",
    "DirectBalance",
    "Evidence",
    "Flags",
    "Gate",
    "Part",
    "PaymentFacts",
    "Reason",
    "ReleaseDecision",
    "ReleaseReason",
    "Review",
    "SenderFacts",
    "Weighed",
    "direct_balance",
    "gate",
    "paid",
    "refusal",
    "release_block",
    "release_decision",
    "same_account",
    "same_address",
    "weigh",
]
