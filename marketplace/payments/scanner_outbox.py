"""Commands for the scanner: registering what is to be paid, and forgetting what is not."""

from __future__ import annotations

import asyncio
import logging
from datetime import UTC, datetime
from typing import assert_never

from pydantic import SecretStr

from clients.python.amn_scanner_client import (
    CheckoutBlock,
    NotFound,
    ScannerClient,
    ScannerRefused,
    ScannerUnavailable,
)
from kernel.clock import Clock
from kernel.tasks.periodic import PeriodicTask
from kernel.web.links import is_web_link
from marketplace.catalog import Catalog
from marketplace.model import OPEN_PAYMENTS, CommandKind, EscrowState, Mode, Payment, PaymentStatus, Rail
from marketplace.payments.settlement import withdraw_from_scanner
from marketplace.risk.policy import same_address
from marketplace.store import addresses, locks, outbox, payments
from marketplace.store.outbox import ScannerCommand
from marketplace.unit_of_work import UnitOfWorkFactory, new_id
from protocol import codec

log = logging.getLogger(__name__)

HOOK_PATH = "/api/payment/amn-scanner/webhook"
BATCH = 16
MAX_LINK = 2_000  # characters of a payment page's address
CLOSED = (PaymentStatus.CANCELLED, PaymentStatus.FAILED)
LOOK_S = 1.0
CLAIM_MS = 120_000  # after which a command is done by another process: each may be done twice without harm
LONGEST_PAUSE_S = 300
OPERATORS_FAULT = frozenset({401, 403})  # a wrong key is repaired by an operator: no refusal of a payment
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
    """Where the scanner reaches us; known once we listen."""

    def __init__(self, public_url: str | None, secret: SecretStr | None) -> None:
        self.base = public_url
        self.secret = secret

    @property
    def url(self) -> str:
        if self.base is None:
            raise RuntimeError("the address at which this service is reached is not known yet")
        return self.base + HOOK_PATH


def _payment_page(payment: Payment, url: str | None) -> str | None:
    """Return where the buyer is shown what to pay, when a browser can be sent there."""
    # Buyers and admins open what is handed on: `javascript:` of a scanner that is none of ours would run as our page.
    if url is None or (len(url) <= MAX_LINK and is_web_link(url)):
        return url
    log.warning("[outbox] the scanner's payment page of %s is no link to a page: left out", payment.id)
    return None


class _CommandRefused(Exception):
    """The scanner will never do this command."""


class CommandDispatcher:
    """Does what the outbox holds, each until it succeeds or is refused for good."""

    def __init__(self, units: UnitOfWorkFactory, scanner: ScannerClient, catalog: Catalog, callback: Callback) -> None:
        self._units = units
        self._clock: Clock = units.clock
        self._scanner = scanner
        self._catalog = catalog
        self._callback = callback

    async def run(self) -> None:
        """Do what is due, for ever."""
        everything = PeriodicTask("command", self._run_all_due)
        while True:
            await self._units.commands.wait(LOOK_S)
            await everything.once()

    async def _run_all_due(self) -> None:
        while await self.run_due():
            pass

    async def run_due(self) -> int:
        """Do one batch; return how many there were."""
        async with self._units.db.read() as tx:
            found = await outbox.due(tx, self._clock.now_ms(), BATCH)
        if found and self._units.db.shared:
            async with self._units.begin(None) as work:
                found = await outbox.claim_due(work.tx, new_id(), work.now, work.now + CLAIM_MS, BATCH)
        async with asyncio.TaskGroup() as group:
            for command in found:
                group.create_task(self._do(command), name=f"command {command.id}")
        return len(found)

    async def register_now(self, payment_id: str) -> None:
        """Try a registration at once, for the buyer who waits; what fails stays in the outbox."""
        shared, kind, command = self._units.db.shared, CommandKind.REGISTER, None
        if shared:
            async with self._units.begin(None) as work:
                until = work.now + CLAIM_MS
                command = await outbox.claim_of_payment(work.tx, kind, payment_id, new_id(), work.now, until)
        async with self._units.db.read() as tx:
            if not shared:
                command = await outbox.of_payment(tx, kind, payment_id)
            payment = await payments.get(tx, payment_id)
        if command is not None and command.status == "pending" and payment is not None:
            await self._do_for(command, payment)

    async def _do(self, command: ScannerCommand) -> None:
        async with self._units.db.read() as tx:
            payment = await payments.get(tx, command.payment_id)
        if payment is None:
            raise LookupError(f"command {command.id} names no payment")
        await self._do_for(command, payment)

    async def _do_for(self, command: ScannerCommand, payment: Payment) -> None:
        try:
            await self._carry_out(command, payment)
        except ScannerUnavailable as exc:
            await self._later(command, str(exc))
        except _CommandRefused as exc:
            await self._give_up(command, payment, str(exc))
        except ScannerRefused as exc:
            if exc.status in OPERATORS_FAULT:
                await self._later(command, str(exc))
            else:
                await self._give_up(command, payment, str(exc))

    async def _carry_out(self, command: ScannerCommand, payment: Payment) -> None:
        match command.kind:
            case CommandKind.REGISTER:
                await self._register(command, payment)
            case CommandKind.CANCEL_INTENT:
                try:
                    await self._scanner.end_intent(payment.id)
                except NotFound:
                    log.debug("[outbox] the scanner never heard of intent %s", payment.id)
                await self._finish(command)
            case CommandKind.STOP_WATCH:
                try:
                    await self._scanner.stop_watch(payment.provider_payment_id or "")
                except NotFound:
                    log.debug("[outbox] the scanner never heard of watch %s", payment.provider_payment_id)
                async with self._units.begin(locks.request_of_payment(command.payment_id)) as work:
                    await payments.set_watch_stopped(work.tx, payment.id, work.now)
                    await outbox.finish(work.tx, command, work.now)
            case _:
                assert_never(command.kind)

    async def _register(self, command: ScannerCommand, payment: Payment) -> None:
        if payment.status not in OPEN_PAYMENTS:
            await self._leave_unregistered(command, payment)
            return
        if payment.rail is Rail.DIRECT_BALANCE:
            values = await self._register_balance(payment)
        else:
            values = await self._register_intent(payment)
        async with self._units.begin(locks.request_of_payment(command.payment_id)) as work:
            await outbox.finish(work.tx, command, work.now)
            if await payments.set_registered(work.tx, payment.id, work.now, **values):
                return
            now = await payments.get(work.tx, payment.id)
            if now is not None and now.status in CLOSED:  # while we registered: take it back
                await withdraw_from_scanner(work, payment)

    async def _leave_unregistered(self, command: ScannerCommand, payment: Payment) -> None:
        """Register nothing for a payment that is over, and take back what somebody registered before us."""
        async with self._units.begin(locks.request_of_payment(command.payment_id)) as work:
            # A process that died may have been slow: the scanner was told to forget what it had not heard of yet.
            if await outbox.finish(work.tx, command, work.now) and payment.status in CLOSED:
                await withdraw_from_scanner(work, payment)

    async def _register_intent(self, payment: Payment) -> dict[str, object]:
        registered = await self._scanner.create_intent(
            intent_id=payment.id,
            chain_id=payment.chain_id,
            token=payment.token_address,
            destination=payment.destination,
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
            "payment_url": _payment_page(payment, registered.payment_url),
        }

    def _compare(self, payment: Payment, block: CheckoutBlock) -> None:
        """Refuse to show a buyer anything but what was agreed: our registry and the scanner's may differ."""
        chain_type = self._catalog.chains[payment.chain_id].chain_type
        agreed = (
            block.chain_id == payment.chain_id
            and block.amount_wei == payment.amount_base
            and block.decimals in {None, payment.decimals}
            and same_address(block.token_address, payment.token_address, chain_type)
            and same_address(block.destination, payment.destination, chain_type)
        )
        if not agreed:
            raise _CommandRefused("the scanner registered something else than what was agreed: compare the registries")

    async def _register_balance(self, payment: Payment) -> dict[str, object]:
        """Read the baseline before anybody is shown the address, then watch if that was asked for."""
        baseline = payment.baseline_balance
        if baseline is None:
            baseline = await self._read_baseline(payment)
        if payment.mode is not Mode.WATCH or payment.provider_payment_id is None:
            return {}
        watch = await self._scanner.create_watch(
            watch_id=payment.provider_payment_id,
            chain_id=payment.chain_id,
            address=payment.destination,
            token=payment.token_address,
            callback_url=self._callback.url,
            callback_secret=self._secret(),
            baseline_balance=baseline,
        )
        return {"next_check_at": watch.next_check_at}

    async def _read_baseline(self, payment: Payment) -> int:
        found = await self._scanner.check_balance(
            chain_id=payment.chain_id, address=payment.destination, token=payment.token_address
        )
        if found.decimals not in {None, payment.decimals}:
            raise _CommandRefused("the scanner knows other decimals for this token: compare the registries")
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

    async def _finish(self, command: ScannerCommand) -> None:
        async with self._units.begin(None) as work:
            await outbox.finish(work.tx, command, work.now)

    async def _later(self, command: ScannerCommand, why: str) -> None:
        pause_s = min(2 ** min(command.attempts, 16), LONGEST_PAUSE_S)
        if command.attempts == 0:
            log.warning("[outbox] %s of %s waits: %s", command.kind, command.payment_id, why)
        async with self._units.begin(None) as work:
            await outbox.postpone(work.tx, command, work.now + pause_s * 1000, why)

    async def _give_up(self, command: ScannerCommand, payment: Payment, why: str) -> None:
        """End what will never be done; a payment that nobody was shown has failed."""
        log.error("[outbox] %s of %s was refused: %s", command.kind, command.payment_id, why)
        async with self._units.begin(locks.request_of_payment(command.payment_id)) as work:
            if not await outbox.finish(work.tx, command, work.now, refused=why):
                return  # another process does it by now, and may have been accepted
            if command.kind is not CommandKind.REGISTER:
                return
            failed = {"status": PaymentStatus.FAILED, "escrow_state": EscrowState.FAILED, "reason": why}
            if await payments.change(work.tx, payment.id, work.now, expected=(PaymentStatus.PENDING,), **failed):
                await addresses.release(work.tx, payment.id, work.now)
                work.notify_of_payment(
                    [payment.buyer_id], payment, "payment_failed", f"Payment {payment.ref} cannot be made"
                )
