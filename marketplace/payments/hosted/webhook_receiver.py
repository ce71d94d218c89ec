"""Webhooks of hosted providers: verified before they are read, kept once, and only ever a reason to look."""

from __future__ import annotations

import hashlib
import logging
from collections.abc import Mapping, Sequence

from clients.python.amn_scanner_client import ScannerRefused, ScannerUnavailable
from marketplace.errors import Refused, not_found
from marketplace.model import OPEN_PAYMENTS, Payment, PaymentStatus, Provider
from marketplace.payments.hosted.hosted_provider import HostedProvider
from marketplace.payments.hosted.upstream import HostedWebhook
from marketplace.payments.providers import ProviderUnavailable
from marketplace.payments.verification import PaymentVerifier
from marketplace.payments.webhook_receiver import WebhookResult
from marketplace.store import inbox, locks, payments, told_transactions
from marketplace.unit_of_work import UnitOfWorkFactory

log = logging.getLogger(__name__)

TEST = "test"
HELD, LATE = "held", "late"
MAX_EVENTS = 400  # of one payment that one look answers
MAX_KEPT = 1_000  # of one payment; whoever pays, and whoever has the key, chooses how many come
LISTED_AT_ONCE = 10  # transactions with other tokens, in one write: nobody waits long for the store


class HostedWebhookReceiver:
    """
    Receives webhooks of hosted providers.

    What one says is believed of nothing: it names transactions, which are kept, and then looked at on the chain.
    """

    def __init__(
        self, units: UnitOfWorkFactory, hosted: Mapping[Provider, HostedProvider], verifier: PaymentVerifier
    ) -> None:
        self._units = units
        self._hosted = hosted
        self._verifier = verifier

    async def receive(self, provider: Provider, raw: bytes, headers: Mapping[str, str]) -> WebhookResult:
        """
        Receive one delivery; one that could not be followed up is looked at again, whether or not it is sent again.

        Raises:
            Refused: not the provider's, about nothing we know, or nobody can look now.
        """
        hosted = self._hosted.get(provider)
        if hosted is None:
            raise Refused("not_configured", f"{provider} is not configured: its webhooks cannot be verified")
        told = hosted.verify_webhook(raw, headers)
        if told.is_test:
            return WebhookResult(TEST, funded=False, about_balance=False)
        async with self._units.db.read() as tx:
            payment = await payments.of_hosted(tx, provider, told.payment_name)
        if payment is None:
            raise not_found("payment")
        event_id = f"{provider}:{hashlib.sha256(raw).hexdigest()}"
        if not await self._keep(hosted, payment, told, event_id, raw):
            return await self._result(payment, "duplicate")
        try:
            return await self._look(payment, [event_id])
        except (ScannerUnavailable, ScannerRefused) as exc:
            log.warning("[%s] %s cannot be looked at now: %s", provider, payment.id, exc)
            raise Refused(
                "scanner_unavailable", "the chain cannot be read now: deliver it again", retryAfter=5
            ) from exc

    async def read_again(self, limit: int) -> None:
        """
        Look at what could not be looked at when it was told; a provider gives up after a few tries.

        One look at a payment answers all that was told of it, and those that cannot be looked at take turns.
        """
        async with self._units.begin(None) as work:
            waiting = await inbox.waiting_for_hosted(work.tx, list(self._hosted), limit)
            await payments.set_looked_at(work.tx, [payment.id for payment in waiting], work.now)
        for payment in waiting:
            async with self._units.db.read() as tx:
                unread = await inbox.unread_of(tx, payment.id, MAX_EVENTS)
            try:
                await self._look(payment, unread)
            except (ScannerUnavailable, ScannerRefused) as exc:
                log.debug("[webhook] %s: %s", payment.id, exc)

    async def look_for_late(self, limit: int) -> None:
        """
        Look at payments that are over once what was told of them is on the chain, and ask what came since.

        A provider may know of a transaction sooner than the node that the scanner asks, and tells of it once, in a
        message that may be lost, or larger than any that is read: a stranger who sends dust makes it so.
        """
        async with self._units.begin(None) as work:
            over = await told_transactions.of_ended(work.tx, list(self._hosted), work.now, limit)
            await payments.set_looked_at(work.tx, [payment.id for payment in over], work.now)
        for payment in over:
            found, gone = await self._hosted[payment.provider].late_of(payment)
            try:
                if found:
                    await self._verifier.look(payment, thoroughly=True)
            except (ScannerUnavailable, ScannerRefused) as exc:
                log.debug("[webhook] %s: %s", payment.id, exc)
                continue
            # Only now: what was noted before it was looked at would be forgotten by a look that failed.
            for start in range(0, len(found), LISTED_AT_ONCE):
                part = found[start : start + LISTED_AT_ONCE]
                async with self._units.begin(locks.request_of_payment(payment.id)) as work:
                    await self._hosted[payment.provider].list_others(work, payment, part)
                    await told_transactions.set_done(work.tx, payment.id, [each.tx_hash for each in part], work.now)
            if gone:
                async with self._units.begin(locks.request_of_payment(payment.id)) as work:
                    await told_transactions.set_done(work.tx, payment.id, gone, work.now)

    async def _keep(
        self, hosted: HostedProvider, payment: Payment, told: HostedWebhook, event_id: str, raw: bytes
    ) -> bool:
        """
        Keep a webhook with what it names, unread; False when it was had, and followed up.

        Of very many only what they name is kept: that is what is looked at, again and again until it is settled.
        """
        async with self._units.begin(locks.request_of_payment(payment.id)) as work:
            if await inbox.is_kept(work.tx, event_id):
                return False
            if await inbox.number_of(work.tx, payment.id) < MAX_KEPT:
                named = {"event_id": event_id, "event_type": told.event_type, "payment_id": payment.id}
                await inbox.add(work.tx, **named, body=raw.decode("utf-8", "replace"), now=work.now)
            else:
                log.warning("[%s] %s: more webhooks than are kept", payment.provider, payment.id)
            await hosted.keep(work, payment, [hosted.spelt(payment, each) for each in told.tx_hashes])
            await inbox.set_outcome(work.tx, event_id, inbox.UNREAD)
            return True

    async def _look(self, payment: Payment, event_ids: Sequence[str]) -> WebhookResult:
        """Look at a payment now, and note what came of it; one that is over as well, since money may be late."""
        looked = await self._verifier.look(payment, thoroughly=True)
        if looked.payment.is_open and looked.payment.registered_at is None:
            # It was faster than the answer to its creation, which is asked for again.
            raise ProviderUnavailable(f"where {payment.id} is paid is not known yet")
        async with self._units.begin(None) as work:
            outcome = self._outcome(looked.payment, looked.reason)
            for event_id in event_ids:
                await inbox.set_outcome(work.tx, event_id, outcome)
        return await self._result(payment, outcome)

    @staticmethod
    def _outcome(payment: Payment, reason: str | None) -> str:
        if payment.status is PaymentStatus.COMPLETED:
            return "funded"
        if payment.hold_reason is not None:
            return HELD
        if payment.status not in OPEN_PAYMENTS:
            return LATE if reason is not None and reason.startswith("payment_") else inbox.NOTED
        return "waiting" if payment.status is PaymentStatus.PROCESSING else inbox.NOTED

    async def _result(self, payment: Payment, outcome: str) -> WebhookResult:
        async with self._units.db.read() as tx:
            now = await payments.get(tx, payment.id)
        funded = now is not None and now.status is PaymentStatus.COMPLETED
        return WebhookResult(outcome, funded, about_balance=False)
