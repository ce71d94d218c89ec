"""The marketplace's rules about money as pure decisions: facts in, a verdict out, no I/O."""

from __future__ import annotations

from marketplace.policy.balance import (
    ADDRESS_TOKEN_MISMATCH,
    BASELINE_MISSING,
    BASELINE_STALE,
    Account,
    DirectBalance,
    direct_balance,
    paid,
)
from marketplace.policy.crediting import (
    Evidence,
    Flags,
    Gate,
    Hold,
    Pass,
    PaymentFacts,
    Reason,
    Wait,
    gate,
    same_address,
)
from marketplace.policy.release import ReleaseDecision, ReleaseReason, release_block, release_decision

__all__ = [
    "ADDRESS_TOKEN_MISMATCH",
    "BASELINE_MISSING",
    "BASELINE_STALE",
    "Account",
    "DirectBalance",
    "Evidence",
    "Flags",
    "Gate",
    "Hold",
    "Pass",
    "PaymentFacts",
    "Reason",
    "ReleaseDecision",
    "ReleaseReason",
    "Wait",
    "direct_balance",
    "gate",
    "paid",
    "release_block",
    "release_decision",
    "same_address",
]
