"""Webhooks: what was told, what waits, sent again one by one, by receiver or all, and tried with a test event."""

from __future__ import annotations

from aiohttp import web
from pydantic import ValidationError

from api.bodies import decode_cursor, encode_cursor
from api.console.paging import SHOWN, asked, next_page
from api.console.view import show
from api.errors import ApiError, translate
from api.keys import SERVICES
from api.schemas import MAX_RECEIVER, ListWebhooks, TestWebhook
from api.webhook_log import event_id
from kernel.pages.kit import redirect
from kernel.web.forms import read_form
from protocol.words import DeliveryStatus, EventType
from scanner.deliveries import TestResult
from scanner.errors import InvalidRequest, RateLimited


async def listing(request: web.Request) -> web.Response:
    """GET /console/webhooks"""
    return await _list(request)


async def _list(
    request: web.Request, *, status: int = 200, tested: TestResult | None = None, refused: str | None = None
) -> web.Response:
    wanted = asked(request, ListWebhooks)
    after = decode_cursor(wanted.cursor, int)[0] if wanted.cursor else 0
    page = await request.app[SERVICES].deliveries.page(
        status=wanted.status, receiver=wanted.receiver, after=after, limit=SHOWN
    )
    return show(
        request,
        "console_webhooks.html",
        status=status,
        webhooks=page.events,
        next=next_page(request, None if page.after is None else encode_cursor(page.after)),
        given=request.query,
        statuses=[(each.value, each.value) for each in DeliveryStatus],
        types=[(each.value, each.value) for each in EventType],
        tested=tested,
        refused=refused,
    )


async def one(request: web.Request) -> web.Response:
    """GET /console/webhooks/{eventId}"""
    view = await request.app[SERVICES].deliveries.get(event_id(request))
    return show(request, "console_webhook.html", webhook=view.event, body=view.body, tries=view.tries)


async def send_again(request: web.Request) -> web.Response:
    """POST /console/webhooks/{eventId}/redeliver"""
    await read_form(request)
    view = await request.app[SERVICES].deliveries.redeliver(event_id(request))
    return redirect(request, f"/console/webhooks/{view.event.event_id}")


async def send_failed_again(request: web.Request) -> web.Response:
    """POST /console/webhooks/redeliver: all that failed, or those of a receiver"""
    receiver = (await read_form(request, "receiver"))["receiver"]
    services = request.app[SERVICES]
    if len(receiver) > MAX_RECEIVER:
        raise ApiError("invalid_request", "receiver is too long", field="receiver")
    if receiver:
        await services.deliveries.redeliver_failed(receiver)
    else:
        await services.retry_webhooks()
    return redirect(request, "/console/webhooks")


async def test(request: web.Request) -> web.Response:
    """POST /console/webhooks/test"""
    given = await read_form(request, "callbackUrl", "callbackSecret", "eventType")
    try:
        wanted = TestWebhook.model_validate({name: value for name, value in given.items() if value})
        tested = await request.app[SERVICES].deliveries.test(
            wanted.callback_url, wanted.callback_secret, wanted.event_type
        )
    except (ValidationError, InvalidRequest, RateLimited) as exc:
        known = translate(exc)
        return await _list(request, status=known.status if known else 400, refused=str(known))
    return await _list(request, tested=tested)
