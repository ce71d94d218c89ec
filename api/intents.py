"""Intents over HTTP."""

from __future__ import annotations

from typing import Any

from aiohttp import web

from api.bodies import decode_cursor, encode_cursor, parse, parse_query, path_id
from api.errors import json_response
from api.keys import SERVICES
from api.schemas import (
    CreateIntent,
    ListIntents,
    ListTransfers,
    Recheck,
    intent_json,
    sighting_json,
    transfer_json,
    view_json,
)
from chains.types import Rail
from kernel.clock import rfc3339
from scanner.model import Intent
from scanner.services import Services


def intent_id(request: web.Request) -> str:
    """Return the id in the path."""
    return path_id(request, "intentId")


def checkout_json(services: Services, intent: Intent) -> dict[str, Any]:
    """Render what a wallet needs to pay."""
    checkout = services.checkout(intent)
    return {
        "destination": intent.destination,
        "tokenAddress": intent.token_address,
        "tokenSymbol": intent.token_symbol,
        "decimals": intent.decimals,
        "chainId": intent.chain_id,
        "proxyAddress": services.proxy_address(intent.chain_id) if intent.rail is Rail.PROXY else None,
        "paymentReference": intent.payment_reference,
        "feeAmount": str(intent.fee_amount),
        "feeAddress": intent.fee_address,
        "amountWei": str(intent.amount),
        "paymentUri": checkout.payment_uri,
        "calldata": checkout.calldata,
    }


async def create(request: web.Request) -> web.Response:
    """POST /intents"""
    services = request.app[SERVICES]
    intent = await services.register((await parse(request, CreateIntent)).request())
    return json_response(
        {
            "intentId": intent.intent_id,
            "paymentReference": intent.payment_reference,
            "checkoutBlock": checkout_json(services, intent),
            "status": intent.status,
            "expiresAt": None if intent.expires_at is None else rfc3339(intent.expires_at),
            "warnings": [{"code": warning.code, "message": warning.message} for warning in services.warnings(intent)],
        }
    )


async def show(request: web.Request) -> web.Response:
    """GET /intents/{intentId}"""
    return json_response({"intent": view_json(await request.app[SERVICES].intent(intent_id(request)))})


async def transfers(request: web.Request) -> web.Response:
    """GET /intents/{intentId}/transfers"""
    query = parse_query(request, ListTransfers)
    after = decode_cursor(query.cursor, int)[0] if query.cursor else 0
    found = await request.app[SERVICES].transfers(intent_id(request), after=after, limit=query.limit + 1)
    shown = found[: query.limit]
    cursor = encode_cursor(shown[-1].id) if len(found) > query.limit else None
    return json_response({"transfers": [transfer_json(stored) for stored in shown], "nextCursor": cursor})


async def listing(request: web.Request) -> web.Response:
    """GET /intents"""
    query = parse_query(request, ListIntents)
    after = decode_cursor(query.cursor, str)[0] if query.cursor else None
    found = await request.app[SERVICES].list_intents(
        status=query.status, chain_id=query.chain_id, after=after, limit=query.limit + 1
    )
    shown = found[: query.limit]
    more = len(found) > query.limit
    cursor = encode_cursor(shown[-1].intent_id) if more else None
    return json_response({"intents": [intent_json(intent) for intent in shown], "nextCursor": cursor})


async def cancel(request: web.Request) -> web.Response:
    """DELETE /intents/{intentId}"""
    return json_response({"intent": intent_json(await request.app[SERVICES].cancel(intent_id(request)))})


async def recheck(request: web.Request) -> web.Response:
    """POST /intents/{intentId}/recheck"""
    body = await parse(request, Recheck, optional=True)
    view, seen = await request.app[SERVICES].recheck(intent_id(request), body.tx_hash)
    missing = max(0, view.intent.amount - view.intent.amount_received)
    return json_response(
        {
            "intent": view_json(view),
            "seen": [sighting_json(sighting) for sighting in seen],
            "settled": view.intent.confirmed_at is not None,
            "missing": str(missing),
        }
    )
