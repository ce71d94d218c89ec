"""What settled nothing: why, where to look, and that somebody saw to it."""

from __future__ import annotations

from collections.abc import AsyncIterator, Mapping, Sequence
from typing import Final

from aiohttp import web

from api.bodies import decode_cursor, encode_cursor, path_id
from api.console import csv_files
from api.console.paging import SHOWN, asked, next_page, query
from api.console.view import show
from api.errors import ApiError
from api.keys import SERVICES
from api.middlewares import ASKED_BY
from api.schemas import MAX_NOTE, ListUnmatched
from kernel.pages.kit import redirect
from kernel.web.forms import read_form
from protocol.wire import rfc3339
from protocol.words import Reason
from scanner.services import UnmatchedView

WHY: Final[Mapping[Reason, str]] = {
    Reason.UNKNOWN_REFERENCE: "It names a payment that nobody registered.",
    Reason.WRONG_TOKEN: "It is another token than was asked for.",
    Reason.WRONG_DESTINATION: "It went to another address than was agreed.",
    Reason.WRONG_ASSET: "It is the chain's own coin, and a token was asked for.",
    Reason.UNDERPAID: "It is less than was asked for, and nothing was added.",
    Reason.NO_TRANSFER_LOG: "The token's contract does not show that the money moved.",
    Reason.FEE_ON_TRANSFER: "The token kept a part of it: less arrived than was sent.",
    Reason.ZERO_AMOUNT: "It moves nothing.",
    Reason.REVERTED: "The transaction failed.",
    Reason.REORGED: "Its block is no longer part of the chain.",
    Reason.LATE: "It came after the payment had ended.",
    Reason.DUPLICATE: "It was paid already.",
    Reason.CANCELLED: "The payment was cancelled.",
    Reason.BEFORE_INTENT: "It was sent before the payment was registered.",
    Reason.OVERPAID_SURPLUS: "It is the part beyond what was asked for.",
    Reason.SPAM: "It only looks like a payment.",
}
HEADS: Final = (
    "id", "chainId", "reason", "why", "token", "amount", "transferAmount", "count", "sender", "destination", "txHash",
    "blockNumber", "intentId", "seenAt", "handledNote", "handledBy", "handledAt",
)  # fmt: skip


async def listing(request: web.Request) -> web.Response:
    """GET /console/unmatched"""
    wanted = asked(request, ListUnmatched)
    after = decode_cursor(wanted.cursor, int)[0] if wanted.cursor else 0
    services = request.app[SERVICES]
    found = await services.unmatched(chain_id=wanted.chain_id, reason=wanted.reason, after=after, limit=SHOWN + 1)
    rows = found[:SHOWN]
    cursor = encode_cursor(rows[-1].stored.id) if len(found) > SHOWN else None
    return show(
        request,
        "console_unmatched.html",
        rows=rows,
        why=WHY,
        next=next_page(request, cursor),
        csv="?".join(["/console/unmatched.csv", query(request)]),
        given=request.query,
        reasons=[(each.value, each.value) for each in Reason],
        chains=services.chain_names(),
        max_note=MAX_NOTE,
    )


async def table(request: web.Request) -> web.StreamResponse:
    """GET /console/unmatched.csv"""
    wanted = asked(request, ListUnmatched)
    services = request.app[SERVICES]

    async def pages() -> AsyncIterator[Sequence[Sequence[object]]]:
        after = 0
        while rows := await services.unmatched(chain_id=wanted.chain_id, reason=wanted.reason, after=after, limit=500):
            yield [_row(each) for each in rows]
            after = rows[-1].stored.id

    return await csv_files.answer(request, "unmatched", HEADS, pages())


def _row(view: UnmatchedView) -> Sequence[object]:
    stored, handled = view.stored, view.handled
    reason = stored.reason
    return (
        stored.id, stored.chain_id, reason, "" if reason is None else WHY[reason], stored.token,
        stored.amount if stored.surplus is None else stored.surplus, stored.amount, stored.times, stored.sender,
        stored.destination, stored.tx_hash, stored.block_number, stored.intent_id, rfc3339(stored.seen_at),
        handled and handled.note, handled and handled.by, handled and rfc3339(handled.at),
    )  # fmt: skip


async def handle(request: web.Request) -> web.Response:
    """POST /console/unmatched/{id}/handled"""
    note = (await read_form(request, "note"))["note"]
    if not note or len(note) > MAX_NOTE or not note.isprintable():
        raise ApiError("invalid_request", f"A note has 1 to {MAX_NOTE} characters.", field="note")
    await request.app[SERVICES].handle_unmatched(path_id(request, "id"), note, by=request[ASKED_BY])
    return redirect(request, "/console/unmatched")
