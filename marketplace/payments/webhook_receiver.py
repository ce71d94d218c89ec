"""The scanner's webhooks: verified before they are read, kept with what they did, and done once."""

from __future__ import annotations

import logging
from collections.abc import Iterable, Mapping
from dataclasses import dataclass

from pydantic import SecretStr

from marketplace.catalog import Catalog
from marketplace.errors import Refused, not_found
from marketplace.model import OPEN_PAYMENTS, Escrow, Payment, PaymentStatus, Rail
from marketplace.payments import settlement
from marketplace.payments.observation import (
    KEYLESS,
    SHOWN,
    BrokenList,
    Sighting,
    behind_balance,
    from_balance_event,
    from_event,
    is_about_it,
    is_whole,
)
from marketplace.payments.settlement import Outcome, Stale
from marketplace.payments.spelling import normal_tx_hash
from marketplace.payments.strays import add_up, note_all, note_stray, note_unread
from marketplace.payments.unapplied_funds import DOUBLE_CREDIT, has_part, note_part, set_part
from marketplace.payments.verification import Checks
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
from marketplace.unit_of_work import Work, Works

log = logging.getLogger(__name__)

CONFIRMED = "payment.confirmed"
PARTIAL = "payment.partial"
STRAY = frozenset({"payment.late", "payment.anomaly"})  # money that settles nothing
AFTER_THE_END = frozenset({"cancelled", "late"})  # reasons of money that is told of by itself
REORGED = "payment.reorged"
ENDED_UNPAID = frozenset({PaymentStatus.CANCELLED, PaymentStatus.FAILED})
CREDITED = frozenset({PaymentStatus.COMPLETED, PaymentStatus.REFUNDED})
BEFORE_DEPTH = frozenset({"pending", "confirming", "expired"})  # the intent's status in the events of older scanners
ON_ITS_WAY = frozenset({"payment.detected", "payment.confirming"})
JUDGED_AGAIN = 5  # times, when other events of the payment come in between


@dataclass(frozen=True, slots=True)
class Taken:
    """What became of a webhook."""

    outcome: str
    funded: bool
    about_balance: bool


@dataclass(frozen=True, slots=True)
class Letter:
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
class Reading:
    """What a webhook shows of money: a sighting, or the reason why it is refused; neither is mere news."""

    seen: Sighting | None = None
    refused: tuple[str, str] | None = None
    listed: tuple[IntentTransfer, ...] | None = None  # all there is of the payment, where news names only part of it
    unlisted: bool = False  # that list could not be read now: this is judged again
    unread: str | None = None  # why a confirmation's whole list could not be had now
    transfers: tuple[Credit, ...] = ()  # that the webhook itself tells


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
        letter = self._verified(raw, headers)
        for _ in range(JUDGED_AGAIN):
            payment = await self._payment(letter)
            async with self._works.db.read() as tx:
                known = await inbox.is_kept(tx, letter.event_id)
            if known:
                return await self._duplicate(letter, payment)
            reading = await self._read(payment, letter)
            try:
                return await self._do(payment, letter, reading, raw)
            except Stale:
                log.debug("[webhook] %s is judged again: more of it became known", payment.id)
        raise Refused("store_unavailable", "too much happens to this payment at once: deliver it again")

    async def _do(self, payment: Payment, letter: Letter, reading: Reading, raw: bytes) -> Taken:
        """Keep the webhook with what it does."""
        seen = reading.seen
        judgement = None if seen is None else await self._checks.judge(payment, seen)
        async with self._works.begin() as work:
            body = raw.decode("utf-8", "replace")
            named = {"event_id": letter.event_id, "event_type": letter.event_type, "payment_id": payment.id}
            if not await inbox.add(work.tx, **named, body=body, now=work.now):  # another copy was faster
                return await self._duplicate(letter, payment)
            if seen is not None and judgement is not None:
                if reading.transfers:
                    await inbox.keep_transfers(work.tx, payment.id, reading.transfers, work.now)
                result, _ = await settlement.settle(work, payment.id, seen, judgement)
                outcome = str(result)
            elif reading.refused is not None:
                reason, detail = reading.refused
                outcome = await settlement.refuse(work, payment.id, reason, detail, event_id=letter.event_id)
            elif reading.unread is not None:
                outcome = await _wait_for_list(work, payment, reading.unread)
            else:
                outcome = await _note(work, payment.id, letter.event, self._catalog, reading)
            await inbox.set_outcome(work.tx, letter.event_id, outcome)
        log.info("[webhook] %s of %s: %s", letter.event_type, payment.id, outcome)
        funded = outcome in {Outcome.FUNDED, Outcome.ALREADY_FUNDED}
        return Taken(outcome, funded, letter.about_balance and reading.refused is None)

    async def read_again(self, limit: int) -> None:
        """Judge once more the news of transfers that the scanner could not list when it came."""
        async with self._works.db.read() as tx:
            waiting = await inbox.unread(tx, {*STRAY, PARTIAL}, limit)
        for kept in waiting:
            event = read_event(kept.body.encode(), kept.event_id)
            async with self._works.db.read() as tx:
                payment = await payments.get(tx, kept.payment_id)
            if payment is None or not isinstance(event, IntentEvent):
                raise LookupError(f"payment {kept.payment_id} is gone")
            reading = await self._news(payment, event)
            if reading.unlisted:
                continue
            async with self._works.begin() as work:
                outcome = await _note(work, payment.id, event, self._catalog, reading)
                await inbox.set_outcome(work.tx, kept.event_id, outcome)

    def _verified(self, raw: bytes, headers: Mapping[str, str]) -> Letter:
        if self._secret is None:
            raise Refused("not_configured", "AMN_SCANNER_WEBHOOK_SECRET is not set: webhooks cannot be verified")
        try:
            now = self._works.clock.now_ms() // 1000
            event = verify_webhook(raw, headers, self._secret.get_secret_value(), now)
        except MalformedWebhook as exc:
            if not exc.names:
                raise Refused("bad_json", f"the webhook is signed, and no event: {exc}") from exc
            return Letter(exc.event_id, exc.event_type, exc.names, None, str(exc))
        except InvalidWebhook as exc:
            raise Refused("bad_signature", str(exc)) from exc
        except ValueError as exc:
            raise Refused("not_configured", "AMN_SCANNER_WEBHOOK_SECRET cannot be used") from exc
        known_as = event.watch_id if isinstance(event, BalanceEvent) else event.intent_id
        return Letter(event.event_id, event.event_type, (known_as,), event)

    async def _payment(self, letter: Letter) -> Payment:
        async with self._works.db.read() as tx:
            payment = await payments.of_scanner(tx, letter.names)
        if payment is None:
            raise not_found("payment")
        return payment

    async def _read(self, payment: Payment, letter: Letter) -> Reading:
        """Return what the event shows of money that may be credited."""
        if letter.event is None:
            return Reading(refused=(Reason.BROKEN_ANSWER, letter.why or "unreadable"))
        other = _another_rail(payment, letter.event)
        if other is not None:
            return Reading(refused=(Reason.ANOTHER_RAIL, other))
        try:
            if isinstance(letter.event, BalanceEvent):
                return await self._balance(payment, letter.event)
            return await self._confirmation(payment, letter.event)
        except BrokenList as exc:
            return Reading(refused=(Reason.BROKEN_ANSWER, str(exc)))

    async def _confirmation(self, payment: Payment, event: IntentEvent) -> Reading:
        """Read what a confirmation says, or the scanner where it does not say all; any other event is news."""
        if event.event_type != CONFIRMED or event.status != "confirmed":
            return await self._news(payment, event)
        if payment.status in OPEN_PAYMENTS and not is_whole(event):
            return await self._from_scanner(payment, event)
        if not event.transfers:
            return Reading()
        return Reading(seen=from_event(payment, event, self._catalog.chains[payment.chain_id]))

    async def _news(self, payment: Payment, event: IntentEvent) -> Reading:
        """List all there is where news names only the newest of many, or may be about what is listed as a part."""
        if not await self._needs_list(payment, event):
            return Reading()
        try:
            return Reading(listed=await self._checks.every_transfer(payment))
        except ScannerUnavailable as exc:
            log.warning("[webhook] what came for %s cannot be added up yet: %s", payment.id, exc)
            return Reading(unlisted=True)
        except (ScannerRefused, BrokenList) as exc:
            log.warning("[webhook] what came for %s cannot be added up: %s", payment.id, exc)
            return Reading()

    async def _needs_list(self, payment: Payment, event: IntentEvent) -> bool:
        if event.event_type in STRAY and (event.count or 1) > 1:
            return True
        if payment.status not in ENDED_UNPAID or event.event_type not in {*STRAY, PARTIAL}:
            return False
        async with self._works.db.read() as tx:
            return event.event_type == PARTIAL or await has_part(tx, payment)

    async def _from_scanner(self, payment: Payment, event: IntentEvent) -> Reading:
        """Read the whole list where a confirmation does not have it: nothing is judged by a part."""
        try:
            seen = await self._checks.whole(payment)
        except NotFound:
            return Reading(refused=(Reason.TRANSFER_NOT_FOUND, "the scanner knows no such intent"))
        except (ScannerUnavailable, ScannerRefused) as exc:
            return Reading(unread=str(exc))
        if seen is None:
            return Reading(refused=(Reason.TRANSFER_NOT_FOUND, "the scanner has not confirmed it"))
        chain = self._catalog.chains[payment.chain_id]
        told = None if event.tx_hash is None else normal_tx_hash(event.tx_hash, chain.chain_type)
        if event.tx_hash is not None and told not in {credit.tx_hash for credit in seen.credits}:
            return Reading(refused=(Reason.TRANSFER_NOT_FOUND, f"the scanner knows nothing of {event.tx_hash:.80}"))
        return Reading(seen=seen)

    async def _balance(self, payment: Payment, event: BalanceEvent) -> Reading:
        """Read a balance with every transfer that any event of the payment told."""
        chain = self._catalog.chains[payment.chain_id]
        if not is_about_it(payment, event, chain):
            return Reading(seen=from_balance_event(payment, event, chain))
        told = behind_balance(payment, event, chain)
        async with self._works.db.read() as tx:
            kept = await inbox.kept_transfers(tx, payment.id)
            unplaced = {credit.tx_hash for credit in told if credit.event_key.startswith(KEYLESS)}
            doubtful = await inbox.paid_elsewhere(tx, payment.chain_id, unplaced, payment.id)
        # One transaction may well pay two addresses; whether it did, the scanner can tell.
        if doubtful and payment.status in OPEN_PAYMENTS and not await self._checks.lies_there(payment):
            return Reading(refused=(DOUBLE_CREDIT, "its transaction paid for something else"))
        known = {(credit.tx_hash, credit.event_key): credit for credit in (*kept, *told)}
        return Reading(seen=from_balance_event(payment, event, chain, known.values()), transfers=told)

    async def _duplicate(self, letter: Letter, payment: Payment) -> Taken:
        async with self._works.db.read() as tx:
            now = await payments.get(tx, payment.id)
        funded = now is not None and now.status is PaymentStatus.COMPLETED
        return Taken("duplicate", funded, letter.about_balance)


def _another_rail(payment: Payment, event: Event) -> str | None:
    """Return in what the event is about another way of paying than the payment's."""
    if isinstance(event, BalanceEvent):
        return None if payment.rail is Rail.DIRECT_BALANCE else f"a balance, of a payment by {payment.rail}"
    if payment.rail is Rail.DIRECT_BALANCE:
        return "an intent, of a payment by balance"  # nobody compared the balance with its baseline
    if event.rail is not None and event.rail != payment.rail:
        return f"by {event.rail:.40} instead of {payment.rail}"
    return None


async def _wait_for_list(work: Work, payment: Payment, why: str) -> str:
    """Note that money was confirmed whose transfers cannot be read now; the sweep reads them."""
    log.warning("[webhook] the transfers of %s cannot be read: %s", payment.id, why)
    if payment.hold_reason is None:
        values = {"status": PaymentStatus.PROCESSING}
        await payments.change(work.tx, payment.id, work.now, expected=OPEN_PAYMENTS, **values)
    return inbox.UNREAD


async def _note(work: Work, payment_id: str, event: Event | None, catalog: Catalog, reading: Reading) -> str:
    """Keep news about an intent that credit nothing."""
    payment = await payments.get(work.tx, payment_id)
    if payment is None or not isinstance(event, IntentEvent):
        raise LookupError(f"payment {payment_id} is gone")
    if event.event_type in STRAY:
        await _stray(work, payment, event, reading)
    elif event.event_type == PARTIAL and payment.status in ENDED_UNPAID and reading.listed is not None:
        await _set_part(work, payment, event, reading.listed)
    elif event.event_type in ON_ITS_WAY:
        seen = {"status": PaymentStatus.PROCESSING, "evidence": _document(event), "tx_hash": event.tx_hash}
        await payments.change(work.tx, payment.id, work.now, expected=(PaymentStatus.PENDING,), **seen)
    elif event.event_type == PARTIAL and payment.status in ENDED_UNPAID:
        await note_part(work, payment, event.amount_received or 0, _document(event))
    elif event.event_type == PARTIAL and event.missing is not None and payment.hold_reason is None:
        part = {"status": PaymentStatus.PROCESSING, "escrow_state": Escrow.PARTIAL, "evidence": _document(event)}
        if await payments.change(work.tx, payment.id, work.now, expected=OPEN_PAYMENTS, **part):
            await settlement.tell_underpaid(work, payment, event.missing)
    elif event.event_type == REORGED:
        await _reorged(work, payment, event, catalog)
    return inbox.UNREAD if reading.unlisted else "noted"


async def _stray(work: Work, payment: Payment, event: IntentEvent, reading: Reading) -> None:
    """List money that settles nothing, and take off a part what is told of by itself now."""
    rests = add_up(reading.listed or (), event.reason) if (event.count or 1) > 1 else ()
    if rests:
        await note_all(work, payment, event, _document(event), rests)
    elif reading.listed is None and (event.count or 1) > 1:
        await note_unread(work, payment, event, _document(event))
    else:
        await note_stray(work, payment, event, _document(event))
    if reading.listed is not None and payment.status in ENDED_UNPAID and await has_part(work.tx, payment):
        await _set_part(work, payment, event, reading.listed)


async def _set_part(work: Work, payment: Payment, event: IntentEvent, listed: Iterable[IntentTransfer]) -> None:
    counted, beside = 0, 0
    for each in listed:
        counted += each.amount if each.counted else 0
        beside += each.amount if each.reason in AFTER_THE_END else 0
    received = (event.amount_received or 0) if event.event_type == PARTIAL else 0
    await set_part(work, payment, counted, beside, received, _document(event))


async def _reorged(work: Work, payment: Payment, event: IntentEvent, catalog: Catalog) -> None:
    """Block what was credited and may be gone; open again what was on its way."""
    if payment.status in CREDITED:
        if await _took_back(work, payment, event, catalog):
            await payments.set_observed(work.tx, payment.id, work.now, reorged_at=work.now)
            await note_stray(work, payment, event, _document(event))
    elif payment.hold_reason is None:
        gone = {"status": PaymentStatus.PENDING, "escrow_state": None, "evidence": _document(event), "tx_hash": None}
        await payments.change(work.tx, payment.id, work.now, expected=(PaymentStatus.PROCESSING,), **gone)


async def _took_back(work: Work, payment: Payment, event: IntentEvent, catalog: Catalog) -> bool:
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
