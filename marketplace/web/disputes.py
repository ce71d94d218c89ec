"""Disputes over HTTP."""

from __future__ import annotations

from typing import Annotated, Any

from aiohttp import web
from pydantic import Field

from kernel.clock import shown
from marketplace.model import Dispute, DisputeOutcome, Role
from marketplace.store.disputes import Evidence
from marketplace.trade.disputes import JUDGES
from marketplace.web.answers import ok
from marketplace.web.bodies import Body, Id, Line, Text, parse, path_id, who
from marketplace.web.fields import Link
from marketplace.web.state import SERVICES

Words = Annotated[Text, Field(min_length=3, max_length=4000)]


class NewDispute(Body):
    purchase_request_id: Id
    reason: Words
    category: Annotated[Line, Field(min_length=1, max_length=60)]


class NewEvidence(Body):
    text: Words
    link: Link | None = None


class Resolve(Body):
    outcome: DisputeOutcome
    note: Words


def dispute_json(dispute: Dispute, evidence: list[Evidence] | None = None) -> dict[str, Any]:
    """Render a dispute."""
    told: dict[str, Any] = {
        "id": dispute.id,
        "purchaseRequestId": dispute.purchase_request_id,
        "paymentId": dispute.payment_id,
        "openedBy": dispute.opened_by,
        "reason": dispute.reason,
        "category": dispute.category,
        "status": dispute.status,
        "outcome": dispute.outcome,
        "note": dispute.note,
        "resolvedBy": dispute.resolved_by,
        "resolvedAt": shown(dispute.resolved_at),
        "createdAt": shown(dispute.created_at),
    }
    if evidence is not None:
        told["evidence"] = [
            {"id": e.id, "by": e.by_user_id, "text": e.text, "link": e.link, "createdAt": shown(e.created_at)}
            for e in evidence
        ]
    return told


async def create(request: web.Request) -> web.Response:
    """POST /api/disputes"""
    actor = who(request, Role.BUYER, Role.SELLER)
    body = await parse(request, NewDispute)
    opened = await request.app[SERVICES].disputes.open(actor, body.purchase_request_id, body.reason, body.category)
    return ok({"dispute": dispute_json(opened, [])}, status=201)


async def show(request: web.Request) -> web.Response:
    """GET /api/disputes/{id}"""
    actor = who(request)
    view = await request.app[SERVICES].disputes.show(actor, path_id(request, "dispute"))
    return ok({"dispute": dispute_json(view.dispute, view.evidence)})


async def add_evidence(request: web.Request) -> web.Response:
    """POST /api/disputes/{id}/evidence"""
    actor = who(request)
    body = await parse(request, NewEvidence)
    view = await request.app[SERVICES].disputes.add_evidence(actor, path_id(request, "dispute"), body.text, body.link)
    return ok({"dispute": dispute_json(view.dispute, view.evidence)}, status=201)


async def resolve(request: web.Request) -> web.Response:
    """POST /api/disputes/{id}/resolve"""
    actor = who(request, *JUDGES)
    body = await parse(request, Resolve)
    resolved = await request.app[SERVICES].disputes.resolve(actor, path_id(request, "dispute"), body.outcome, body.note)
    return ok({"dispute": dispute_json(resolved)})
