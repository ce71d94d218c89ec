"""What docs/marketplace.md says of money in escrow, as a model that is small enough to be checked by reading."""

from __future__ import annotations

from dataclasses import dataclass, field

HOUR_MS = 3_600_000
GRACE_MS = 48 * HOUR_MS
OPEN = ("pending", "processing")
PAID = ("funded", "releasable")
DIGITAL = "digital_product"
FINE, CONFLICT = "", "conflict"
WHOLE = 10_000  # basis points


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
    resolved: dict[str, tuple[str, int | None]] = field(default_factory=dict)
    orders: dict[str, str | None] = field(default_factory=dict)  # release, refund: with the transaction that sent it
    entries: list[tuple[str, int]] = field(default_factory=list)

    def sum(self, *kinds: str) -> int:
        return sum(amount for kind, amount in self.entries if kind in kinds)

    @property
    def held(self) -> int:
        return self.sum("hold") - self.sum("release", "refund", "platform_fee")

    @property
    def locked(self) -> int:
        return self.sum("dispute_hold") - self.sum("adjustment")

    @property
    def releasable(self) -> int:
        return self.held - self.locked if self.escrow == "releasable" else 0

    @property
    def split(self) -> bool:
        """Say whether both sides get a part of it, and not every part was sent."""
        return self.escrow == "partial" and self.status == "completed"

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
    fee_bps: int = 0  # frozen when the offer was selected
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
        if pay.ordered in {"refund", "release", "no_action", "split"}:
            return CONFLICT
        pay.dispute = dispute_id
        pay.entries.append(("dispute_hold", pay.held))
        return FINE

    def resolve(self, pay: Pay, dispute_id: str, outcome: str, share: int | None) -> str:
        if dispute_id in pay.resolved:
            return FINE if pay.resolved[dispute_id] == (outcome, share) else CONFLICT
        if share is not None and pay.gone:
            return "reorged"
        pay.resolved[dispute_id] = (outcome, share)
        pay.entries.append(("adjustment", pay.locked))
        pay.dispute, pay.ordered = None, outcome
        if share is not None:
            self._divide(pay, share, "partial")
        elif outcome == "release":
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
        if "release" in pay.orders:
            return FINE  # the same again
        if pay.split:
            return CONFLICT if pay.hold_until > now else self._part(pay, "release")
        blocked = pay.dispute is not None or pay.hold_until > now or pay.ordered == "refund"
        if pay.escrow not in PAID or blocked or (pay.escrow == "funded" and not self.may_release(pay, now)):
            return CONFLICT
        self._divide(pay, 0, "releasing")
        return self._part(pay, "release")

    def refund(self, pay: Pay) -> str:
        if pay.gone:
            return "reorged"
        if "refund" in pay.orders:
            return FINE
        if pay.split:
            return self._part(pay, "refund")
        if pay.escrow not in PAID or pay.dispute is not None or pay.ordered == "release":
            return CONFLICT
        self._divide(pay, WHOLE, "releasing")
        return self._part(pay, "refund")

    def _divide(self, pay: Pay, share: int, escrow: str) -> None:
        """The buyer's share, the fee on what is left, and the rest, each rounded down but the last."""
        buyer = pay.amount * share // WHOLE
        fee = (pay.amount - buyer) * self.fee_bps // WHOLE
        parts = [("refund", buyer), ("platform_fee", fee), ("release", pay.amount - buyer - fee)]
        pay.entries += [(entry, amount) for entry, amount in parts if amount]
        pay.escrow, self.status = escrow, "completed" if pay.sum("release") else "cancelled"

    @staticmethod
    def _part(pay: Pay, order: str) -> str:
        """Order what was booked for one side."""
        if not pay.sum(order):
            return CONFLICT
        pay.orders[order] = None
        return FINE

    def settle(self, pay: Pay, order: str, tx_hash: str) -> str:
        if pay.orders[order] is not None:
            return FINE if pay.orders[order] == tx_hash else CONFLICT
        pay.orders[order] = tx_hash
        if order == "release":
            self.status = "seller_paid"
        if all(pay.orders.get(each) for each in ("release", "refund") if pay.sum(each)):
            if pay.sum("release"):
                pay.escrow = "released"
            else:
                pay.escrow = pay.status = "refunded"
        return FINE

    def hold(self, pay: Pay, until: int) -> str:
        if pay.escrow not in PAID and not pay.split:
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
