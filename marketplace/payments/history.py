"""Payments as people see them: shown, listed, cancelled, and kept an eye on."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from dataclasses import dataclass

from clients.python.amn_scanner_client import Conflict, NotFound, ScannerRefused, ScannerUnavailable
from marketplace.errors import conflict, forbidden
from marketplace.model import (
    Actor,
    CommandKind,
    Direction,
    EscrowState,
    Page,
    Payment,
    PaymentStatus,
    Provider,
    Rail,
    Role,
    StopReason,
)
from marketplace.payments.checkout import found_payment
from marketplace.payments.escrow import agreed_fee
from marketplace.payments.ledger import Balances, balances
from marketplace.payments.providers import Providers
from marketplace.payments.settlement import close_payment
from marketplace.store import inbox, ledger, locks, outbox, payments, quotes
from marketplace.store.inbox import UnappliedFunds
from marketplace.store.ledger import Line
from marketplace.store.quotes import PaymentQuote
from marketplace.unit_of_work import UnitOfWorkFactory


@dataclass(frozen=True, slots=True)
class PaymentView:
    """A payment with what the ledger says of it."""

    payment: Payment
    balances: Balances
    lines: list[Line]
    fee_bps: int  # agreed with the offer
    quote: PaymentQuote | None = None


class PaymentHistory:
    """Use cases of payments that are there."""

    def __init__(self, units: UnitOfWorkFactory, providers: Providers) -> None:
        self._units = units
        self._providers = providers

    async def show(self, actor: Actor, payment_id: str) -> PaymentView:
        """Return a payment to its two sides and to those who settle."""
        async with self._units.db.read() as tx:
            payment = await found_payment(tx, payment_id)
            concerned = {payment.buyer_id, payment.seller_id}
            if actor.user_id not in concerned and actor.role not in {Role.ADMIN, Role.RESOLVER}:
                raise forbidden("this payment is somebody else's")
            lines = await ledger.lines(tx, payment_id)
            fee_bps, quote = await agreed_fee(tx, payment), await quotes.of_payment(tx, payment_id)
            return PaymentView(payment, balances(lines), lines, fee_bps, quote)

    async def named(self, payment_ids: Collection[str]) -> Mapping[str, Payment]:
        """Return payments by their ids."""
        async with self._units.db.read() as tx:
            return await payments.by_ids(tx, payment_ids)

    async def history(self, actor: Actor, role: str, page: Page) -> tuple[list[Payment], int]:
        """Return the actor's own payments; all of everybody's to an admin."""
        everybody = actor.is_admin and role == "all"
        async with self._units.db.read() as tx:
            return await payments.history(tx, None if everybody else actor.user_id, role, page)

    async def awaiting(self, page: Page) -> tuple[list[Payment], int]:
        async with self._units.db.read() as tx:
            return await payments.awaiting(tx, page)

    async def recoveries(self, page: Page) -> tuple[list[UnappliedFunds], int]:
        async with self._units.db.read() as tx:
            return await inbox.all_recoveries(tx, page)

    async def cancel(self, actor: Actor, payment_id: str) -> Payment:
        """Give up an open payment nobody has paid; an admin also one that is held."""
        async with self._units.db.read() as tx:
            payment = await found_payment(tx, payment_id)
        if payment.buyer_id != actor.user_id and not actor.is_admin:
            raise forbidden("this payment is somebody else's")
        self._refuse_on_its_way(actor, payment)
        if payment.rail is not Rail.DIRECT_BALANCE and payment.hold_reason is None:
            await self._ask_provider(payment)
        async with self._units.begin(locks.request_of_payment(payment_id)) as work:
            now = await found_payment(work.tx, payment_id)
            self._refuse_on_its_way(actor, now)
            await close_payment(work, now, StopReason.CANCELLED, f"cancelled by the {actor.role}")
            return await found_payment(work.tx, payment_id)

    async def stop_watch(self, payment_id: str) -> Payment:
        """Stop the scanner's looking at an address, by hand."""
        async with self._units.begin(locks.request_of_payment(payment_id)) as work:
            payment = await found_payment(work.tx, payment_id)
            if payment.provider_payment_id is None or payment.rail is not Rail.DIRECT_BALANCE:
                raise conflict("this payment has no watch")
            if payment.stop_reason is None:
                await payments.set_observed(work.tx, payment_id, work.now, stop_reason=StopReason.MANUAL)
            await outbox.add(work.tx, CommandKind.STOP_WATCH, payment_id, now=work.now)
            work.commands = True
            return await found_payment(work.tx, payment_id)

    @staticmethod
    def _refuse_on_its_way(actor: Actor, payment: Payment) -> None:
        if payment.direction is not Direction.IN or not payment.is_open:
            raise conflict(f"the payment is {payment.status}", status=payment.status)
        partial = payment.escrow_state is EscrowState.PARTIAL
        held = payment.hold_reason is not None
        if held and not actor.is_admin:
            raise conflict("the payment is held for review", status=payment.status)
        if payment.status is not PaymentStatus.PENDING and not partial and not held:
            raise conflict(f"the payment is {payment.status} and cannot be cancelled", status=payment.status)

    async def _ask_provider(self, payment: Payment) -> None:
        """Let its provider say whether money is on its way; when it cannot, what comes later is found as late."""
        try:
            await self._providers.of(payment).cancel(payment)
        except Conflict as exc:
            who = "the scanner" if payment.provider is Provider.SCANNER else payment.provider
            raise conflict(f"{who} has seen a transfer: too late to cancel", status=payment.status) from exc
        except (NotFound, ScannerUnavailable, ScannerRefused):
            return  # the command that `close` leaves behind asks again
