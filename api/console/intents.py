"""Intents: found, filtered, told as a story, looked at again, cancelled, told again."""

from __future__ import annotations

from collections.abc import AsyncIterator, Sequence
from typing import Final

from aiohttp import web

from api.bodies import decode_cursor, encode_cursor
from api.console import csv_files
from api.console.paging import SHOWN, asked, next_page, query
from api.console.view import show
from api.errors import ApiError, translate
from api.intents import intent_id
from api.keys import SERVICES
from api.schemas import ListIntents
from chains.errors import ChainError
from kernel.pages.kit import redirect
from kernel.web.forms import read_form
from protocol.wire import rfc3339
from protocol.words import IntentStatus, Rail
from scanner.errors import InvalidRequest
from scanner.model import Intent, StoredTransfer
from scanner.services import IntentView, RecheckedTransfer
from scanner.store.errors import Conflict

HEADS: Final = (
    "intentId", "chainId", "rail", "status", "token", "symbol", "amount", "amountReceived", "destination", "reference",
    "txHash", "sender", "createdAt", "confirmedAt",
)  # fmt: skip
MAX_HASH: Final = 128


async def listing(request: web.Request) -> web.Response:
    """GET /console/intents"""
    wanted = asked(request, ListIntents)
    after = decode_cursor(wanted.cursor, str)[0] if wanted.cursor else None
    services = request.app[SERVICES]
    page = await services.list_intents(
        wanted.wanted(), named=_named(wanted), after=after, limit=SHOWN, newest_first=True
    )
    cursor = None if page.after is None else encode_cursor(page.after)
    return show(
        request,
        "console_intents.html",
        intents=page.intents,
        next=next_page(request, cursor),
        csv="?".join(["/console/intents.csv", query(request)]),
        given=request.query,
        statuses=[(each.value, each.value) for each in IntentStatus],
        rails=[(each.value, each.value) for each in Rail],
        chains=services.chain_names(),
    )


def _named(wanted: ListIntents) -> str | None:
    return None if wanted.q is None else wanted.q.strip()


async def table(request: web.Request) -> web.StreamResponse:
    """GET /console/intents.csv"""
    wanted = asked(request, ListIntents)
    services = request.app[SERVICES]

    async def pages() -> AsyncIterator[Sequence[Sequence[object]]]:
        after: str | None = None
        while True:
            page = await services.list_intents(wanted.wanted(), named=_named(wanted), after=after, limit=500)
            yield [_row(intent) for intent in page.intents]
            if (after := page.after) is None:
                return

    return await csv_files.answer(request, "intents", HEADS, pages())


def _row(intent: Intent) -> Sequence[object]:
    return (
        intent.intent_id, intent.chain_id, intent.rail, intent.status, intent.token_address, intent.token_symbol,
        intent.amount, intent.amount_received, intent.destination, intent.payment_reference, intent.tx_hash,
        intent.sender, rfc3339(intent.created_at), intent.confirmed_at and rfc3339(intent.confirmed_at),
    )  # fmt: skip


async def one(request: web.Request) -> web.Response:
    """GET /console/intents/{intentId}"""
    return _page(request, await request.app[SERVICES].intent(intent_id(request)))


def _page(
    request: web.Request,
    view: IntentView,
    *,
    status: int = 200,
    seen: Sequence[RecheckedTransfer] | None = None,
    refused: str | None = None,
) -> web.Response:
    return show(
        request,
        "console_intent.html",
        status=status,
        intent=view.intent,
        transfers=view.transfers,
        transfer_count=view.transfer_count,
        deliveries=view.deliveries,
        delivery_count=view.delivery_count,
        story=story(view),
        seen=seen,
        refused=refused,
    )


def story(view: IntentView) -> list[tuple[str, int | None, str | None, bool]]:
    """Return what happened, in its order, and what it waits for: (title, when, more, whether it is done)."""
    intent = view.intent
    past: list[tuple[str, int | None, str | None, bool]] = [("Registered", intent.created_at, None, True)]
    past += [("Seen", each.seen_at, _seen(each), True) for each in view.transfers]
    if intent.cancelled_at is not None:
        past.append(("Cancelled", intent.cancelled_at, None, True))
    elif intent.expired_at is not None:
        past.append(("Expired", intent.expired_at, None, True))
    if intent.confirmed_at is not None:
        depth = f"depth {intent.confirmations} of {intent.confirmations_required}"
        past.append(("Confirmed", intent.confirmed_at, depth, True))
    for event in view.deliveries:
        past += [(f"Told {event['event_type']}", event["delivered_at"], None, True)] if event["delivered_at"] else []
    past.sort(key=lambda each: each[1] or 0)
    return past + _ahead(intent)


def _seen(transfer: StoredTransfer) -> str:
    what = "counts" if transfer.counted else f"does not count: {transfer.reason}"
    return f"{transfer.times} times, {what}" if transfer.times > 1 else what


def _ahead(intent: Intent) -> list[tuple[str, int | None, str | None, bool]]:
    match intent.status:
        case IntentStatus.PENDING:
            return [("Waiting for the payment", None, None, False)]
        case IntentStatus.CONFIRMING:
            return [("Confirming", None, f"depth {intent.confirmations} of {intent.confirmations_required}", False)]
        case IntentStatus.WEBHOOK_FAILED:
            return [("Not told: the webhook failed", None, None, False)]
        case _:
            return []


async def recheck(request: web.Request) -> web.Response:
    """POST /console/intents/{intentId}/recheck"""
    services, identity = request.app[SERVICES], intent_id(request)
    tx_hash = (await read_form(request, "txHash"))["txHash"]
    try:
        if len(tx_hash) > MAX_HASH:
            raise ApiError("invalid_request", "txHash is too long", field="txHash")
        view, seen = await services.recheck(identity, tx_hash or None)
    except (ApiError, ChainError, InvalidRequest) as exc:
        return await _refused(request, identity, exc)
    return _page(request, view, seen=seen)


async def cancel(request: web.Request) -> web.Response:
    """POST /console/intents/{intentId}/cancel"""
    identity = intent_id(request)
    await read_form(request)
    try:
        await request.app[SERVICES].cancel(identity)
    except Conflict as exc:
        return await _refused(request, identity, exc)
    return redirect(request, f"/console/intents/{identity}")


async def _refused(request: web.Request, identity: str, exc: Exception) -> web.Response:
    """Show the intent with why it was not done."""
    known = translate(exc)
    if known is None:
        raise exc
    view = await request.app[SERVICES].intent(identity)
    return _page(request, view, status=known.status, refused=str(known))
