"""Disputes: found, looked after, argued about, resolved."""

from __future__ import annotations

from typing import Any

from aiohttp import web
from pydantic import Field

from marketplace.model import DisputeOutcome, DisputeStatus, Page, Role, User
from marketplace.payments.fees import percent
from marketplace.trade.disputes import JUDGES
from marketplace.web import disputes as api
from marketplace.web.bodies import Body, Id, Listing, path_uuid
from marketplace.web.pages import forms
from marketplace.web.pages.guard import actor_of
from marketplace.web.pages.paging import asked, next_page
from marketplace.web.pages.people import names, teller
from marketplace.web.pages.view import ROOT, SIGNED_IN, show
from marketplace.web.state import SERVICES

MOST_JUDGES = Page(page=1, limit=100)  # of each role to choose from


class Assign(Body):
    """To nobody where it is left empty."""

    user_id: Id | None = Field(default=None)


async def listing(request: web.Request) -> web.Response:
    """GET /admin/disputes"""
    wanted = asked(request, api.ListDisputes)
    found, total = await request.app[SERVICES].disputes.listing(actor_of(request), wanted.part(), wanted.wanted())
    return show(
        request,
        "admin_disputes.html",
        disputes=found,
        total=total,
        next=next_page(request, f"{ROOT}/disputes", wanted.part(), total),
        wanted=wanted,
        statuses=[(each.value, each.value) for each in DisputeStatus],
        now=request.app[SERVICES].units.clock.now_ms(),
        people=[(each.id, each.name) for each in await _judges(request)],
        who=teller(await names(request, *(each.assigned_to for each in found)), {request[SIGNED_IN].id: "you"}),
    )


async def one(request: web.Request) -> web.Response:
    """GET /admin/disputes/{id}"""
    return await _page(request)


async def _page(request: web.Request, *, status: int = 200, **context: Any) -> web.Response:
    services, actor = request.app[SERVICES], actor_of(request)
    view = await services.disputes.show(actor, path_uuid(request, "dispute"))
    paid = await services.payments.show(actor, view.dispute.payment_id)
    sides = {paid.payment.buyer_id: "buyer", paid.payment.seller_id: "seller", actor.user_id: "you"}
    page = asked(request, Listing).part()
    messages, total = await services.dispute_messages.listing(actor, view.dispute.id, page)
    spoke = [*(each.by_user_id for each in view.evidence), *(each.by_user_id for each in messages)]
    known = await names(request, *sides, view.dispute.assigned_to, view.dispute.resolved_by, *spoke)
    return show(
        request,
        "admin_dispute.html",
        status=status,
        dispute=view.dispute,
        evidence=view.evidence,
        messages=messages,
        total=total,
        next=next_page(request, f"{ROOT}/disputes/{view.dispute.id}", page, total),
        now=services.units.clock.now_ms(),
        payment=paid.payment,
        who=teller(known, sides),
        judges=[(each.id, f"{each.name} ({each.role})") for each in await _judges(request)],
        percent=percent,
        outcomes=[(each.value, each.value.replace("_", " ")) for each in DisputeOutcome],
        **context,
    )


async def _judges(request: web.Request) -> list[User]:
    """Return those whom somebody may let look after a dispute; a resolver takes it, or leaves it."""
    if request[SIGNED_IN].role is not Role.ADMIN:
        return [request[SIGNED_IN]]
    members = request.app[SERVICES].members
    pages = [await members.listing(MOST_JUDGES, text=None, role=role) for role in JUDGES]
    return [each.user for found, _ in pages for each in found if each.user.suspended_at is None]


async def assign(request: web.Request) -> web.Response:
    """POST /admin/disputes/{id}/assign"""
    dispute_id = path_uuid(request, "dispute")

    async def action() -> None:
        body = await forms.read(request, Assign)
        await request.app[SERVICES].disputes.assign(actor_of(request), dispute_id, body.user_id)

    return await forms.attempt(request, action, _page, f"{ROOT}/disputes/{dispute_id}")


async def write(request: web.Request) -> web.Response:
    """POST /admin/disputes/{id}/messages"""
    dispute_id = path_uuid(request, "dispute")

    async def action() -> None:
        body = await forms.read(request, api.NewMessage)
        await request.app[SERVICES].dispute_messages.write(actor_of(request), dispute_id, body.text)

    return await forms.attempt(request, action, _page, f"{ROOT}/disputes/{dispute_id}")


async def move_deadline(request: web.Request) -> web.Response:
    """POST /admin/disputes/{id}/deadline"""
    dispute_id = path_uuid(request, "dispute")

    async def action() -> None:
        body = await forms.read(request, api.Deadline)
        await request.app[SERVICES].dispute_deadlines.move(actor_of(request), dispute_id, body.due_at)

    return await forms.attempt(request, action, _page, f"{ROOT}/disputes/{dispute_id}")


async def add_evidence(request: web.Request) -> web.Response:
    """POST /admin/disputes/{id}/evidence"""
    dispute_id = path_uuid(request, "dispute")

    async def action() -> None:
        body = await forms.read(request, api.NewEvidence)
        await request.app[SERVICES].disputes.add_evidence(actor_of(request), dispute_id, body.text, body.link)

    return await forms.attempt(request, action, _page, f"{ROOT}/disputes/{dispute_id}")


async def resolve(request: web.Request) -> web.Response:
    """POST /admin/disputes/{id}/resolve"""
    dispute_id = path_uuid(request, "dispute")

    async def action() -> None:
        body = await forms.read(request, api.Resolve, "buyerBps")
        await request.app[SERVICES].disputes.resolve(actor_of(request), dispute_id, body.ruling())

    return await forms.attempt(request, action, _page, f"{ROOT}/disputes/{dispute_id}")
