"""What admins do and see, over HTTP."""

from __future__ import annotations

from typing import Annotated, Any

from aiohttp import web
from pydantic import Field

from kernel.clock import shown
from marketplace.model import Direction, PaymentStatus, Role
from marketplace.payments.payouts import PayoutInstruction
from marketplace.store.inbox import UnappliedFunds
from marketplace.store.reorgs import Clearance
from marketplace.web.answers import listed, ok
from marketplace.web.bodies import Body, Line, Listing, Text, parse, parse_query, path_id, who
from marketplace.web.fields import Address, ChainId, Moment
from marketplace.web.payments import payment_json
from marketplace.web.state import SERVICES


class Release(Body):
    to_address: Address


class Refund(Body):
    to_address: Address
    reason: Annotated[Text, Field(min_length=3, max_length=2000)]


class ClearReorg(Body):
    note: Annotated[Text, Field(min_length=1, max_length=2000)]


class Settle(Body):
    tx_hash: Annotated[Line, Field(min_length=1, max_length=128)]


class Hold(Body):
    until: Moment | None = None


class Threshold(Body):
    chain_id: ChainId
    confirmations: Annotated[int, Field(strict=True, ge=1, le=100_000)]


class Thresholds(Body):
    thresholds: Annotated[list[Threshold], Field(min_length=1, max_length=100)]


def instruction_json(given: PayoutInstruction) -> dict[str, Any]:
    """Render an instruction beside the payment it empties."""
    order = given.instruction
    return {
        "payment": payment_json(given.payment),
        "instruction": {
            "id": order.id,
            "kind": "release" if order.direction is Direction.OUT else "refund",
            "chainId": order.chain_id,
            "tokenAddress": order.token_address,
            "tokenSymbol": order.token_symbol,
            "from": given.payment.destination,
            "to": order.destination,
            "amount": order.amount,
            "amountBaseUnits": str(order.amount_base),
            "status": "pending" if order.status is PaymentStatus.PENDING else "released",
            "txHash": order.tx_hash,
            "createdAt": shown(order.created_at),
        },
    }


def recovery_json(row: UnappliedFunds) -> dict[str, Any]:
    """Render money that needs a person."""
    return {
        "id": row.id,
        "paymentId": row.payment_id,
        "reason": row.reason,
        "amountBaseUnits": None if row.amount_base is None else str(row.amount_base),
        "tokenAddress": row.token_address,
        "count": row.count,
        "txHash": row.tx_hash,
        "lastTxHash": row.last_tx_hash,
        "evidence": row.evidence,
        "createdAt": shown(row.created_at),
        "updatedAt": shown(row.updated_at),
    }


def clearance_json(given: Clearance) -> dict[str, Any]:
    """Render who let a payment's money move again, and why."""
    return {
        "reorgedAt": shown(given.reorged_at),
        "note": given.note,
        "clearedBy": given.cleared_by,
        "clearedAt": shown(given.created_at),
    }


async def release(request: web.Request) -> web.Response:
    """POST /api/admin/payments/{id}/release"""
    who(request, Role.ADMIN)
    body = await parse(request, Release)
    given = await request.app[SERVICES].payouts.release(path_id(request, "payment"), body.to_address)
    return ok(instruction_json(given))


async def refund(request: web.Request) -> web.Response:
    """POST /api/admin/payments/{id}/refund"""
    who(request, Role.ADMIN)
    body = await parse(request, Refund)
    given = await request.app[SERVICES].payouts.refund(path_id(request, "payment"), body.to_address, body.reason)
    return ok(instruction_json(given))


async def clear_reorg(request: web.Request) -> web.Response:
    """POST /api/admin/payments/{id}/clear-reorg"""
    actor = who(request, Role.ADMIN)
    body = await parse(request, ClearReorg)
    payment, given = await request.app[SERVICES].payouts.clear_reorg(actor, path_id(request, "payment"), body.note)
    return ok({"payment": payment_json(payment), "clearances": [clearance_json(each) for each in given]})


async def settle(request: web.Request) -> web.Response:
    """POST /api/admin/instructions/{id}/settle"""
    who(request, Role.ADMIN)
    body = await parse(request, Settle)
    return ok(
        instruction_json(
            await request.app[SERVICES].payouts.mark_executed(path_id(request, "instruction"), body.tx_hash)
        )
    )


async def hold(request: web.Request) -> web.Response:
    """POST /api/admin/payments/{id}/hold"""
    who(request, Role.ADMIN)
    body = await parse(request, Hold)
    return ok(
        {"payment": payment_json(await request.app[SERVICES].payouts.hold(path_id(request, "payment"), body.until))}
    )


async def stop_watch(request: web.Request) -> web.Response:
    """POST /api/admin/payments/{id}/stop-watch"""
    who(request, Role.ADMIN)
    return ok({"payment": payment_json(await request.app[SERVICES].payments.stop_watch(path_id(request, "payment")))})


async def awaiting(request: web.Request) -> web.Response:
    """GET /api/admin/payments/awaiting-confirmation"""
    who(request, Role.ADMIN)
    page = parse_query(request, Listing).part()
    found, total = await request.app[SERVICES].payments.awaiting(page)
    return listed("payments", [payment_json(each) for each in found], total, page)


async def recoveries(request: web.Request) -> web.Response:
    """GET /api/admin/recoveries"""
    who(request, Role.ADMIN)
    page = parse_query(request, Listing).part()
    found, total = await request.app[SERVICES].payments.recoveries(page)
    return listed("recoveries", [recovery_json(each) for each in found], total, page)


async def reconciliation(request: web.Request) -> web.Response:
    """GET /api/admin/reconciliation"""
    who(request, Role.ADMIN)
    report = await request.app[SERVICES].reconciliation.report()
    found = [{"kind": f.kind, "paymentId": f.payment_id, "detail": f.detail} for f in report.findings]
    return ok({"ok": report.ok, "checked": report.checked, "findings": found})


async def thresholds(request: web.Request) -> web.Response:
    """GET /api/admin/settings/confirmation-thresholds"""
    who(request, Role.ADMIN)
    return await _thresholds(request)


async def set_thresholds(request: web.Request) -> web.Response:
    """PUT /api/admin/settings/confirmation-thresholds"""
    actor = who(request, Role.ADMIN)
    body = await parse(request, Thresholds)
    wanted = {each.chain_id: each.confirmations for each in body.thresholds}
    await request.app[SERVICES].thresholds.change(actor, wanted)
    return await _thresholds(request)


async def _thresholds(request: web.Request) -> web.Response:
    service = request.app[SERVICES].thresholds
    current, history = await service.show()
    return ok(
        {
            "thresholds": [
                {"chainId": chain_id, "floor": service.floor(chain_id), "confirmations": confirmations}
                for chain_id, confirmations in current.items()
            ],
            "history": [
                {
                    "chainId": row.chain_id,
                    "confirmations": row.confirmations,
                    "setBy": row.set_by,
                    "createdAt": shown(row.created_at),
                }
                for row in history
            ],
        }
    )
