"""The scanner's webhooks: verified before they are read, kept with what they did, and done once."""

from __future__ import annotations

import logging
from collections.abc import Mapping
from dataclasses import dataclass

from clients.python.amn_scanner_client import IntentEvent, read_event
from marketplace.catalog import Catalog
from marketplace.errors import Refused, not_found
from marketplace.model import Payment, PaymentStatus
from marketplace.payments import intent_news, settlement
from marketplace.payments.event_reader import TELLS_PART, EventReader, EventReading
from marketplace.payments.scanner_provider import ScannerProvider
from marketplace.payments.settlement import SettlementOutcome, Stale
from marketplace.payments.signed_webhook import SignedWebhook
from marketplace.payments.verification import PaymentVerifier
from marketplace.risk.gate import RiskDecision
from marketplace.store import inbox, locks, payments
from marketplace.unit_of_work import UnitOfWork, UnitOfWorkFactory

log = logging.getLogger(__name__)

JUDGED_AGAIN = 5  # times, when other events of the payment come in between


@dataclass(frozen=True, slots=True)
class WebhookResult:
    """What became of a webhook."""

    outcome: str
    funded: bool
    about_balance: bool


class WebhookReceiver:
    """Receives webhooks: verify, observe, decide, settle, each once and in this order."""

    def __init__(
        self, units: UnitOfWorkFactory, catalog: Catalog, verifier: PaymentVerifier, provider: ScannerProvider
    ) -> None:
        self._units = units
        self._catalog = catalog
        self._reader = EventReader(units, catalog, provider)
        self._verifier = verifier
        self._provider = provider

    async def receive(self, raw: bytes, headers: Mapping[str, str]) -> WebhookResult:
        """
        Receive one delivery: its effect and the note that it was had are one transaction.

        Raises:
            Refused: not the scanner's, not an event, or about nothing we know.
        """
        webhook = self._provider.verify_webhook(raw, headers)
        for _ in range(JUDGED_AGAIN):
            payment = await self._payment(webhook)
            if await self._is_known(webhook):
                return await self._duplicate(webhook, payment)
            reading = await self._reader.read(payment, webhook)
            risk = None if reading.observed is None else await self._verifier.judge(payment, reading.observed)
            try:
                return await self._settle(payment, webhook, reading, risk, raw)
            except Stale:
                log.debug("[webhook] %s is judged again: more of it became known", payment.id)
        raise Refused("store_unavailable", "the payment keeps changing: deliver the webhook again")

    async def read_again(self, limit: int) -> None:
        """Judge once more the news of transfers that the scanner could not list when it came."""
        async with self._units.db.read() as tx:
            waiting = await inbox.unread(tx, TELLS_PART, limit)
        for kept in waiting:
            event = read_event(kept.body.encode(), kept.event_id)
            async with self._units.db.read() as tx:
                payment = await payments.get(tx, kept.payment_id)
            if payment is None:  # it was forgotten just now, with its webhooks
                continue
            if not isinstance(event, IntentEvent):
                raise TypeError(f"{kept.event_id} is no event of an intent")
            reading = await self._reader.news(payment, event)
            if reading.unlisted:
                async with self._units.begin(locks.request_of_payment(payment.id)) as work:
                    await inbox.set_tried(work.tx, kept.event_id, work.now)
                continue
            async with self._units.begin(locks.request_of_payment(payment.id)) as work:
                outcome = await intent_news.record(work, payment.id, event, reading, self._family(payment))
                await inbox.set_outcome(work.tx, kept.event_id, outcome)

    async def _settle(
        self, payment: Payment, webhook: SignedWebhook, reading: EventReading, risk: RiskDecision | None, raw: bytes
    ) -> WebhookResult:
        """Keep the webhook with what it does."""
        async with self._units.begin(locks.request_of_payment(payment.id)) as work:
            body = raw.decode("utf-8", "replace")
            named = {"event_id": webhook.event_id, "event_type": webhook.event_type, "payment_id": payment.id}
            if not await inbox.add(work.tx, **named, body=body, now=work.now):  # another copy was faster
                return await self._duplicate(webhook, payment)
            outcome = await self._outcome(work, payment, webhook, reading, risk)
            await inbox.set_outcome(work.tx, webhook.event_id, outcome)
        log.info("[webhook] %s of %s: %s", webhook.event_type, payment.id, outcome)
        funded = outcome in {SettlementOutcome.FUNDED, SettlementOutcome.ALREADY_FUNDED}
        return WebhookResult(outcome, funded, webhook.about_balance and reading.refused is None)

    async def _outcome(
        self,
        work: UnitOfWork,
        payment: Payment,
        webhook: SignedWebhook,
        reading: EventReading,
        risk: RiskDecision | None,
    ) -> str:
        """Do the one thing that follows from what was read, and return what became of it."""
        if reading.observed is not None and risk is not None:
            await inbox.keep_transfers(work.tx, payment.id, reading.transfers, work.now)
            result, _ = await settlement.settle_payment(work, payment.id, reading.observed, risk)
            return str(result)
        if reading.refused is not None:
            reason, detail = reading.refused
            return await settlement.refuse(work, payment.id, reason, detail, event_id=webhook.event_id)
        if reading.unread is not None:
            return await intent_news.wait_for_list(work, payment, reading.unread)
        return await intent_news.record(work, payment.id, webhook.event, reading, self._family(payment))

    async def _payment(self, webhook: SignedWebhook) -> Payment:
        async with self._units.db.read() as tx:
            payment = await payments.of_scanner(tx, webhook.names)
        if payment is None:
            raise not_found("payment")
        return payment

    async def _is_known(self, webhook: SignedWebhook) -> bool:
        async with self._units.db.read() as tx:
            return await inbox.is_kept(tx, webhook.event_id)

    def _family(self, payment: Payment) -> str:
        return self._catalog.chains[payment.chain_id].chain_type

    async def _duplicate(self, webhook: SignedWebhook, payment: Payment) -> WebhookResult:
        async with self._units.db.read() as tx:
            now = await payments.get(tx, payment.id)
        funded = now is not None and now.status is PaymentStatus.COMPLETED
        return WebhookResult("duplicate", funded, webhook.about_balance)
