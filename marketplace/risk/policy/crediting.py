"""Whether what was seen may be credited: facts in, a verdict out."""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum
from typing import TypeAlias, assert_never

from addresses import same
from marketplace.risk.screening import Clear, Listed, Unavailable, Verdict


class Reason(StrEnum):
    """Why money that came is held for review, or (of the screening alone) why it was not screened."""

    AML_SANCTIONS = "aml_sanctions"
    AML_NOT_REQUIRED = "aml_not_required"
    NO_BUYER_ADDRESS_TO_SCREEN = "no_buyer_address_to_screen"
    CONTRACT_SENDER = "contract_sender"
    INSUFFICIENT_AMOUNT = "insufficient_amount"
    WRONG_TOKEN = "wrong_token"  # noqa: S105 - no password
    WRONG_RECIPIENT = "wrong_recipient"
    WRONG_ASSET = "wrong_asset"
    TRANSFER_NOT_FOUND = "transfer_not_found"
    BROKEN_ANSWER = "broken_answer"
    ANOTHER_RAIL = "another_rail"
    PROOF_MISSING = "proof_missing"
    PROOF_INVALID = "proof_invalid"


@dataclass(frozen=True, slots=True, kw_only=True)
class PaymentFacts:
    """What was agreed; `amount` in base units."""

    chain_id: int
    chain_type: str
    token: str
    destination: str
    amount: int
    confirmations_required: int  # the admin's value or the chain's floor, whichever is higher
    needs_tx_hash: bool = True  # False on the one rail that reads balances and not transfers

    def __post_init__(self) -> None:
        if self.amount <= 0:
            raise ValueError("the price must be greater than zero")


@dataclass(frozen=True, slots=True, kw_only=True)
class Evidence:
    """What the chain showed; `token` None is the chain's own coin, `amount` in base units."""

    chain_id: int
    token: str | None
    destination: str
    amount: int
    confirmations: int
    tx_hash: str | None
    sender: str | None


@dataclass(frozen=True, slots=True, kw_only=True)
class Flags:
    """What the offer and the operator ask for."""

    aml_required: bool = False
    aml_block_on_failure: bool = True
    require_eoa_sender: bool = False


@dataclass(frozen=True, slots=True)
class Approve:
    """It may be credited; `aml` says why that was decided without a clear screening, None after one."""

    aml: Reason | None = None
    detail: str | None = None


@dataclass(frozen=True, slots=True)
class Review:
    """It is kept for a person to look at."""

    reason: Reason
    detail: str


@dataclass(frozen=True, slots=True)
class AwaitConfirmations:
    """It lacks nothing but so many confirmations."""

    missing: int


Gate: TypeAlias = Approve | Review | AwaitConfirmations


def gate(
    payment: PaymentFacts,
    evidence: Evidence,
    screening: Verdict | None,
    sender_is_contract: bool | None,  # noqa: FBT001 - a fact among facts
    flags: Flags,
) -> Gate:
    """
    Decide whether a payment may be credited (docs/marketplace.md).

    `screening` is the worst verdict over all senders; None when nobody was asked, which an offer that
    asks for screening does not accept. `sender_is_contract` None is "cannot be told", which an operator
    who requires plain accounts does not accept either. What does not match is held at once; the sender
    is judged once the payment is deep enough.
    """
    mismatch = _mismatch(payment, evidence)
    if mismatch is not None:
        return mismatch
    if evidence.confirmations < payment.confirmations_required:
        return AwaitConfirmations(payment.confirmations_required - evidence.confirmations)
    if flags.require_eoa_sender and sender_is_contract is not False:
        known = "the sender is a contract" if sender_is_contract else "whether the sender is a contract is not known"
        return Review(Reason.CONTRACT_SENDER, known)
    return _screened(evidence.sender, screening, flags)


def _mismatch(payment: PaymentFacts, evidence: Evidence) -> Review | None:
    """Return in what the evidence differs from what was agreed."""
    if payment.needs_tx_hash and not evidence.tx_hash:
        return Review(Reason.TRANSFER_NOT_FOUND, "there is no transaction hash")
    return _wrong_money(payment, evidence) or _wrong_credit(payment, evidence)


def _wrong_money(payment: PaymentFacts, evidence: Evidence) -> Review | None:
    if evidence.chain_id != payment.chain_id:
        return Review(Reason.WRONG_ASSET, f"on chain {evidence.chain_id} instead of {payment.chain_id}")
    if evidence.token is None:
        return Review(Reason.WRONG_ASSET, "the chain's own coin instead of the token")
    if not same_address(evidence.token, payment.token, payment.chain_type):
        return Review(Reason.WRONG_TOKEN, f"token {evidence.token} instead of {payment.token}")
    return None


def _wrong_credit(payment: PaymentFacts, evidence: Evidence) -> Review | None:
    if not same_address(evidence.destination, payment.destination, payment.chain_type):
        return Review(Reason.WRONG_RECIPIENT, f"to {evidence.destination} instead of {payment.destination}")
    if evidence.amount < payment.amount:
        return Review(Reason.INSUFFICIENT_AMOUNT, f"{evidence.amount} of {payment.amount} base units")
    return None


def _screened(sender: str | None, screening: Verdict | None, flags: Flags) -> Approve | Review:
    """Apply the offer's own wish for screening."""
    if not flags.aml_required:
        return Approve(Reason.AML_NOT_REQUIRED)
    if not sender:
        return _unscreened(Reason.NO_BUYER_ADDRESS_TO_SCREEN, "the sender is not known", flags)
    match screening:
        case Clear():
            return Approve()
        case Listed():
            return Review(Reason.AML_SANCTIONS, f"listed: {screening.entry}")
        case Unavailable():
            return _unscreened(Reason.AML_SANCTIONS, f"could not be screened: {screening.reason}", flags)
        case None:
            return _unscreened(Reason.AML_SANCTIONS, "could not be screened: nobody was asked", flags)
        case _:
            assert_never(screening)


def _unscreened(reason: Reason, detail: str, flags: Flags) -> Approve | Review:
    """Fail closed or open, as the offer says."""
    return Review(reason, detail) if flags.aml_block_on_failure else Approve(reason, detail)


def same_address(one: str, other: str, chain_type: str) -> bool:
    """Say whether two spellings are one account; what is no address of the family equals nothing."""
    return same(chain_type, one, other)
