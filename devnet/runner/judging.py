"""After the scenarios: wait until nothing is left to do, read everything again, and judge it."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Sequence
from typing import Any

from devnet.runner.checks import (
    Recipients,
    backlog_fault,
    credits_of,
    duplicate_credits,
    ledger_findings,
    not_received_live,
    repeated,
    too_many_errors,
)
from devnet.runner.facts import CreditedTransfer, Finding, FindingKind, FlowFailed, Notification
from devnet.runner.notification_list import FAIL_S, POLL_S, all_notifications
from devnet.runner.notification_listener import NotificationListener
from devnet.runner.scenario import LevelContext, Scenario

DRAIN_S = 60.0
PAGE = 100


async def judge(
    context: LevelContext, scenarios: Sequence[Scenario], credited_transfers: list[CreditedTransfer]
) -> list[Finding]:
    """
    Find everything that is wrong after a level; `credited_transfers` grows by its own.

    A service that does not answer any more is a finding as well.
    """
    found = [finding for scenario in scenarios for finding in scenario.findings]
    for check in (_backlog, _notifications, _ledger):
        try:
            found += await check(context, scenarios)
        except FlowFailed as exc:
            found.append(Finding(FindingKind.FLOW, f"the level cannot be judged: {exc}"))
    try:
        credited_transfers += await _credits(context, scenarios)
    except FlowFailed as exc:
        found.append(Finding(FindingKind.FLOW, f"the level cannot be judged: {exc}"))
    found += duplicate_credits(credited_transfers)
    found += too_many_errors(context.market.journal.samples, killing=bool(context.market.max_downtime_s))
    return list(dict.fromkeys([*found, *context.market.journal.findings]))


async def _backlog(context: LevelContext, scenarios: Sequence[Scenario]) -> list[Finding]:
    """Wait until the scanner has delivered every webhook and the marketplace has processed them."""
    began = time.monotonic()
    while True:
        status = await context.ask_scanner("scanner status", "/scanner/status")
        undelivered = sum(chain["undeliveredWebhooks"] for chain in status["chains"])
        awaiting = await _awaiting(context, scenarios)
        waited_s = time.monotonic() - began
        if waited_s > DRAIN_S or not (undelivered or awaiting):
            return backlog_fault(undelivered, awaiting, waited_s)
        await asyncio.sleep(POLL_S)


async def _awaiting(context: LevelContext, scenarios: Sequence[Scenario]) -> int:
    ours = {scenario.purchase.payment_id for scenario in scenarios}
    found: set[str] = set()
    page, total = 0, 1
    while page * PAGE < total:
        page += 1
        path = f"/api/admin/payments/awaiting-confirmation?limit={PAGE}&page={page}"
        data = await context.admin.ok("awaiting confirmation", "GET", path)
        found |= {payment["id"] for payment in data["payments"]}
        total = data["total"]
    return len(ours & found)


async def _notifications(context: LevelContext, scenarios: Sequence[Scenario]) -> list[Finding]:
    """Compare the notifications of every user with those they may receive."""
    recipients = Recipients(
        [scenario.purchase for scenario in scenarios], [context.admin.user_id], context.listeners.sellers
    )
    ours = {scenario.purchase.payment_id for scenario in scenarios}
    found: list[Finding] = []
    for listener in context.listeners.by_user.values():
        live, stored = await _told(context, listener, ours)
        found += recipients.wrong_recipients([*live, *stored]) + repeated(stored) + not_received_live(live, stored)
    return found


async def _told(
    context: LevelContext, listener: NotificationListener, ours: set[str]
) -> tuple[list[Notification], list[Notification]]:
    """Return what a user heard and what is stored, once these are the same or it is too late: more may come."""
    began = time.monotonic()
    while True:
        stored = await all_notifications(listener.user, listener.since)
        live = list(listener.received)
        if listener.user is context.admin:  # who is notified of other payments, too
            stored, live = ([note for note in notes if note.about in ours] for notes in (stored, live))
        same = {note.id for note in live} == {note.id for note in stored}
        if same or time.monotonic() - began > FAIL_S:
            return live, stored
        await asyncio.sleep(POLL_S)


async def _credits(context: LevelContext, scenarios: Sequence[Scenario]) -> list[CreditedTransfer]:
    credited_transfers: list[CreditedTransfer] = []
    for scenario in scenarios:
        if scenario.purchase.payment_id:
            credited_transfers += credits_of(await _payment(context, scenario.purchase.payment_id))
    return credited_transfers


async def _payment(context: LevelContext, payment_id: str) -> dict[str, Any]:
    return dict((await context.admin.ok("read payment", "GET", f"/api/payment/{payment_id}"))["payment"])


async def _ledger(context: LevelContext, _scenarios: Sequence[Scenario]) -> list[Finding]:
    return ledger_findings(await context.admin.ok("reconciliation", "GET", "/api/admin/reconciliation"))
