"""After the stories: wait until nothing is left to do, read everything again, and judge it."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Sequence
from typing import Any

from devnet.runner.facts import Credit, Fault, Finding, FlowFailed, Note
from devnet.runner.lists import FAIL_S, POLL_S, listed
from devnet.runner.tale import Tale, World
from devnet.runner.verdicts import (
    Cast,
    backlog_fault,
    credits_of,
    duplicate_credits,
    ledger_findings,
    repeated,
    too_many_errors,
    unheard,
)

DRAIN_S = 60.0
PAGE = 100


async def judge(world: World, tales: Sequence[Tale], credited: list[Credit]) -> list[Finding]:
    """
    Find everything that is wrong after a level; `credited` grows by its credits.

    A service that does not answer any more is a finding as well.
    """
    found = [finding for tale in tales for finding in tale.findings]
    for look in (_backlog, _notifications, _ledger):
        try:
            found += await look(world, tales)
        except FlowFailed as exc:
            found.append(Finding(Fault.FLOW, f"the level cannot be judged: {exc}"))
    try:
        credited += await _credits(world, tales)
    except FlowFailed as exc:
        found.append(Finding(Fault.FLOW, f"the level cannot be judged: {exc}"))
    found += duplicate_credits(credited)
    found += too_many_errors(world.market.journal.samples, killing=bool(world.market.patience_s))
    return list(dict.fromkeys([*found, *world.market.journal.findings]))


async def _backlog(world: World, tales: Sequence[Tale]) -> list[Finding]:
    """Wait until the scanner has told everything and the marketplace has taken it."""
    began = time.monotonic()
    while True:
        status = await world.at_scanner("scanner status", "/scanner/status")
        undelivered = sum(chain["undeliveredWebhooks"] for chain in status["chains"])
        awaiting = await _awaiting(world, tales)
        waited_s = time.monotonic() - began
        if waited_s > DRAIN_S or not (undelivered or awaiting):
            return backlog_fault(undelivered, awaiting, waited_s)
        await asyncio.sleep(POLL_S)


async def _awaiting(world: World, tales: Sequence[Tale]) -> int:
    ours = {tale.deal.payment_id for tale in tales}
    found: set[str] = set()
    page, total = 0, 1
    while page * PAGE < total:
        page += 1
        path = f"/api/admin/payments/awaiting-confirmation?limit={PAGE}&page={page}"
        data = await world.admin.ok("awaiting confirmation", "GET", path)
        found |= {payment["id"] for payment in data["payments"]}
        total = data["total"]
    return len(ours & found)


async def _notifications(world: World, tales: Sequence[Tale]) -> list[Finding]:
    """Compare what everybody heard and was told with what was their business."""
    cast = Cast([tale.deal for tale in tales], [world.admin.user_id], world.hall.sellers)
    ours = {tale.deal.payment_id for tale in tales}
    found: list[Finding] = []
    for ears in world.hall.ears.values():
        stored = await listed(ears.person, ears.since)
        if ears.person is world.admin:  # who hears of other people's payments, too
            stored = [note for note in stored if note.about in ours]
        live = await _all_heard(world, ears.person.user_id, stored, ours)
        found += cast.misdirected([*live, *stored]) + repeated(stored) + unheard(live, stored)
    return found


async def _all_heard(world: World, user_id: str, stored: Sequence[Note], ours: set[str]) -> list[Note]:
    """Return what a person heard live, once that is everything or it is too late."""
    began = time.monotonic()
    while True:
        live = [note for note in world.hall.ears[user_id].heard if user_id != world.admin.user_id or note.about in ours]
        if {note.id for note in live} >= {note.id for note in stored} or time.monotonic() - began > FAIL_S:
            return live
        await asyncio.sleep(POLL_S)


async def _credits(world: World, tales: Sequence[Tale]) -> list[Credit]:
    credited: list[Credit] = []
    for tale in tales:
        if tale.deal.payment_id:
            credited += credits_of(await _payment(world, tale.deal.payment_id))
    return credited


async def _payment(world: World, payment_id: str) -> dict[str, Any]:
    return dict((await world.admin.ok("read payment", "GET", f"/api/payment/{payment_id}"))["payment"])


async def _ledger(world: World, _tales: Sequence[Tale]) -> list[Finding]:
    return ledger_findings(await world.admin.ok("reconciliation", "GET", "/api/admin/reconciliation"))
