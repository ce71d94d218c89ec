"""What words of the backend mean to people, and how good or bad they are."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final

from marketplace.payments.observation import AMOUNT_MISMATCH
from marketplace.payments.unapplied_funds import DOUBLE_CREDIT
from marketplace.risk.policy import BASELINE_MISSING, BASELINE_STALE, Reason

# Why money is held (docs/marketplace.md).
HELD: Final[Mapping[str, str]] = {
    Reason.INSUFFICIENT_AMOUNT: "It is less than the price. The rest may still come.",
    Reason.WRONG_TOKEN: "It is another token than agreed.",
    Reason.WRONG_ASSET: "It is another coin, or another chain, than agreed.",
    Reason.WRONG_RECIPIENT: "It went to another address than agreed.",
    AMOUNT_MISMATCH: "The scanner was told another price. Compare both.",
    Reason.TRANSFER_NOT_FOUND: "It was confirmed without a transaction.",
    DOUBLE_CREDIT: "This transfer paid for something else.",
    Reason.AML_SANCTIONS: "The sender is on the sanctions list, or could not be compared with it.",
    Reason.NO_BUYER_ADDRESS_TO_SCREEN: "The offer asks for screening, and nobody said who the sender is.",
    Reason.CONTRACT_SENDER: "A contract sent it, or nobody could tell.",
    Reason.BROKEN_ANSWER: "The scanner said something that cannot be.",
    Reason.ANOTHER_RAIL: "The scanner told of another kind of payment.",
    Reason.PROOF_MISSING: "Its blocks do not prove it yet, or never will: the evidence says why.",
    Reason.PROOF_INVALID: "What is said to prove it does not. The scanner, or an endpoint, may be lying.",
    BASELINE_MISSING: "There is no earlier balance to compare with.",
    BASELINE_STALE: "Less lies at the address than before.",
}
KINDS: Final[Mapping[str, str]] = {
    **dict.fromkeys(("completed", "released", "ok", "funded", "releasable"), "good"),
    **dict.fromkeys(("failed", "down"), "bad"),
    **dict.fromkeys(("cancelled", "refunded", "degraded", "open", "partial", *HELD), "warn"),
}
