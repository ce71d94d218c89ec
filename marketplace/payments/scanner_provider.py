"""The scanner as a provider: intents and balances of its own, read from the chain by itself."""

from __future__ import annotations

import logging
from collections.abc import Mapping
from datetime import UTC, datetime

from pydantic import SecretStr

from clients.python.amn_scanner_client import (
    BalanceEvent,
    CheckoutBlock,
    FullIntent,
    InvalidWebhook,
    MalformedWebhook,
    NotFound,
    ScannerClient,
    ScannerRefused,
    ScannerUnavailable,
    Transfer,
    verify_webhook,
)
from kernel.web.links import is_web_link
from marketplace.catalog import Catalog
from marketplace.errors import Refused
from marketplace.model import OPEN_PAYMENTS, Mode, Payment, Rail
from marketplace.payments.observation import BrokenList, PaymentObservation, from_balance, from_intent
from marketplace.payments.providers import CreationRefused, NothingSeen, OnItsWay, ProviderStatus, Seen
from marketplace.payments.signed_webhook import SignedWebhook
from marketplace.risk.policy import BASELINE_MISSING, Reason, same_address
from marketplace.store import inbox, locks, payments
from marketplace.unit_of_work import UnitOfWorkFactory
from protocol import codec

log = logging.getLogger(__name__)

HOOK_PATH = "/api/payment/amn-scanner/webhook"
MAX_LINK = 2_000  # characters of a payment page's address
CONFIRMED = frozenset({"confirmed", "webhook_failed"})  # the second is the delivery's trouble, not the money's
AWAITING = "awaiting-confirmations"
MAX_PAGES = 400  # of a list of transfers, 500 each: more than anybody pays a price in
EVENTS = (
    "payment.detected",
    "payment.confirming",
    "payment.partial",
    "payment.overpaid",
    "payment.late",
    "payment.reorged",
    "payment.anomaly",
    "intent.expired",
)


class Callback:
    """Where providers reach us; known once we listen."""

    def __init__(self, public_url: str | None, secret: SecretStr | None) -> None:
        self.base = public_url
        self.secret = secret

    @property
    def url(self) -> str:
        """Return where the scanner reaches us."""
        return self.at(HOOK_PATH)

    def at(self, path: str) -> str:
        """Return the address of a path."""
        if self.base is None:
            raise RuntimeError("the address at which this service is reached is not known yet")
        return self.base + path


def payment_page(payment: Payment, url: str | None) -> str | None:
    """Return where the buyer is shown what to pay, when a browser can be sent there."""
    # Buyers and admins open what is handed on: `javascript:` of a scanner that is none of ours would run as our page.
    if url is None or (len(url) <= MAX_LINK and is_web_link(url)):
        return url
    log.warning("[outbox] the scanner's payment page of %s is no link to a page: left out", payment.id)
    return None


class ScannerProvider:
    """Registers what is to be paid with the scanner, and reads there what became of it."""

    def __init__(self, units: UnitOfWorkFactory, scanner: ScannerClient, catalog: Catalog, callback: Callback) -> None:
        self._units = units
        self._scanner = scanner
        self._catalog = catalog
        self._callback = callback

    # -- create

    async def create(self, payment: Payment) -> Mapping[str, object]:
        if payment.rail is Rail.DIRECT_BALANCE:
            return await self._create_balance(payment)
        return await self._create_intent(payment)

    async def _create_intent(self, payment: Payment) -> dict[str, object]:
        registered = await self._scanner.create_intent(
            intent_id=payment.id,
            chain_id=payment.chain_id,
            token=payment.token_address,
            destination=payment.paid_to,
            amount=payment.amount_base,
            callback_url=self._callback.url,
            callback_secret=self._secret(),
            rail=payment.rail,
            confirmations=payment.confirmations_required,
            expires_at=None if payment.expires_at is None else datetime.fromtimestamp(payment.expires_at / 1000, UTC),
            events=EVENTS,
        )
        self._compare(payment, registered.checkout_block)
        return {
            "checkout": codec.plain(registered.checkout_block),
            "payment_url": payment_page(payment, registered.payment_url),
        }

    def _compare(self, payment: Payment, block: CheckoutBlock) -> None:
        """Refuse to show a buyer anything but what was agreed: our registry and the scanner's may differ."""
        chain_type = self._catalog.chains[payment.chain_id].chain_type
        agreed = (
            block.chain_id == payment.chain_id
            and block.amount_wei == payment.amount_base
            and block.decimals in {None, payment.decimals}
            and same_address(block.token_address, payment.token_address, chain_type)
            and same_address(block.destination, payment.paid_to, chain_type)
        )
        if not agreed:
            raise CreationRefused("the scanner registered something else than what was agreed: compare the registries")

    async def _create_balance(self, payment: Payment) -> dict[str, object]:
        """Read the baseline before anybody is shown the address, then watch if that was asked for."""
        baseline = payment.baseline_balance
        if baseline is None:
            baseline = await self._read_baseline(payment)
        if payment.mode is not Mode.WATCH or payment.provider_payment_id is None:
            return {}
        watch = await self._scanner.create_watch(
            watch_id=payment.provider_payment_id,
            chain_id=payment.chain_id,
            address=payment.paid_to,
            token=payment.token_address,
            callback_url=self._callback.url,
            callback_secret=self._secret(),
            baseline_balance=baseline,
        )
        return {"next_check_at": watch.next_check_at}

    async def _read_baseline(self, payment: Payment) -> int:
        found = await self._scanner.check_balance(
            chain_id=payment.chain_id, address=payment.paid_to, token=payment.token_address
        )
        if found.decimals not in {None, payment.decimals}:
            raise CreationRefused("the scanner knows other decimals for this token: compare the registries")
        async with self._units.begin(locks.request_of_payment(payment.id)) as work:
            await payments.set_baseline(work.tx, payment.id, found.balance)
            stored = await payments.get(work.tx, payment.id)
        if stored is None or stored.baseline_balance is None:
            raise LookupError(f"payment {payment.id} is gone")
        return stored.baseline_balance  # whoever read first, of two that read at once

    def _secret(self) -> str:
        if self._callback.secret is None:
            raise ScannerUnavailable("AMN_SCANNER_WEBHOOK_SECRET is not set: webhooks could not be verified")
        return self._callback.secret.get_secret_value()

    # -- cancel

    async def cancel(self, payment: Payment) -> None:
        if payment.rail is Rail.DIRECT_BALANCE:
            await self._scanner.stop_watch(payment.provider_payment_id or "")
        else:
            await self._scanner.end_intent(payment.id)

    # -- webhooks

    def verify_webhook(self, raw: bytes, headers: Mapping[str, str]) -> SignedWebhook:
        if self._callback.secret is None:
            raise Refused("not_configured", "AMN_SCANNER_WEBHOOK_SECRET is not set: webhooks cannot be verified")
        try:
            now = self._units.clock.wall_ms() // 1000
            event = verify_webhook(raw, headers, self._callback.secret.get_secret_value(), now=now)
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

    # -- status

    async def status(self, payment: Payment, *, thoroughly: bool) -> ProviderStatus:
        if payment.rail is Rail.DIRECT_BALANCE:
            return await self._balance_status(payment)
        return await self._intent_status(payment, thoroughly=thoroughly)

    async def _balance_status(self, payment: Payment) -> ProviderStatus:
        """Credit what is there at a safe depth; what is only at the newest block is on its way."""
        if payment.baseline_balance is None and payment.registered_at is None:
            return NothingSeen(BASELINE_MISSING)
        deep = await self._balance(payment, confirmed=True)
        paid = deep.balance is not None and deep.balance.paid
        if paid or payment.status not in OPEN_PAYMENTS:
            return Seen(deep)
        newest = await self._balance(payment, confirmed=False)
        if newest.balance is None or not newest.balance.paid:
            return Seen(newest)
        return OnItsWay(newest)

    async def _balance(self, payment: Payment, *, confirmed: bool) -> PaymentObservation:
        found = await self._scanner.check_balance(
            chain_id=payment.chain_id, address=payment.paid_to, token=payment.token_address, confirmed=confirmed
        )
        async with self._units.db.read() as tx:
            known = await inbox.kept_transfers(tx, payment.id)
        return from_balance(payment, found, self._catalog.chains[payment.chain_id], known, deep=confirmed)

    async def _intent_status(self, payment: Payment, *, thoroughly: bool) -> ProviderStatus:
        try:
            intent = await self._intent(payment, thoroughly=thoroughly)
        except NotFound:
            return NothingSeen(Reason.TRANSFER_NOT_FOUND)
        if intent.status in CONFIRMED:
            return Seen(await self._whole(payment, intent))
        if intent.status == "confirming":
            reason: str = AWAITING
        elif intent.amount_received > 0:
            reason = f"underpaid:delta={intent.amount_received},expected={payment.amount_base}"
        else:
            reason = Reason.TRANSFER_NOT_FOUND
        return NothingSeen(reason, intent.amount_received)

    async def _intent(self, payment: Payment, *, thoroughly: bool) -> FullIntent:
        if thoroughly:
            return (await self._scanner.recheck_intent(payment.id)).intent
        return await self._scanner.intent(payment.id)

    async def is_paid_on_chain(self, payment: Payment) -> bool:
        """Say whether the scanner sees the whole sum at the payment's address, deep enough."""
        try:
            observed = await self._balance(payment, confirmed=True)
        except (ScannerUnavailable, ScannerRefused):
            return False
        return observed.balance is not None and observed.balance.paid

    async def whole(self, payment: Payment) -> PaymentObservation | None:
        """
        Read a payment at the scanner with every transfer of it; None while it is not confirmed there.

        Raises:
            ScannerUnavailable, ScannerRefused: not all of it could be read.
            BrokenList: what was read contradicts itself.
        """
        intent = await self._scanner.intent(payment.id)
        return await self._whole(payment, intent) if intent.status in CONFIRMED else None

    async def _whole(self, payment: Payment, intent: FullIntent) -> PaymentObservation:
        listed = tuple(each for each in intent.transfers if each.counted)
        if not listed or sum(each.amount for each in listed) != intent.amount_received:
            listed = await self.every_transfer(payment)
        return from_intent(payment, intent, listed, self._catalog.chains[payment.chain_id])

    async def every_transfer(self, payment: Payment) -> tuple[Transfer, ...]:
        """
        Read all that concerns the intent of a payment, oldest first, what was rejected included.

        Raises:
            ScannerUnavailable, ScannerRefused: not all of it could be read.
            BrokenList: there is more than is ever read.
        """
        found: list[Transfer] = []
        cursor: str | None = None
        for _ in range(MAX_PAGES):
            page = await self._scanner.transfers(payment.id, cursor=cursor)
            found += page.transfers
            if page.next_cursor is None:
                return tuple(found)
            cursor = page.next_cursor
        raise BrokenList(f"more than {len(found)} transfers: they are not read to the end")
