"""What admins do and see, over HTTP."""

from __future__ import annotations

from typing import Annotated, Literal

from aiohttp import web
from pydantic import Field

from marketplace.model import Direction, PaymentStatus, Role
from marketplace.payments.payouts import PayoutInstruction
from marketplace.store.inbox import UnappliedFunds
from marketplace.store.reorgs import Clearance
from marketplace.web import payments, shapes
from marketplace.web.answers import paged, success
from marketplace.web.bodies import Body, Line, Listing, Text, current_actor, parse, parse_query, path_uuid
from marketplace.web.fields import Address, ChainId, Moment
from marketplace.web.state import SERVICES
from protocol.codec import of

INSTRUCTIONS = {
    "pending": PaymentStatus.PENDING,
    "settling": PaymentStatus.PROCESSING,
    "released": PaymentStatus.COMPLETED,
}
STATUSES = {status: word for word, status in INSTRUCTIONS.items()}


class Release(Body):
    to_address: Address | None = None


class Refund(Body):
    to_address: Address
    reason: Annotated[Text, Field(min_length=3, max_length=2000)]


class ClearReorg(Body):
    note: Annotated[Text, Field(min_length=1, max_length=2000)]


class Settle(Body):
    tx_hash: Annotated[Line, Field(min_length=1, max_length=128)]


class ListInstructions(Listing):
    status: Literal["pending", "settling", "released"] | None = None

    @property
    def of_payments(self) -> PaymentStatus | None:
        """Return the status such instructions have in the store."""
        return None if self.status is None else INSTRUCTIONS[self.status]


class Hold(Body):
    until: Moment | None = None


class Threshold(Body):
    chain_id: ChainId
    confirmations: Annotated[int, Field(strict=True, ge=1, le=100_000)]


class Thresholds(Body):
    thresholds: Annotated[list[Threshold], Field(min_length=1, max_length=100)]


def ordered(given: PayoutInstruction) -> shapes.OrderedPayout:
    """Return an instruction beside the payment it empties."""
    order = given.instruction
    instruction = of(
        shapes.Instruction,
        order,
        kind="release" if order.direction is Direction.OUT else "refund",
        source=given.payment.paid_to,
        to=order.paid_to,
        amount_base_units=shapes.BaseUnits(order.amount_base),
        status=STATUSES[order.status],
    )
    return shapes.OrderedPayout(payment=payments.shown(given.payment), instruction=instruction)


def recovery(row: UnappliedFunds) -> shapes.Recovery:
    """Return money that needs a person."""
    amount = None if row.amount_base is None else shapes.BaseUnits(row.amount_base)
    return of(shapes.Recovery, row, amount_base_units=amount)


async def release(request: web.Request) -> web.Response:
    """POST /api/admin/payments/{id}/release"""
    current_actor(request, Role.ADMIN)
    body = await parse(request, Release)
    given = await request.app[SERVICES].payouts.release(path_uuid(request, "payment"), body.to_address)
    return success(ordered(given))


async def refund(request: web.Request) -> web.Response:
    """POST /api/admin/payments/{id}/refund"""
    current_actor(request, Role.ADMIN)
    body = await parse(request, Refund)
    given = await request.app[SERVICES].payouts.refund(path_uuid(request, "payment"), body.to_address, body.reason)
    return success(ordered(given))


async def clear_reorg(request: web.Request) -> web.Response:
    """POST /api/admin/payments/{id}/clear-reorg"""
    actor = current_actor(request, Role.ADMIN)
    body = await parse(request, ClearReorg)
    payment, given = await request.app[SERVICES].payouts.clear_reorg(actor, path_uuid(request, "payment"), body.note)
    return success(shapes.ClearedPayment(payment=payments.shown(payment), clearances=tuple(map(_clearance, given))))


async def settle(request: web.Request) -> web.Response:
    """POST /api/admin/instructions/{id}/settle"""
    actor = current_actor(request, Role.ADMIN)
    body = await parse(request, Settle)
    settlements = request.app[SERVICES].payout_settlements
    given = await settlements.settle(actor, path_uuid(request, "instruction"), body.tx_hash)
    done = given.instruction.status is PaymentStatus.COMPLETED
    return success(ordered(given), status=200 if done else payments.ACCEPTED)


async def instructions(request: web.Request) -> web.Response:
    """GET /api/admin/instructions"""
    current_actor(request, Role.ADMIN)
    query = parse_query(request, ListInstructions)
    found, total = await request.app[SERVICES].payouts.listing(query.part(), status=query.of_payments)
    return paged(shapes.PayoutPage, total, query.part(), payouts=map(ordered, found))


async def hold(request: web.Request) -> web.Response:
    """POST /api/admin/payments/{id}/hold"""
    current_actor(request, Role.ADMIN)
    body = await parse(request, Hold)
    return success(payments.one(await request.app[SERVICES].payouts.hold(path_uuid(request, "payment"), body.until)))


async def stop_watch(request: web.Request) -> web.Response:
    """POST /api/admin/payments/{id}/stop-watch"""
    current_actor(request, Role.ADMIN)
    return success(payments.one(await request.app[SERVICES].payments.stop_watch(path_uuid(request, "payment"))))


async def awaiting(request: web.Request) -> web.Response:
    """GET /api/admin/payments/awaiting-confirmation"""
    current_actor(request, Role.ADMIN)
    page = parse_query(request, Listing).part()
    found, total = await request.app[SERVICES].payments.awaiting(page)
    return paged(shapes.PaymentPage, total, page, payments=map(payments.shown, found))


async def recoveries(request: web.Request) -> web.Response:
    """GET /api/admin/recoveries"""
    current_actor(request, Role.ADMIN)
    page = parse_query(request, Listing).part()
    found, total = await request.app[SERVICES].payments.recoveries(page)
    return paged(shapes.RecoveryPage, total, page, recoveries=map(recovery, found))


async def reconciliation(request: web.Request) -> web.Response:
    """GET /api/admin/reconciliation"""
    current_actor(request, Role.ADMIN)
    report = await request.app[SERVICES].reconciliation.report()
    found = tuple(of(shapes.Finding, each) for each in report.findings)
    return success(of(shapes.Reconciled, report, findings=found))


async def thresholds(request: web.Request) -> web.Response:
    """GET /api/admin/settings/confirmation-thresholds"""
    current_actor(request, Role.ADMIN)
    return await _thresholds(request)


async def set_thresholds(request: web.Request) -> web.Response:
    """PUT /api/admin/settings/confirmation-thresholds"""
    actor = current_actor(request, Role.ADMIN)
    body = await parse(request, Thresholds)
    wanted = {each.chain_id: each.confirmations for each in body.thresholds}
    await request.app[SERVICES].thresholds.change(actor, wanted)
    return await _thresholds(request)


async def _thresholds(request: web.Request) -> web.Response:
    service = request.app[SERVICES].thresholds
    current, history = await service.show()
    wanted = tuple(
        shapes.Threshold(chain_id=chain_id, floor=service.floor(chain_id), confirmations=confirmations)
        for chain_id, confirmations in current.items()
    )
    return success(
        shapes.Thresholds(thresholds=wanted, history=tuple(of(shapes.ThresholdChange, row) for row in history))
    )


def _clearance(given: Clearance) -> shapes.Clearance:
    """Return who let a payment's money move again, and why."""
    return of(shapes.Clearance, given, cleared_at=shapes.Time(given.created_at))
