"""What time does by itself: payments end, held ones are looked at again, goods are taken as accepted."""

from __future__ import annotations

import logging

from clients.python.amn_scanner_client import ScannerRefused, ScannerUnavailable
from kernel.clock import HOUR_MS
from kernel.store.leases import Leases
from kernel.tasks.periodic import PeriodicTask
from kernel.tasks.wakeup import Wakeup
from marketplace.goods.upkeep import GoodsUpkeep
from marketplace.identity.links import KEPT_MS
from marketplace.model import CommandKind
from marketplace.notifications.alerts import BookWatch, WebhookWatch
from marketplace.payments.expiry import Expiry
from marketplace.payments.hosted.webhook_receiver import HostedWebhookReceiver
from marketplace.payments.payout_settlement import PayoutSettlements
from marketplace.payments.payouts import Payouts
from marketplace.payments.webhook_receiver import WebhookReceiver
from marketplace.retention import Retention
from marketplace.store import account_links, outbox, payments, users
from marketplace.store.errors import StoreError
from marketplace.trade.dispute_deadlines import DisputeDeadlines
from marketplace.unit_of_work import UnitOfWorkFactory

log = logging.getLogger(__name__)

BATCH = 100
SWEEP = "sweep"  # the lease of whoever does what is done once


class Scheduler:
    """The scheduled chores."""

    def __init__(
        self,
        units: UnitOfWorkFactory,
        expiry: Expiry,
        payouts: Payouts,
        payout_settlements: PayoutSettlements,
        retention: Retention,
        webhook_receiver: WebhookReceiver,
        hosted_webhooks: HostedWebhookReceiver,
        goods: GoodsUpkeep,
        dispute_deadlines: DisputeDeadlines,
        *,
        every_s: float,
        books: BookWatch,
        webhooks: WebhookWatch,
        leases: Leases | None = None,
    ) -> None:
        """`leases` where several processes share the store."""
        self._units = units
        self._expiry = expiry
        self._payouts = payouts
        self._payout_settlements = payout_settlements
        self._retention = retention
        self._webhook_receiver = webhook_receiver
        self._hosted_webhooks = hosted_webhooks
        self.goods = goods
        self._dispute_deadlines = dispute_deadlines
        self._every_s = every_s
        self._books = books
        self._webhooks = webhooks
        self._leases = leases
        self.wakeup = Wakeup()

    async def run(self) -> None:
        """Sweep, for ever: of several processes the one that holds the lease."""
        await (self._run() if self._leases is None else self._leases.lead(SWEEP, self._run))

    async def _run(self) -> None:
        """Sweep on schedule, and whenever somebody rings, for ever."""
        chores = PeriodicTask("sweep", self.once)
        while True:
            await self.wakeup.wait(self._every_s)
            await chores.once()

    async def once(self) -> None:
        """Do every chore once."""
        await self._look_again()
        await self._webhook_receiver.read_again(BATCH)
        await self._hosted_webhooks.read_again(BATCH)
        await self._hosted_webhooks.look_for_late(BATCH)
        await self._stop_forgotten()
        await self._payouts.pass_grace()
        await self._payout_settlements.look_again()
        await self.goods.once()
        await self._dispute_deadlines.tell_overdue()
        await self._tell_held_back()
        await self._retention.once()
        await self._books.once()
        await self._webhooks.once()
        async with self._units.begin(None) as work:
            await users.forget_tokens(work.tx, work.now - 24 * HOUR_MS)
            await account_links.forget(work.tx, work.now - KEPT_MS)
        if self._leases is not None:
            await self._leases.forget()

    async def _look_again(self) -> None:
        async with self._units.begin(None) as work:
            found = await payments.to_look_at(work.tx, now=work.now, limit=BATCH)
            await payments.set_looked_at(work.tx, [payment.id for payment in found], work.now)
        for payment in found:
            held = payment.hold_reason is not None
            if held and not (payment.evidence or {}).get("mayChange"):
                continue  # a person decides
            try:
                await self._expiry.look(payment)
            except (ScannerUnavailable, ScannerRefused) as exc:
                log.debug("[sweep] %s: %s", payment.id, exc)  # the health check tells; the next sweep asks again
            except StoreError:
                raise  # nothing can be done about any of them now
            except Exception:
                # One payment that cannot be judged would otherwise end the process, and every other one with it.
                log.exception("[sweep] %s cannot be judged: the others go on", payment.id)

    async def _tell_held_back(self) -> None:
        """Tell what happened again and again, once an hour."""
        told = BATCH
        while told == BATCH:
            async with self._units.begin(None) as work:
                told = await work.tell_held_back(BATCH)

    async def _stop_forgotten(self) -> None:
        async with self._units.begin(None) as work:
            for payment in await payments.forgotten_watches(work.tx):
                await outbox.add(work.tx, CommandKind.STOP_WATCH, payment.id, now=work.now)
                work.commands = True
