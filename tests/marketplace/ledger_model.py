"""What docs/marketplace.md says of money in escrow, as a model that is small enough to be checked by reading."""

from __future__ import annotations

from dataclasses import dataclass, field

HOUR_MS = 3_600_000
GRACE_MS = 48 * HOUR_MS
OPEN = ("pending", "processing")
PAID = ("funded", "releasable")
DIGITAL = "digital_product"
FINE, CONFLICT = "", "conflict"


@dataclass
class Pay:
    """One pay-in: where it stands, and what the ledger has to say of it."""

    id: str
    rail: str
    amount: int
    expires_at: int
    status: str = "pending"
    escrow: str | None = None
    held_for_review: bool = False
    hold_until: int = 0
    ordered: str | None = None
    gone: bool = False  # told as reorged after it was credited, and not cleared yet
    dispute: str | None = None  # the open one
    resolved: dict[str, str] = field(default_factory=dict)
    order: str | None = None  # release or refund
    sent_in: str | None = None
    entries: list[tuple[str, int]] = field(default_factory=list)

    def sum(self, *kinds: str) -> int:
        return sum(amount for kind, amount in self.entries if kind in kinds)

    @property
    def held(self) -> int:
        return self.sum("hold") - self.sum("release", "refund")

    @property
    def locked(self) -> int:
        return self.sum("dispute_hold") - self.sum("adjustment")

    @property
    def releasable(self) -> int:
        return self.held - self.locked if self.escrow == "releasable" else 0

    @property
    def available(self) -> int:
        return self.sum("payment_detected") - self.sum("hold")

    def is_over(self, now: int) -> bool:
        """Say whether its time is up and nothing is on its way."""
        waits = self.status == "pending" or self.escrow == "partial"
        return self.status in OPEN and waits and not self.held_for_review and self.expires_at <= now


@dataclass
class ModelPurchase:
    """A request whose offer was accepted, and every payment that was tried for it."""

    request_id: str
    product: str
    status: str = "payment"
    delivered_at: int | None = None
    confirmed: bool = False
    pays: list[Pay] = field(default_factory=list)

    @property
    def live(self) -> Pay | None:
        """The one pay-in that is open or was paid."""
        return next((pay for pay in self.pays if pay.status in {*OPEN, "completed"}), None)

    # -- money in

    def opening(self, rail: str) -> str:
        """One pay-in a request: the open one again, or nothing."""
        if self.live is not None:
            return FINE if self.live.status in OPEN and self.live.rail == rail else CONFLICT
        return FINE if self.status == "payment" else CONFLICT

    def observed(self, pay: Pay, received: int, *, fits: bool = True) -> None:
        """The reported money is said to be all: credited once, or held for review."""
        if pay.status not in OPEN:
            return
        if received < pay.amount or not fits:
            pay.status, pay.held_for_review = "processing", True
            return
        pay.status, pay.escrow, pay.held_for_review = "completed", "funded", False
        pay.entries += [("payment_detected", received), ("hold", pay.amount)]
        if self.status == "payment":
            self.status = "processing"

    def partly(self, pay: Pay) -> None:
        """Part of it was reported."""
        if pay.status in OPEN and not pay.held_for_review:
            pay.status, pay.escrow = "processing", "partial"

    def balance(self, pay: Pay, grown: int) -> None:
        """The address of the payment holds so much more than before it was shown."""
        if grown >= pay.amount:
            self.observed(pay, grown)
        elif grown > 0:
            self.partly(pay)
        elif pay.status in OPEN and not pay.held_for_review:
            pay.status, pay.escrow = "pending", None

    def cancel(self, pay: Pay, *, admin: bool, scanner_has_it: bool) -> str:
        """What nobody paid may be given up; what is held, by an admin."""
        if pay.status not in OPEN or (pay.held_for_review and not admin):
            return CONFLICT
        waits = pay.status == "pending" or pay.escrow == "partial" or pay.held_for_review
        if not waits or (scanner_has_it and not pay.held_for_review):
            return CONFLICT
        self.close(pay)
        return FINE

    def close(self, pay: Pay) -> None:
        pay.status = pay.escrow = "cancelled"

    # -- delivery

    def deliver(self, now: int) -> str:
        if self.status not in {"processing", "delivery"}:
            return CONFLICT
        self.status, self.delivered_at = "delivery", self.delivered_at or now
        return FINE

    def confirm(self, now: int) -> str:
        if self.confirmed:
            return FINE
        pay = self.live
        paid = pay is not None and pay.escrow is not None and pay.status == "completed"
        if pay is None or not paid or pay.ordered == "refund":
            return CONFLICT
        if self.status not in {"processing", "delivery", "delivered"}:
            return CONFLICT
        self.status, self.confirmed, self.delivered_at = "delivered", True, self.delivered_at or now
        if pay.escrow == "funded":
            pay.escrow = "releasable"
        return FINE

    # -- disputes

    def dispute(self, dispute_id: str) -> str:
        pay = self.live
        if pay is None or pay.escrow not in PAID or pay.dispute is not None:
            return CONFLICT
        if pay.ordered in {"refund", "release", "no_action"}:
            return CONFLICT
        pay.dispute = dispute_id
        pay.entries.append(("dispute_hold", pay.held))
        return FINE

    def resolve(self, pay: Pay, dispute_id: str, outcome: str) -> str:
        if dispute_id in pay.resolved:
            return FINE if pay.resolved[dispute_id] == outcome else CONFLICT
        pay.resolved[dispute_id] = outcome
        pay.entries.append(("adjustment", pay.locked))
        pay.dispute, pay.ordered = None, outcome
        if outcome == "release":
            pay.escrow = "releasable"
        elif outcome in {"refund", "replacement"}:
            pay.escrow = "funded"
        if outcome == "replacement" and self.status in {"delivery", "delivered"}:
            self.status, self.confirmed, self.delivered_at = "processing", False, None
        return FINE

    # -- money out

    def may_release(self, pay: Pay, now: int) -> bool:
        """A dispute or a hold blocks it; else the buyer's word or, but for digital goods, the grace period."""
        if pay.dispute is not None or pay.hold_until > now or pay.ordered == "refund":
            return False
        waited = self.delivered_at is not None and self.delivered_at + GRACE_MS <= now
        return self.confirmed or (waited and self.product != DIGITAL)

    def release(self, pay: Pay, now: int) -> str:
        if pay.gone:
            return "reorged"
        if pay.order == "release":
            return FINE  # the same again
        blocked = pay.dispute is not None or pay.hold_until > now or pay.ordered == "refund"
        if pay.escrow not in PAID or blocked or (pay.escrow == "funded" and not self.may_release(pay, now)):
            return CONFLICT
        self._empty(pay, "release", "completed")
        return FINE

    def refund(self, pay: Pay) -> str:
        if pay.gone:
            return "reorged"
        if pay.order == "refund":
            return FINE
        if pay.escrow not in PAID or pay.dispute is not None or pay.ordered == "release":
            return CONFLICT
        self._empty(pay, "refund", "cancelled")
        return FINE

    def _empty(self, pay: Pay, order: str, status: str) -> None:
        pay.order, pay.escrow = order, "releasing"
        pay.entries.append((order, pay.amount))
        self.status = status

    def settle(self, pay: Pay, tx_hash: str) -> str:
        if pay.sent_in is not None:
            return FINE if pay.sent_in == tx_hash else CONFLICT
        pay.sent_in = tx_hash
        if pay.order == "release":
            pay.escrow, self.status = "released", "seller_paid"
        else:
            pay.escrow = pay.status = "refunded"
        return FINE

    def hold(self, pay: Pay, until: int) -> str:
        if pay.escrow not in PAID:
            return CONFLICT
        pay.hold_until = until
        return FINE

    def pass_grace(self, now: int) -> None:
        """Time does what a buyer did not."""
        pay = self.live
        if pay is None or pay.escrow != "funded" or self.status not in {"delivery", "delivered"}:
            return
        if self.may_release(pay, now) and not pay.gone:
            pay.escrow, self.status = "releasable", "delivered"
