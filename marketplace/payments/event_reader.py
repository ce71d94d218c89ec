"""What an event shows of money: read from the event itself, or from the scanner where the event does not say all."""

from __future__ import annotations

import logging
from dataclasses import dataclass

from clients.python.amn_scanner_client import (
    BalanceEvent,
    Event,
    IntentEvent,
    NotFound,
    ScannerRefused,
    ScannerUnavailable,
    Transfer,
)
from marketplace.catalog import Catalog
from marketplace.model import OPEN_PAYMENTS, Payment, PaymentStatus, Rail
from marketplace.payments.observation import (
    KEYLESS,
    BrokenList,
    PaymentObservation,
    behind_balance,
    from_balance_event,
    from_event,
    is_about_it,
    is_whole,
)
from marketplace.payments.scanner_provider import ScannerProvider
from marketplace.payments.signed_webhook import SignedWebhook
from marketplace.payments.spelling import normal_tx_hash
from marketplace.payments.unapplied_funds import DOUBLE_CREDIT, UNAPPLIED, has_part
from marketplace.risk.policy import Reason
from marketplace.store import inbox
from marketplace.store.inbox import Credit
from marketplace.unit_of_work import UnitOfWorkFactory

log = logging.getLogger(__name__)

CONFIRMED = "payment.confirmed"
PARTIAL = "payment.partial"
TELLS_PART = UNAPPLIED | {PARTIAL}  # may name only the newest of many transfers, or what is listed as a part
ENDED_UNPAID = frozenset({PaymentStatus.CANCELLED, PaymentStatus.FAILED})


@dataclass(frozen=True, slots=True)
class EventReading:
    """What a webhook shows of money: an observation, or the reason why it is refused; neither is mere news."""

    observed: PaymentObservation | None = None
    refused: tuple[str, str] | None = None
    listed: tuple[Transfer, ...] | None = None  # all there is of the payment, where news names only part of it
    unlisted: bool = False  # that list could not be read now: this is judged again
    unread: str | None = None  # why a confirmation's whole list could not be had now
    transfers: tuple[Credit, ...] = ()  # that the webhook itself tells


class EventReader:
    """Turns events into observations. Waits for the scanner: never call it inside a transaction."""

    def __init__(self, units: UnitOfWorkFactory, catalog: Catalog, provider: ScannerProvider) -> None:
        self._units = units
        self._catalog = catalog
        self._provider = provider

    async def read(self, payment: Payment, webhook: SignedWebhook) -> EventReading:
        """Return what the event shows of money that may be credited."""
        if webhook.event is None:
            return EventReading(refused=(Reason.BROKEN_ANSWER, webhook.why or "unreadable"))
        other = _another_rail(payment, webhook.event)
        if other is not None:
            return EventReading(refused=(Reason.ANOTHER_RAIL, other))
        try:
            if isinstance(webhook.event, BalanceEvent):
                return await self._balance(payment, webhook.event)
            return await self._confirmation(payment, webhook.event)
        except BrokenList as exc:
            return EventReading(refused=(Reason.BROKEN_ANSWER, str(exc)))

    async def _confirmation(self, payment: Payment, event: IntentEvent) -> EventReading:
        """Read what a confirmation says, or the scanner where it does not say all; any other event is news."""
        if event.event_type != CONFIRMED or event.status != "confirmed":
            return await self.news(payment, event)
        if payment.status in OPEN_PAYMENTS and not is_whole(event):
            return await self._from_scanner(payment, event)
        if not event.transfers:
            return EventReading()
        return EventReading(observed=from_event(payment, event, self._catalog.chains[payment.chain_id]))

    async def news(self, payment: Payment, event: IntentEvent) -> EventReading:
        """List all there is where news names only the newest of many, or may be about what is listed as a part."""
        if not await self._needs_list(payment, event):
            return EventReading()
        try:
            return EventReading(listed=await self._provider.every_transfer(payment))
        except ScannerUnavailable as exc:
            log.warning("[webhook] what came for %s cannot be added up yet: %s", payment.id, exc)
            return EventReading(unlisted=True)
        except (ScannerRefused, BrokenList) as exc:
            log.warning("[webhook] what came for %s cannot be added up: %s", payment.id, exc)
            return EventReading()

    async def _needs_list(self, payment: Payment, event: IntentEvent) -> bool:
        if event.event_type in UNAPPLIED and (event.count or 1) > 1:
            return True
        if payment.status not in ENDED_UNPAID or event.event_type not in TELLS_PART:
            return False
        async with self._units.db.read() as tx:
            return event.event_type == PARTIAL or await has_part(tx, payment)

    async def _from_scanner(self, payment: Payment, event: IntentEvent) -> EventReading:
        """Read the whole list where a confirmation does not have it: nothing is judged by a part."""
        try:
            observed = await self._provider.whole(payment)
        except NotFound:
            return EventReading(refused=(Reason.TRANSFER_NOT_FOUND, "the scanner knows no such intent"))
        except (ScannerUnavailable, ScannerRefused) as exc:
            return EventReading(unread=str(exc))
        if observed is None:
            return EventReading(refused=(Reason.TRANSFER_NOT_FOUND, "the scanner has not confirmed it"))
        chain = self._catalog.chains[payment.chain_id]
        told = None if event.tx_hash is None else normal_tx_hash(event.tx_hash, chain.chain_type)
        if event.tx_hash is not None and told not in {credit.tx_hash for credit in observed.credits}:
            return EventReading(
                refused=(Reason.TRANSFER_NOT_FOUND, f"the scanner knows nothing of {event.tx_hash:.80}")
            )
        return EventReading(observed=observed)

    async def _balance(self, payment: Payment, event: BalanceEvent) -> EventReading:
        """Read a balance with every transfer that any event of the payment told."""
        chain = self._catalog.chains[payment.chain_id]
        if not is_about_it(payment, event, chain):
            return EventReading(observed=from_balance_event(payment, event, chain))
        told = behind_balance(payment, event, chain)
        async with self._units.db.read() as tx:
            kept = await inbox.kept_transfers(tx, payment.id)
            unplaced = {credit.tx_hash for credit in told if credit.event_key.startswith(KEYLESS)}
            doubtful = await inbox.paid_elsewhere(tx, payment.chain_id, unplaced, payment.id)
        # One transaction may well pay two addresses; whether it did, the scanner can tell.
        if doubtful and payment.status in OPEN_PAYMENTS and not await self._provider.is_paid_on_chain(payment):
            return EventReading(refused=(DOUBLE_CREDIT, "its transaction paid for something else"))
        known = {(credit.tx_hash, credit.event_key): credit for credit in (*kept, *told)}
        return EventReading(observed=from_balance_event(payment, event, chain, known.values()), transfers=told)


def _another_rail(payment: Payment, event: Event) -> str | None:
    """Return in what the event is about another way of paying than the payment's."""
    if isinstance(event, BalanceEvent):
        return None if payment.rail is Rail.DIRECT_BALANCE else f"a balance, of a payment by {payment.rail}"
    if payment.rail is Rail.DIRECT_BALANCE:
        return "an intent, of a payment by balance"  # nobody compared the balance with its baseline
    if event.rail is not None and event.rail != payment.rail:
        return f"by {event.rail:.40} instead of {payment.rail}"
    return None
