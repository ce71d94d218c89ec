"""
The marketplace's rules about money as pure decisions: facts in, a verdict out, no I/O.

Whether a payment may be credited, whether a balance has grown enough, whether a seller may be paid.
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum
from typing import TypeAlias, assert_never

from marketplace.model import ProductType
from marketplace.screening import Clear, Listed, Unavailable, Verdict, canonical_address

HOUR_MS = 3_600_000


# -- may it be credited? -----------------------------------------------------------------------------


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
            raise ValueError("a payment of nothing would be paid by anything")


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
class Pass:
    """It may be credited; `aml` says why that was decided without a clear screening, None after one."""

    aml: Reason | None = None
    detail: str | None = None


@dataclass(frozen=True, slots=True)
class Hold:
    """It is kept for a person to look at."""

    reason: Reason
    detail: str


@dataclass(frozen=True, slots=True)
class Wait:
    """It lacks nothing but so many confirmations."""

    missing: int


Gate: TypeAlias = Pass | Hold | Wait


def gate(
    payment: PaymentFacts,
    evidence: Evidence,
    screening: Verdict | None,
    sender_is_contract: bool | None,  # noqa: FBT001 - a fact among facts
    flags: Flags,
) -> Gate:
    """
    Decide whether a payment may be credited (marketplace.md section 3).

    `screening` is the worst verdict over all senders; None when nobody was asked, which an offer that
    asks for screening does not accept. `sender_is_contract` None is "cannot be told", which an operator
    who requires plain accounts does not accept either. What does not match is held at once; the sender
    is judged once the payment is deep enough.
    """
    mismatch = _mismatch(payment, evidence)
    if mismatch is not None:
        return mismatch
    if evidence.confirmations < payment.confirmations_required:
        return Wait(payment.confirmations_required - evidence.confirmations)
    if flags.require_eoa_sender and sender_is_contract is not False:
        known = "the sender is a contract" if sender_is_contract else "whether the sender is a contract is not known"
        return Hold(Reason.CONTRACT_SENDER, known)
    return _screened(evidence.sender, screening, flags)


def _mismatch(payment: PaymentFacts, evidence: Evidence) -> Hold | None:
    """Return in what the evidence differs from what was agreed."""
    if payment.needs_tx_hash and not evidence.tx_hash:
        return Hold(Reason.TRANSFER_NOT_FOUND, "there is no transaction hash")
    return _wrong_money(payment, evidence) or _wrong_credit(payment, evidence)


def _wrong_money(payment: PaymentFacts, evidence: Evidence) -> Hold | None:
    if evidence.chain_id != payment.chain_id:
        return Hold(Reason.WRONG_ASSET, f"on chain {evidence.chain_id} instead of {payment.chain_id}")
    if evidence.token is None:
        return Hold(Reason.WRONG_ASSET, "the chain's own coin instead of the token")
    if not same_address(evidence.token, payment.token, payment.chain_type):
        return Hold(Reason.WRONG_TOKEN, f"token {evidence.token} instead of {payment.token}")
    return None


def _wrong_credit(payment: PaymentFacts, evidence: Evidence) -> Hold | None:
    if not same_address(evidence.destination, payment.destination, payment.chain_type):
        return Hold(Reason.WRONG_RECIPIENT, f"to {evidence.destination} instead of {payment.destination}")
    if evidence.amount < payment.amount:
        return Hold(Reason.INSUFFICIENT_AMOUNT, f"{evidence.amount} of {payment.amount} base units")
    return None


def _screened(sender: str | None, screening: Verdict | None, flags: Flags) -> Pass | Hold:
    """Apply the offer's own wish for screening."""
    if not flags.aml_required:
        return Pass(Reason.AML_NOT_REQUIRED)
    if not sender:
        return _unscreened(Reason.NO_BUYER_ADDRESS_TO_SCREEN, "the sender is not known", flags)
    match screening:
        case Clear():
            return Pass()
        case Listed():
            return Hold(Reason.AML_SANCTIONS, f"listed: {screening.entry}")
        case Unavailable():
            return _unscreened(Reason.AML_SANCTIONS, f"could not be screened: {screening.reason}", flags)
        case None:
            return _unscreened(Reason.AML_SANCTIONS, "could not be screened: nobody was asked", flags)
        case _:
            assert_never(screening)


def _unscreened(reason: Reason, detail: str, flags: Flags) -> Pass | Hold:
    """Fail closed or open, as the offer says."""
    return Hold(reason, detail) if flags.aml_block_on_failure else Pass(reason, detail)


def same_address(one: str, other: str, chain_type: str) -> bool:
    """Say whether two spellings are one account; what is no address of the family equals nothing."""
    canonical = canonical_address(one, chain_type)
    return canonical is not None and canonical == canonical_address(other, chain_type)


# -- has the balance grown enough? -------------------------------------------------------------------

ADDRESS_TOKEN_MISMATCH = "address-token-mismatch"  # noqa: S105 - no password
BASELINE_MISSING = "baseline-missing"
BASELINE_STALE = "baseline-stale"  # less lies there than when it was read: by how much it grew cannot be told


@dataclass(frozen=True, slots=True, kw_only=True)
class Account:
    """Whose balance of what; `token` None is the chain's own coin."""

    chain_id: int
    token: str | None
    address: str


@dataclass(frozen=True, slots=True)
class DirectBalance:
    """What a balance says of a payment; `delta` and `expected` in base units, `reason` None when paid."""

    paid: bool
    delta: int
    expected: int
    reason: str | None

    @property
    def shortfall(self) -> int:
        return max(0, self.expected - self.delta)


def paid(baseline: int | None, current: int, expected: int) -> DirectBalance:
    """
    Decide by how much a balance has grown since its stored baseline.

    Without a baseline nothing is paid: what was there before is not the buyer's.

    Raises:
        ValueError: nothing was expected, or a balance is negative: then anything would be paid.
    """
    if expected <= 0 or current < 0 or (baseline is not None and baseline < 0):
        raise ValueError("expected must be above zero, balances zero or more")
    if baseline is None:
        return DirectBalance(paid=False, delta=0, expected=expected, reason=BASELINE_MISSING)
    delta = current - baseline
    if delta >= expected:
        return DirectBalance(paid=True, delta=delta, expected=expected, reason=None)
    return DirectBalance(
        paid=False, delta=delta, expected=expected, reason=f"underpaid:delta={delta},expected={expected}"
    )


def direct_balance(
    agreed: Account, seen: Account, chain_type: str, *, baseline: int | None, current: int, expected: int
) -> DirectBalance:
    """Decide the same, after chain, token and address were compared: a balance of something else says nothing."""
    if not _same_account(agreed, seen, chain_type):
        return DirectBalance(paid=False, delta=0, expected=expected, reason=ADDRESS_TOKEN_MISMATCH)
    return paid(baseline, current, expected)


def _same_account(agreed: Account, seen: Account, chain_type: str) -> bool:
    if agreed.token is None or seen.token is None:
        same_token = agreed.token is seen.token
    else:
        same_token = same_address(agreed.token, seen.token, chain_type)
    return agreed.chain_id == seen.chain_id and same_token and same_address(agreed.address, seen.address, chain_type)


# -- may the seller be paid? -------------------------------------------------------------------------


class ReleaseReason(StrEnum):
    """Why money may or may not go to the seller."""

    CONFIRMED = "confirmed"
    GRACE_OVER = "grace_over"
    DISPUTE_OPEN = "dispute_open"
    ON_HOLD = "on_hold"
    NOT_DELIVERED = "not_delivered"
    NOT_CONFIRMED = "not_confirmed"


@dataclass(frozen=True, slots=True)
class ReleaseDecision:
    """Whether the seller may be paid now; `ask_again_at` (unix ms) is when time alone may change a no."""

    allowed: bool
    reason: ReleaseReason
    ask_again_at: int | None = None


def release_block(*, dispute_open: bool, hold_until: int | None, now: int) -> ReleaseDecision | None:
    """Return what forbids any release, an admin's too; None when nothing does. Times in unix ms."""
    if dispute_open:
        return ReleaseDecision(allowed=False, reason=ReleaseReason.DISPUTE_OPEN)
    if hold_until is not None and hold_until > now:
        return ReleaseDecision(allowed=False, reason=ReleaseReason.ON_HOLD, ask_again_at=hold_until)
    return None


def release_decision(
    product_type: ProductType,
    *,
    delivered_at: int | None,
    confirmed_at: int | None,
    dispute_open: bool,
    hold_until: int | None,
    now: int,
    grace_h: float,
) -> ReleaseDecision:
    """
    Decide whether a seller is paid without anybody's word (marketplace.md section 5). Times in unix ms.

    Confirmed (by the buyer, an admin or the delivery code): at once, whatever was sold. Delivered and
    not confirmed: goods and work that can be seen to have arrived, once the grace period has passed
    without a dispute; digital goods never, since nothing but the buyer's acceptance shows that they came.
    """
    block = release_block(dispute_open=dispute_open, hold_until=hold_until, now=now)
    if block is not None:
        return block
    if confirmed_at is not None:
        return ReleaseDecision(allowed=True, reason=ReleaseReason.CONFIRMED)
    if delivered_at is None:
        return ReleaseDecision(allowed=False, reason=ReleaseReason.NOT_DELIVERED)
    return _after_grace(product_type, delivered_at + int(grace_h * HOUR_MS), now)


def _after_grace(product_type: ProductType, ends: int, now: int) -> ReleaseDecision:
    match product_type:
        case ProductType.DIGITAL:
            return ReleaseDecision(allowed=False, reason=ReleaseReason.NOT_CONFIRMED)
        case ProductType.PHYSICAL | ProductType.SERVICE | ProductType.CONSULTATION:
            if now >= ends:
                return ReleaseDecision(allowed=True, reason=ReleaseReason.GRACE_OVER)
            return ReleaseDecision(allowed=False, reason=ReleaseReason.NOT_CONFIRMED, ask_again_at=ends)
        case _:
            assert_never(product_type)
