"""Which part of the money that came may be credited, by who sent it: facts in, a decision out."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from marketplace.risk.policy.crediting import Flags, Reason
from marketplace.risk.screening import Clear, Listed, Unavailable, Verdict


@dataclass(frozen=True, slots=True)
class Part:
    """Money of one sender; None is nobody that is known."""

    sender: str | None
    amount: int


@dataclass(frozen=True, slots=True)
class SenderFacts:
    """What was found out about a sender; `contract` None is "cannot be told"."""

    screening: Verdict | None = None
    contract: bool | None = None


@dataclass(frozen=True, slots=True)
class Weighed:
    """
    What the senders allow.

    Attributes:
        accepted: how much may be credited.
        refused: how much may not, by the reason.
        doubt: what is said of the payment when `accepted` is too little; None when every sender is accepted.
        facts: of the sender behind `doubt`, or of the least certain one that is accepted.
        may_change: whether knowing more about senders nobody could judge could make it enough.
    """

    accepted: int
    refused: Mapping[Reason, int]
    doubt: Reason | None
    facts: SenderFacts
    may_change: bool


WORST = (Reason.AML_SANCTIONS, Reason.CONTRACT_SENDER, Reason.NO_BUYER_ADDRESS_TO_SCREEN)


def weigh(parts: Sequence[Part], facts: Mapping[str, SenderFacts], price: int, flags: Flags) -> Weighed:
    """
    Add up what clear senders paid.

    Dust from a listed address or a contract does not hold the rest, and dust from accepted ones never clears it:
    what is accepted has to reach the price by itself.
    """
    accepted, unsure, refused = 0, 0, dict[Reason, int]()
    behind: dict[Reason, SenderFacts] = {}
    least_certain = SenderFacts(screening=Clear(), contract=False)
    for part in parts:
        about = SenderFacts() if part.sender is None else facts.get(part.sender, SenderFacts())
        reason = refusal(part.sender, about, flags)
        if reason is None:
            accepted += part.amount
            if not isinstance(about.screening, Clear):
                least_certain = about
            continue
        refused[reason] = refused.get(reason, 0) + part.amount
        if reason not in behind or isinstance(about.screening, Listed):
            behind[reason] = about
        unsure += part.amount if _is_unsure(about) else 0
    doubt = next((reason for reason in WORST if reason in refused), None)
    return Weighed(
        accepted=accepted,
        refused=refused,
        doubt=doubt,
        facts=least_certain if doubt is None or accepted >= price else behind[doubt],
        may_change=accepted < price <= accepted + unsure,
    )


def refusal(sender: str | None, about: SenderFacts, flags: Flags) -> Reason | None:
    """Return why money of this sender is not accepted; None when it is."""
    if flags.aml_required and isinstance(about.screening, Listed):
        return Reason.AML_SANCTIONS
    if flags.require_eoa_sender and about.contract is not False:
        return Reason.CONTRACT_SENDER
    if not flags.aml_required or isinstance(about.screening, Clear) or not flags.aml_block_on_failure:
        return None
    return Reason.NO_BUYER_ADDRESS_TO_SCREEN if sender is None else Reason.AML_SANCTIONS


def _is_unsure(about: SenderFacts) -> bool:
    """Say whether asking again may end otherwise."""
    listed, contract = isinstance(about.screening, Listed), about.contract is True
    return not listed and not contract and (isinstance(about.screening, Unavailable) or about.contract is None)
