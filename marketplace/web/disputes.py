"""Disputes over HTTP."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Annotated, Self

from aiohttp import web
from msgspec import UNSET
from pydantic import Field, model_validator

from marketplace.model import Dispute, DisputeOutcome, DisputeStatus, Role
from marketplace.payments.fees import WHOLE_BPS
from marketplace.store.dispute_messages import Message
from marketplace.store.disputes import Evidence, Filter, Ruling
from marketplace.trade.disputes import JUDGES
from marketplace.web import shapes
from marketplace.web.answers import paged, success
from marketplace.web.bodies import Body, Id, Line, Listing, Text, current_actor, parse, parse_query, path_uuid
from marketplace.web.fields import Link, Moment
from marketplace.web.state import SERVICES
from protocol.codec import of

Words = Annotated[Text, Field(min_length=3, max_length=4000)]


class NewDispute(Body):
    purchase_request_id: Id
    reason: Words
    category: Annotated[Line, Field(min_length=1, max_length=60)]


class ListDisputes(Listing):
    status: DisputeStatus | None = None
    outcome: DisputeOutcome | None = None
    assigned_to: Id | None = None
    unassigned: bool | None = None
    overdue: bool | None = None
    purchase_request_id: Id | None = None

    def wanted(self) -> Filter:
        """Return the use case's input."""
        return Filter(
            status=self.status,
            outcome=self.outcome,
            assigned_to=self.assigned_to,
            unassigned=self.unassigned,
            overdue=self.overdue,
            purchase_request_id=self.purchase_request_id,
        )


class NewMessage(Body):
    text: Annotated[Text, Field(min_length=1, max_length=4000)]


class Deadline(Body):
    due_at: Moment


class Assign(Body):
    user_id: Id | None


class NewEvidence(Body):
    text: Words
    link: Link | None = None


class Resolve(Body):
    outcome: DisputeOutcome
    buyer_bps: Annotated[int, Field(strict=True, ge=0, le=WHOLE_BPS)] | None = None
    note: Words

    @model_validator(mode="after")
    def _split_names_a_share(self) -> Self:
        if (self.outcome is DisputeOutcome.SPLIT) is not (self.buyer_bps is not None):
            raise ValueError("buyerBps is the buyer's share of a split, and of nothing else")
        return self

    def ruling(self) -> Ruling:
        """Return the use case's input."""
        return Ruling(outcome=self.outcome, note=self.note, buyer_bps=self.buyer_bps)


def shown(request: web.Request, dispute: Dispute, evidence: Iterable[Evidence] | None = None) -> shapes.OneDispute:
    """Return a dispute, with its evidence where that was asked for."""
    late = dispute.is_overdue(request.app[SERVICES].units.clock.now_ms())
    if evidence is None:
        return shapes.OneDispute(dispute=of(shapes.Dispute, dispute, overdue=late, evidence=UNSET))
    brought = tuple(of(shapes.DisputeEvidence, each, by=each.by_user_id) for each in evidence)
    return shapes.OneDispute(dispute=of(shapes.Dispute, dispute, overdue=late, evidence=brought))


def message(written: Message) -> shapes.DisputeMessage:
    return of(shapes.DisputeMessage, written, id=str(written.id), by=written.by_user_id)


async def create(request: web.Request) -> web.Response:
    """POST /api/disputes"""
    actor = current_actor(request, Role.BUYER, Role.SELLER)
    body = await parse(request, NewDispute)
    opened = await request.app[SERVICES].disputes.open(actor, body.purchase_request_id, body.reason, body.category)
    return success(shown(request, opened, ()), status=201)


async def listing(request: web.Request) -> web.Response:
    """GET /api/disputes"""
    actor = current_actor(request)
    query = parse_query(request, ListDisputes)
    found, total = await request.app[SERVICES].disputes.listing(actor, query.part(), query.wanted())
    return paged(shapes.DisputePage, total, query.part(), disputes=(shown(request, each).dispute for each in found))


async def show(request: web.Request) -> web.Response:
    """GET /api/disputes/{id}"""
    actor = current_actor(request)
    view = await request.app[SERVICES].disputes.show(actor, path_uuid(request, "dispute"))
    return success(shown(request, view.dispute, view.evidence))


async def add_evidence(request: web.Request) -> web.Response:
    """POST /api/disputes/{id}/evidence"""
    actor = current_actor(request)
    body = await parse(request, NewEvidence)
    view = await request.app[SERVICES].disputes.add_evidence(actor, path_uuid(request, "dispute"), body.text, body.link)
    return success(shown(request, view.dispute, view.evidence), status=201)


async def messages(request: web.Request) -> web.Response:
    """GET /api/disputes/{id}/messages"""
    actor = current_actor(request)
    page, about = parse_query(request, Listing).part(), path_uuid(request, "dispute")
    found, total = await request.app[SERVICES].dispute_messages.listing(actor, about, page)
    return paged(shapes.DisputeMessagePage, total, page, messages=map(message, found))


async def write(request: web.Request) -> web.Response:
    """POST /api/disputes/{id}/messages"""
    actor = current_actor(request)
    body = await parse(request, NewMessage)
    written = await request.app[SERVICES].dispute_messages.write(actor, path_uuid(request, "dispute"), body.text)
    return success(shapes.OneDisputeMessage(message=message(written)), status=201)


async def move_deadline(request: web.Request) -> web.Response:
    """POST /api/disputes/{id}/deadline"""
    actor = current_actor(request, *JUDGES)
    body = await parse(request, Deadline)
    moved = await request.app[SERVICES].dispute_deadlines.move(actor, path_uuid(request, "dispute"), body.due_at)
    return success(shown(request, moved))


async def assign(request: web.Request) -> web.Response:
    """POST /api/disputes/{id}/assign"""
    actor = current_actor(request, *JUDGES)
    body = await parse(request, Assign)
    given = await request.app[SERVICES].disputes.assign(actor, path_uuid(request, "dispute"), body.user_id)
    return success(shown(request, given))


async def resolve(request: web.Request) -> web.Response:
    """POST /api/disputes/{id}/resolve"""
    actor = current_actor(request, *JUDGES)
    body = await parse(request, Resolve)
    resolved = await request.app[SERVICES].disputes.resolve(actor, path_uuid(request, "dispute"), body.ruling())
    return success(shown(request, resolved))
