"""What waits for whom, live; and how the backend is."""

from __future__ import annotations

from typing import Any

from aiohttp import web

from kernel.pages.live import LivePages
from marketplace.model import DisputeStatus, Page, PaymentStatus, Role
from marketplace.store.disputes import Filter
from marketplace.web.pages.guard import actor_of
from marketplace.web.pages.sign_in import GUARD
from marketplace.web.pages.view import HEADERS, SIGNED_IN, html, show
from marketplace.web.state import SERVICES

LIVE = web.AppKey("live pages of admins and resolvers", LivePages)
FIRST = Page(page=1, limit=1)  # of which the total is wanted


async def page(request: web.Request) -> web.Response:
    """GET /admin"""
    services = request.app[SERVICES]
    health = await services.health.report() if request[SIGNED_IN].role is Role.ADMIN else None
    return show(
        request, "admin_overview.html", health=health, now=services.units.clock.now_ms(), **await facts(request)
    )


async def facts(request: web.Request) -> dict[str, Any]:
    """Return what waits for whoever is signed in."""
    services, actor = request.app[SERVICES], actor_of(request)
    opened, late = Filter(status=DisputeStatus.OPEN), Filter(overdue=True)
    mine = Filter(status=DisputeStatus.OPEN, assigned_to=actor.user_id)
    found: dict[str, Any] = {
        "disputes": (await services.disputes.listing(actor, FIRST, opened))[1],
        "mine": (await services.disputes.listing(actor, FIRST, mine))[1],
        "overdue": (await services.disputes.listing(actor, FIRST, late))[1],
        "me": actor.user_id,
        "unread": await services.notifications.unread(actor),
    }
    if actor.is_admin:
        found |= {
            "awaiting": (await services.payments.awaiting(FIRST))[1],
            "recoveries": (await services.payments.recoveries(FIRST))[1],
            "instructions": (await services.payouts.listing(FIRST, status=PaymentStatus.PENDING))[1],
        }
    return found


async def events(request: web.Request) -> web.StreamResponse:
    """GET /admin/events: what waits, anew whenever it changes"""

    async def part() -> str:
        return html(request, "admin_live.html", **await facts(request))

    async def still_allowed() -> bool:
        return await request.app[GUARD].still_signed_in(request)

    return await request.app[LIVE].stream(request, HEADERS, part, still_allowed)
