"""Commands for the scanner and other providers: expecting what is to be paid, and forgetting what is not."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Mapping
from typing import assert_never

from clients.python.amn_scanner_client import NotFound, ScannerRefused, ScannerUnavailable
from kernel.clock import Clock
from kernel.tasks.periodic import PeriodicTask
from marketplace.model import OPEN_PAYMENTS, CommandKind, EscrowState, Payment, PaymentStatus
from marketplace.payments.providers import CreationRefused, Providers
from marketplace.payments.settlement import withdraw_from_scanner
from marketplace.store import addresses, locks, outbox, payments
from marketplace.store.errors import Taken
from marketplace.store.outbox import ScannerCommand
from marketplace.unit_of_work import UnitOfWorkFactory, new_id

log = logging.getLogger(__name__)

BATCH = 16
CLOSED = (PaymentStatus.CANCELLED, PaymentStatus.FAILED)
LOOK_S = 1.0
CLAIM_MS = 120_000  # after which a command is done by another process: each may be done twice without harm
LONGEST_PAUSE_S = 300
OPERATORS_FAULT = frozenset({401, 403})  # a wrong key is repaired by an operator: no refusal of a payment


class CommandDispatcher:
    """Does what the outbox holds, each until it succeeds or is refused for good."""

    def __init__(self, units: UnitOfWorkFactory, providers: Providers) -> None:
        self._units = units
        self._clock: Clock = units.clock
        self._providers = providers

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
        except CreationRefused as exc:
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
                    await self._providers.of(payment).cancel(payment)
                except NotFound:
                    log.debug("[outbox] %s never heard of payment %s", payment.provider, payment.id)
                await self._finish(command)
            case CommandKind.STOP_WATCH:
                try:
                    await self._providers.of(payment).cancel(payment)
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
        values = await self._providers.of(payment).create(payment)
        try:
            await self._note_registered(command, payment, values)
        except Taken as exc:  # a name, or an address, that another payment has
            raise CreationRefused(f"{payment.provider} gave what another payment has") from exc

    async def _note_registered(self, command: ScannerCommand, payment: Payment, values: Mapping[str, object]) -> None:
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
