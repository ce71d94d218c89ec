"""Whether a seller may be paid."""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum
from typing import assert_never

from kernel.clock import HOUR_MS
from marketplace.model import ProductType


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
    Decide whether a seller is paid without anybody's word (docs/marketplace.md). Times in unix ms.

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
