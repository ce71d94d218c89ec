"""The scanner's webhooks: verified before they are read, kept with what they did, and done once."""

from __future__ import annotations

import logging
from collections.abc import Mapping
from dataclasses import dataclass

from pydantic import SecretStr

from marketplace import completion
from marketplace.catalog import Catalog
from marketplace.checks import Checks
from marketplace.completion import Outcome
from marketplace.errors import Refused, not_found
from marketplace.model import OPEN_PAYMENTS, Escrow, Payment, PaymentStatus
from marketplace.recoveries import note_part
from marketplace.scanner_client import (
    BalanceEvent,
    Event,
    IntentEvent,
    InvalidWebhook,
    MalformedWebhook,
    verify_webhook,
)
from marketplace.sightings import Sighting, from_balance_event, from_event
from marketplace.store import inbox, payments
from marketplace.strays import note_stray
from marketplace.work import Work, Works

log = logging.getLogger(__name__)

CONFIRMED = "payment.confirmed"
STRAY = frozenset({"payment.late", "payment.anomaly"})  # money that settles nothing
REORGED = "payment.reorged"
ENDED_UNPAID = frozenset({PaymentStatus.CANCELLED, PaymentStatus.FAILED})
SETTLED = frozenset({"confirmed", "webhook_failed"})  # of an intent: the event may be older, and come later
ON_ITS_WAY = frozenset({"payment.detected", "payment.confirming"})


@dataclass(frozen=True, slots=True)
class Taken:
    """What became of a webhook."""

    outcome: str
    funded: bool
    about_balance: bool


class Inbound:
    """Takes webhooks."""

    def __init__(self, works: Works, catalog: Catalog, checks: Checks, secret: SecretStr | None) -> None:
        self._works = works
        self._catalog = catalog
        self._checks = checks
        self._secret = secret

    async def take(self, raw: bytes, headers: Mapping[str, str]) -> Taken:
        """
        Take one delivery: its effect and the note that it was had are one transaction.

        Raises:
            Refused: not the scanner's, not an event, or about nothing we know.
        """
        event = self._verified(raw, headers)
        payment = await self._payment(event)
        async with self._works.db.read() as tx:
            known = await inbox.is_kept(tx, event.event_id)
        if known:
            return await self._duplicate(event, payment)
        seen = self._sighting(payment, event)
        judgement = None if seen is None else await self._checks.judge(payment, seen)
        async with self._works.begin() as work:
            kept = await inbox.add(
                work.tx,
                event_id=event.event_id,
                event_type=event.event_type,
                payment_id=payment.id,
                body=raw.decode("utf-8", "replace"),
                now=work.now,
            )
            if not kept:  # another copy was faster
                return await self._duplicate(event, payment)
            if seen is not None and judgement is not None:
                result, _ = await completion.settle(work, payment.id, seen, judgement)
                outcome = str(result)
            else:
                outcome = await _note(work, payment.id, event)
            await inbox.set_outcome(work.tx, event.event_id, outcome)
        log.info("[webhook] %s of %s: %s", event.event_type, payment.id, outcome)
        funded = outcome in {Outcome.FUNDED, Outcome.ALREADY_FUNDED}
        return Taken(outcome, funded, isinstance(event, BalanceEvent))

    def _verified(self, raw: bytes, headers: Mapping[str, str]) -> Event:
        if self._secret is None:
            raise Refused("not_configured", "AMN_SCANNER_WEBHOOK_SECRET is not set: webhooks cannot be verified")
        try:
            return verify_webhook(raw, headers, self._secret.get_secret_value(), self._works.clock.now_ms() // 1000)
        except MalformedWebhook as exc:
            raise Refused("bad_json", f"the webhook is signed, and no event: {exc}") from exc
        except InvalidWebhook as exc:
            raise Refused("bad_signature", str(exc)) from exc
        except ValueError as exc:
            raise Refused("not_configured", "AMN_SCANNER_WEBHOOK_SECRET cannot be used") from exc

    async def _payment(self, event: Event) -> Payment:
        known_as = event.watch_id if isinstance(event, BalanceEvent) else event.intent_id
        async with self._works.db.read() as tx:
            payment = await payments.of_scanner(tx, known_as)
        if payment is None:
            raise not_found("payment")
        return payment

    def _sighting(self, payment: Payment, event: Event) -> Sighting | None:
        """Return what the event shows of money that may be credited; None for mere news."""
        if isinstance(event, BalanceEvent):
            return from_balance_event(payment, event, self._catalog.chains[payment.chain_id])
        paid = event.event_type == CONFIRMED and event.status == "confirmed"
        return from_event(payment, event) if paid else None

    async def _duplicate(self, event: Event, payment: Payment) -> Taken:
        async with self._works.db.read() as tx:
            now = await payments.get(tx, payment.id)
        funded = now is not None and now.status is PaymentStatus.COMPLETED
        return Taken("duplicate", funded, isinstance(event, BalanceEvent))


async def _note(work: Work, payment_id: str, event: Event) -> str:
    """Keep news about an intent that credit nothing."""
    payment = await payments.get(work.tx, payment_id)
    if payment is None or not isinstance(event, IntentEvent):
        raise LookupError(f"payment {payment_id} is gone")
    if event.event_type in STRAY:
        await note_stray(work, payment, event, _document(event))
    elif event.event_type in ON_ITS_WAY:
        seen = {"status": PaymentStatus.PROCESSING, "evidence": _document(event), "tx_hash": event.tx_hash}
        await payments.change(work.tx, payment.id, work.now, expected=(PaymentStatus.PENDING,), **seen)
    elif event.event_type == "payment.partial" and payment.status in ENDED_UNPAID:
        await note_part(work, payment, event.amount_received or 0, _document(event))
    elif event.event_type == "payment.partial" and event.missing is not None and payment.hold_reason is None:
        part = {"status": PaymentStatus.PROCESSING, "escrow_state": Escrow.PARTIAL, "evidence": _document(event)}
        if await payments.change(work.tx, payment.id, work.now, expected=OPEN_PAYMENTS, **part):
            completion.tell_underpaid(work, payment, event.missing)
    elif event.event_type == REORGED and payment.status is PaymentStatus.COMPLETED:
        if await _took_back(work, payment, event):
            await note_stray(work, payment, event, _document(event))
    elif event.event_type == REORGED and payment.hold_reason is None:
        gone = {"status": PaymentStatus.PENDING, "escrow_state": None, "evidence": _document(event), "tx_hash": None}
        await payments.change(work.tx, payment.id, work.now, expected=(PaymentStatus.PROCESSING,), **gone)
    return "noted"


async def _took_back(work: Work, payment: Payment, event: IntentEvent) -> bool:
    """Say whether what paid is gone: not what came beyond it, and not what moved before it was deep enough."""
    credited = await inbox.credited_hashes(work.tx, payment.id)
    return event.status in SETTLED and event.tx_hash in credited


def _document(event: IntentEvent) -> dict[str, object]:
    return {
        "chainId": event.chain_id,
        "tokenAddress": event.token,
        "amountReceivedBaseUnits": None if event.amount_received is None else str(event.amount_received),
        "txHash": event.tx_hash,
        "blockNumber": event.block_number,
        "confirmations": event.confirmations or 0,
        "sender": event.sender,
        "reason": event.reason or event.event_type,
        "transfers": [
            {
                "txHash": t.tx_hash,
                "eventKey": t.event_key,
                "blockHash": t.block_hash,
                "amountBaseUnits": str(t.amount),
                "sender": t.sender,
            }
            for t in event.transfers or ()
        ],
    }
