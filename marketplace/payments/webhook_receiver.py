"""The scanner's webhooks: verified before they are read, kept with what they did, and done once."""

from __future__ import annotations

import logging
from collections.abc import Iterable, Mapping
from dataclasses import dataclass

from pydantic import SecretStr

from marketplace.catalog import Catalog
from marketplace.errors import Refused, not_found
from marketplace.model import OPEN_PAYMENTS, EscrowState, Payment, PaymentStatus, Rail
from marketplace.payments import settlement
from marketplace.payments.observation import (
    KEYLESS,
    SHOWN,
    BrokenList,
    PaymentObservation,
    behind_balance,
    from_balance_event,
    from_event,
    is_about_it,
    is_whole,
)
from marketplace.payments.settlement import SettlementOutcome, Stale
from marketplace.payments.spelling import normal_tx_hash
from marketplace.payments.strays import add_up, record_all_unapplied, record_unapplied, record_unread_unapplied
from marketplace.payments.unapplied_funds import DOUBLE_CREDIT, has_part, record_part, set_part
from marketplace.payments.verification import PaymentVerifier
from marketplace.risk.policy import Reason
from marketplace.scanner_client import (
    BalanceEvent,
    Event,
    IntentEvent,
    IntentTransfer,
    InvalidWebhook,
    MalformedWebhook,
    NotFound,
    ScannerRefused,
    ScannerUnavailable,
    read_event,
    verify_webhook,
)
from marketplace.store import inbox, payments
from marketplace.store.inbox import Credit
from marketplace.unit_of_work import UnitOfWork, UnitOfWorkFactory

log = logging.getLogger(__name__)

CONFIRMED = "payment.confirmed"
PARTIAL = "payment.partial"
UNAPPLIED = frozenset({"payment.late", "payment.anomaly"})  # money that settles nothing
AFTER_THE_END = frozenset({"cancelled", "late"})  # reasons of money that is told of by itself
REORGED = "payment.reorged"
ENDED_UNPAID = frozenset({PaymentStatus.CANCELLED, PaymentStatus.FAILED})
CREDITED = frozenset({PaymentStatus.COMPLETED, PaymentStatus.REFUNDED})
BEFORE_DEPTH = frozenset({"pending", "confirming", "expired"})  # the intent's status in the events of older scanners
ON_ITS_WAY = frozenset({"payment.detected", "payment.confirming"})
JUDGED_AGAIN = 5  # times, when other events of the payment come in between


@dataclass(frozen=True, slots=True)
class WebhookResult:
    """What became of a webhook."""

    outcome: str
    funded: bool
    about_balance: bool


@dataclass(frozen=True, slots=True)
class SignedWebhook:
    """A webhook with a good signature; `event` None and `why` say that it cannot be what it says it is."""

    event_id: str
    event_type: str
    names: tuple[str, ...]
    event: Event | None
    why: str | None = None

    @property
    def about_balance(self) -> bool:
        return isinstance(self.event, BalanceEvent)


@dataclass(frozen=True, slots=True)
class EventReading:
    """What a webhook shows of money: an observation, or the reason why it is refused; neither is mere news."""

    observed: PaymentObservation | None = None
    refused: tuple[str, str] | None = None
    listed: tuple[IntentTransfer, ...] | None = None  # all there is of the payment, where news names only part of it
    unlisted: bool = False  # that list could not be read now: this is judged again
    unread: str | None = None  # why a confirmation's whole list could not be had now
    transfers: tuple[Credit, ...] = ()  # that the webhook itself tells


class WebhookReceiver:
    """Takes webhooks."""

    def __init__(
        self, units: UnitOfWorkFactory, catalog: Catalog, verifier: PaymentVerifier, secret: SecretStr | None
    ) -> None:
        self._units = units
        self._catalog = catalog
        self._verifier = verifier
        self._secret = secret

    async def receive(self, raw: bytes, headers: Mapping[str, str]) -> WebhookResult:
        """
        Take one delivery: its effect and the note that it was had are one transaction.

        Raises:
            Refused: not the scanner's, not an event, or about nothing we know.
        """
        webhook = self._verified(raw, headers)
        for _ in range(JUDGED_AGAIN):
            payment = await self._payment(webhook)
            async with self._units.db.read() as tx:
                known = await inbox.is_kept(tx, webhook.event_id)
            if known:
                return await self._duplicate(webhook, payment)
            reading = await self._read(payment, webhook)
            try:
                return await self._do(payment, webhook, reading, raw)
            except Stale:
                log.debug("[webhook] %s is judged again: more of it became known", payment.id)
        raise Refused("store_unavailable", "too much happens to this payment at once: deliver it again")

    async def _do(self, payment: Payment, webhook: SignedWebhook, reading: EventReading, raw: bytes) -> WebhookResult:
        """Keep the webhook with what it does."""
        observed = reading.observed
        risk = None if observed is None else await self._verifier.judge(payment, observed)
        async with self._units.begin() as work:
            body = raw.decode("utf-8", "replace")
            named = {"event_id": webhook.event_id, "event_type": webhook.event_type, "payment_id": payment.id}
            if not await inbox.add(work.tx, **named, body=body, now=work.now):  # another copy was faster
                return await self._duplicate(webhook, payment)
            if observed is not None and risk is not None:
                if reading.transfers:
                    await inbox.keep_transfers(work.tx, payment.id, reading.transfers, work.now)
                result, _ = await settlement.settle_payment(work, payment.id, observed, risk)
                outcome = str(result)
            elif reading.refused is not None:
                reason, detail = reading.refused
                outcome = await settlement.refuse(work, payment.id, reason, detail, event_id=webhook.event_id)
            elif reading.unread is not None:
                outcome = await _wait_for_list(work, payment, reading.unread)
            else:
                outcome = await _note(work, payment.id, webhook.event, self._catalog, reading)
            await inbox.set_outcome(work.tx, webhook.event_id, outcome)
        log.info("[webhook] %s of %s: %s", webhook.event_type, payment.id, outcome)
        funded = outcome in {SettlementOutcome.FUNDED, SettlementOutcome.ALREADY_FUNDED}
        return WebhookResult(outcome, funded, webhook.about_balance and reading.refused is None)

    async def read_again(self, limit: int) -> None:
        """Judge once more the news of transfers that the scanner could not list when it came."""
        async with self._units.db.read() as tx:
            waiting = await inbox.unread(tx, {*UNAPPLIED, PARTIAL}, limit)
        for kept in waiting:
            event = read_event(kept.body.encode(), kept.event_id)
            async with self._units.db.read() as tx:
                payment = await payments.get(tx, kept.payment_id)
            if payment is None or not isinstance(event, IntentEvent):
                raise LookupError(f"payment {kept.payment_id} is gone")
            reading = await self._news(payment, event)
            if reading.unlisted:
                continue
            async with self._units.begin() as work:
                outcome = await _note(work, payment.id, event, self._catalog, reading)
                await inbox.set_outcome(work.tx, kept.event_id, outcome)

    def _verified(self, raw: bytes, headers: Mapping[str, str]) -> SignedWebhook:
        if self._secret is None:
            raise Refused("not_configured", "AMN_SCANNER_WEBHOOK_SECRET is not set: webhooks cannot be verified")
        try:
            now = self._units.clock.now_ms() // 1000
            event = verify_webhook(raw, headers, self._secret.get_secret_value(), now)
        except MalformedWebhook as exc:
            if not exc.names:
                raise Refused("bad_json", f"the webhook is signed, and no event: {exc}") from exc
            return SignedWebhook(exc.event_id, exc.event_type, exc.names, None, str(exc))
        except InvalidWebhook as exc:
            raise Refused("bad_signature", str(exc)) from exc
        except ValueError as exc:
            raise Refused("not_configured", "AMN_SCANNER_WEBHOOK_SECRET cannot be used") from exc
        known_as = event.watch_id if isinstance(event, BalanceEvent) else event.intent_id
        return SignedWebhook(event.event_id, event.event_type, (known_as,), event)

    async def _payment(self, webhook: SignedWebhook) -> Payment:
        async with self._units.db.read() as tx:
            payment = await payments.of_scanner(tx, webhook.names)
        if payment is None:
            raise not_found("payment")
        return payment

    async def _read(self, payment: Payment, webhook: SignedWebhook) -> EventReading:
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
            return await self._news(payment, event)
        if payment.status in OPEN_PAYMENTS and not is_whole(event):
            return await self._from_scanner(payment, event)
        if not event.transfers:
            return EventReading()
        return EventReading(observed=from_event(payment, event, self._catalog.chains[payment.chain_id]))

    async def _news(self, payment: Payment, event: IntentEvent) -> EventReading:
        """List all there is where news names only the newest of many, or may be about what is listed as a part."""
        if not await self._needs_list(payment, event):
            return EventReading()
        try:
            return EventReading(listed=await self._verifier.every_transfer(payment))
        except ScannerUnavailable as exc:
            log.warning("[webhook] what came for %s cannot be added up yet: %s", payment.id, exc)
            return EventReading(unlisted=True)
        except (ScannerRefused, BrokenList) as exc:
            log.warning("[webhook] what came for %s cannot be added up: %s", payment.id, exc)
            return EventReading()

    async def _needs_list(self, payment: Payment, event: IntentEvent) -> bool:
        if event.event_type in UNAPPLIED and (event.count or 1) > 1:
            return True
        if payment.status not in ENDED_UNPAID or event.event_type not in {*UNAPPLIED, PARTIAL}:
            return False
        async with self._units.db.read() as tx:
            return event.event_type == PARTIAL or await has_part(tx, payment)

    async def _from_scanner(self, payment: Payment, event: IntentEvent) -> EventReading:
        """Read the whole list where a confirmation does not have it: nothing is judged by a part."""
        try:
            observed = await self._verifier.whole(payment)
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
        if doubtful and payment.status in OPEN_PAYMENTS and not await self._verifier.is_paid_on_chain(payment):
            return EventReading(refused=(DOUBLE_CREDIT, "its transaction paid for something else"))
        known = {(credit.tx_hash, credit.event_key): credit for credit in (*kept, *told)}
        return EventReading(observed=from_balance_event(payment, event, chain, known.values()), transfers=told)

    async def _duplicate(self, webhook: SignedWebhook, payment: Payment) -> WebhookResult:
        async with self._units.db.read() as tx:
            now = await payments.get(tx, payment.id)
        funded = now is not None and now.status is PaymentStatus.COMPLETED
        return WebhookResult("duplicate", funded, webhook.about_balance)


def _another_rail(payment: Payment, event: Event) -> str | None:
    """Return in what the event is about another way of paying than the payment's."""
    if isinstance(event, BalanceEvent):
        return None if payment.rail is Rail.DIRECT_BALANCE else f"a balance, of a payment by {payment.rail}"
    if payment.rail is Rail.DIRECT_BALANCE:
        return "an intent, of a payment by balance"  # nobody compared the balance with its baseline
    if event.rail is not None and event.rail != payment.rail:
        return f"by {event.rail:.40} instead of {payment.rail}"
    return None


async def _wait_for_list(work: UnitOfWork, payment: Payment, why: str) -> str:
    """Note that money was confirmed whose transfers cannot be read now; the sweep reads them."""
    log.warning("[webhook] the transfers of %s cannot be read: %s", payment.id, why)
    if payment.hold_reason is None:
        values = {"status": PaymentStatus.PROCESSING}
        await payments.change(work.tx, payment.id, work.now, expected=OPEN_PAYMENTS, **values)
    return inbox.UNREAD


async def _note(work: UnitOfWork, payment_id: str, event: Event | None, catalog: Catalog, reading: EventReading) -> str:
    """Keep news about an intent that credit nothing."""
    payment = await payments.get(work.tx, payment_id)
    if payment is None or not isinstance(event, IntentEvent):
        raise LookupError(f"payment {payment_id} is gone")
    if event.event_type in UNAPPLIED:
        await _stray(work, payment, event, reading)
    elif event.event_type == PARTIAL and payment.status in ENDED_UNPAID and reading.listed is not None:
        await _set_part(work, payment, event, reading.listed)
    elif event.event_type in ON_ITS_WAY:
        observed = {"status": PaymentStatus.PROCESSING, "evidence": _document(event), "tx_hash": event.tx_hash}
        await payments.change(work.tx, payment.id, work.now, expected=(PaymentStatus.PENDING,), **observed)
    elif event.event_type == PARTIAL and payment.status in ENDED_UNPAID:
        await record_part(work, payment, event.amount_received or 0, _document(event))
    elif event.event_type == PARTIAL and event.missing is not None and payment.hold_reason is None:
        part = {"status": PaymentStatus.PROCESSING, "escrow_state": EscrowState.PARTIAL, "evidence": _document(event)}
        if await payments.change(work.tx, payment.id, work.now, expected=OPEN_PAYMENTS, **part):
            await settlement.tell_underpaid(work, payment, event.missing)
    elif event.event_type == REORGED:
        await _reorged(work, payment, event, catalog)
    return inbox.UNREAD if reading.unlisted else "noted"


async def _stray(work: UnitOfWork, payment: Payment, event: IntentEvent, reading: EventReading) -> None:
    """List money that settles nothing, and take off a part what is told of by itself now."""
    rests = add_up(reading.listed or (), event.reason) if (event.count or 1) > 1 else ()
    if rests:
        await record_all_unapplied(work, payment, event, _document(event), rests)
    elif reading.listed is None and (event.count or 1) > 1:
        await record_unread_unapplied(work, payment, event, _document(event))
    else:
        await record_unapplied(work, payment, event, _document(event))
    if reading.listed is not None and payment.status in ENDED_UNPAID and await has_part(work.tx, payment):
        await _set_part(work, payment, event, reading.listed)


async def _set_part(work: UnitOfWork, payment: Payment, event: IntentEvent, listed: Iterable[IntentTransfer]) -> None:
    counted, beside = 0, 0
    for each in listed:
        counted += each.amount if each.counted else 0
        beside += each.amount if each.reason in AFTER_THE_END else 0
    received = (event.amount_received or 0) if event.event_type == PARTIAL else 0
    await set_part(work, payment, counted, beside, received, _document(event))


async def _reorged(work: UnitOfWork, payment: Payment, event: IntentEvent, catalog: Catalog) -> None:
    """Block what was credited and may be gone; open again what was on its way."""
    if payment.status in CREDITED:
        if await _took_back(work, payment, event, catalog):
            await payments.set_observed(work.tx, payment.id, work.now, reorged_at=work.now)
            await record_unapplied(work, payment, event, _document(event))
    elif payment.hold_reason is None:
        gone = {"status": PaymentStatus.PENDING, "escrow_state": None, "evidence": _document(event), "tx_hash": None}
        await payments.change(work.tx, payment.id, work.now, expected=(PaymentStatus.PROCESSING,), **gone)


async def _took_back(work: UnitOfWork, payment: Payment, event: IntentEvent, catalog: Catalog) -> bool:
    """
    Say whether what paid may be gone: all news of it but what is plainly about something else.

    That is another transaction, or what moved while it was still on its way, however late it is told.
    """
    family = catalog.chains[payment.chain_id].chain_type
    if event.status in BEFORE_DEPTH or _stood_elsewhere(payment, event, family):
        return False
    told = [event.tx_hash] if event.tx_hash is not None else [each.tx_hash for each in event.transfers or ()]
    named = {normal_tx_hash(tx_hash, family) for tx_hash in told if tx_hash is not None}
    return not named or bool(named & await inbox.credited_hashes(work.tx, payment.id))


def _stood_elsewhere(payment: Payment, event: IntentEvent, family: str) -> bool:
    """
    Say whether everything an event is about stood in other blocks than what was credited.

    A payment that moved before it was deep is told so, and may be told after its confirmation: what settles goes
    first in the queue (docs/rules.md, rule 21). Without the hashes of both nothing is ruled out.
    """
    shown = (payment.evidence or {}).get("transfers") or []
    credited = {str(each.get("txHash")): each.get("blockHash") for each in shown if isinstance(each, dict)}
    told = [(normal_tx_hash(each.tx_hash or "", family), each.block_hash) for each in event.transfers or ()]
    return bool(told) and all(
        tx is not None and None not in {here, credited.get(tx)} and here != credited.get(tx) for tx, here in told
    )


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
            for t in (event.transfers or ())[-SHOWN:]
        ],
    }
