"""What a buyer is told of a payment: pure decisions, no I/O (docs/payment-page.md)."""

from __future__ import annotations

import json
from typing import NamedTuple, assert_never

from protocol.words import PaymentState
from scanner.model import Intent, IntentStatus, StoredTransfer

PAYABLE = frozenset({PaymentState.WAITING, PaymentState.PARTIAL})


class PageTexts(NamedTuple):
    """What the backend wants the page to show beside the payment."""

    title: str | None = None
    description: str | None = None
    redirect_url: str | None = None
    locale: str | None = None


class Payment(NamedTuple):
    """A payment as its page shows it; two that are equal look the same."""

    intent: Intent
    state: PaymentState
    transfers: tuple[StoredTransfer, ...] = ()  # of those that concern the buyer, the newest

    @property
    def missing(self) -> int:
        """What is still to be paid, in base units."""
        return max(0, self.intent.amount - self.intent.amount_received)

    @property
    def surplus(self) -> int:
        """What was paid beyond the amount, in base units."""
        return max(0, self.intent.amount_received - self.intent.amount)

    @property
    def texts(self) -> PageTexts:
        said = json.loads(self.intent.request).get("checkout") or {}
        return PageTexts(said.get("title"), said.get("description"), said.get("redirectUrl"), said.get("locale"))


def state_of(intent: Intent, *, came_late: bool, now_ms: int) -> PaymentState:
    """Return where a payment stands; `came_late` says that money came after its time."""
    match intent.status:
        case IntentStatus.CONFIRMED | IntentStatus.WEBHOOK_FAILED:  # whether a backend was told is not the buyer's
            # It stays confirmed when a reorganisation takes its money (docs/events.md); what it received does not.
            return PaymentState.PAID if intent.amount_received >= intent.amount else PaymentState.REORGED
        case IntentStatus.CONFIRMING:
            # Where positions are no blocks there is no depth to tell of.
            return PaymentState.CONFIRMING if intent.confirmations else PaymentState.SEEN
        case IntentStatus.PENDING:
            return _waiting(intent, now_ms)
        case IntentStatus.EXPIRED:
            if intent.cancelled_at is not None:
                return PaymentState.CANCELLED
            return PaymentState.LATE if came_late else PaymentState.EXPIRED
        case _:
            assert_never(intent.status)


def _waiting(intent: Intent, now_ms: int) -> PaymentState:
    # What was paid in time counts whenever it is seen, so it is not expired yet; but nobody should pay any more.
    if intent.expires_at is not None and now_ms >= intent.expires_at:
        return PaymentState.TIME_UP
    return PaymentState.PARTIAL if intent.amount_received else PaymentState.WAITING
