"""The end of payments whose time is up: only once the chain and the provider show that nothing is on its way."""

from __future__ import annotations

from clients.python.amn_scanner_client import Conflict, NotFound
from marketplace.model import EscrowState, Payment, PaymentStatus, Rail, StopReason
from marketplace.payments.checkout import found_payment
from marketplace.payments.providers import Providers
from marketplace.payments.settlement import close_payment
from marketplace.payments.verification import PaymentVerifier
from marketplace.store import locks
from marketplace.unit_of_work import UnitOfWorkFactory


class Expiry:
    """Looks at payments once more, and ends those that nobody paid."""

    def __init__(self, units: UnitOfWorkFactory, providers: Providers, verifier: PaymentVerifier) -> None:
        self._units = units
        self._providers = providers
        self._verifier = verifier

    async def look(self, payment: Payment) -> None:
        """
        Look at a payment, and end it when its time is up and nothing is on its way.

        Raises:
            ScannerUnavailable, ScannerRefused: nothing was learned.
        """
        if payment.registered_at is None and self._is_over(payment):
            await self._expire(payment.id)  # nobody was ever shown where to pay
            return
        now = (await self._verifier.verify_payment(payment, thoroughly=False)).payment
        if not self._is_over(now):
            return
        if now.rail is Rail.DIRECT_BALANCE or await self._provider_agrees(now):
            await self._expire(now.id)

    def _is_over(self, payment: Payment) -> bool:
        """Say whether the time is up and nothing is on its way."""
        late = payment.expires_at is not None and payment.expires_at <= self._units.clock.now_ms()
        nothing_coming = payment.status is PaymentStatus.PENDING or payment.escrow_state is EscrowState.PARTIAL
        return late and payment.is_open and nothing_coming and payment.hold_reason is None

    async def _expire(self, payment_id: str) -> None:
        async with self._units.begin(locks.request_of_payment(payment_id)) as work:
            payment = await found_payment(work.tx, payment_id)
            if self._is_over(payment):  # still: a webhook may have come meanwhile
                await close_payment(work, payment, StopReason.EXPIRED, "expired")
                work.notify_of_payment(
                    [payment.buyer_id], payment, "payment_expired", f"Payment {payment.ref} has expired"
                )

    async def _provider_agrees(self, payment: Payment) -> bool:
        """Say whether its provider expects nothing any more: what it confirms just now is in time."""
        try:
            await self._providers.of(payment).cancel(payment)
        except Conflict:
            return False
        except NotFound:
            return True
        return True
