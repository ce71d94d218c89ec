"""Negotiation over HTTP."""

from __future__ import annotations

from typing import Any

from aiohttp import web

from kernel.clock import shown
from marketplace.model import Role
from marketplace.store.negotiation import Round
from marketplace.trade.negotiation import Answer, Proposal
from marketplace.web.answers import ok
from marketplace.web.bodies import Body, parse, path_id, who
from marketplace.web.offers import Notes, Price, offer_json
from marketplace.web.state import SERVICES


class Counter(Body):
    price: Price
    note: Notes | None = None


class Reply(Body):
    answer: Answer


def round_json(made: Round) -> dict[str, Any]:
    """Render a round; one whose time is over without an answer counts as declined."""
    return {
        "id": made.id,
        "offerId": made.offer_id,
        "round": made.round,
        "by": made.by_user_id,
        "price": {"amount": made.price_amount, "currency": made.price_currency},
        "note": made.note,
        "answer": made.answer,
        "expiresAt": shown(made.expires_at),
        "createdAt": shown(made.created_at),
    }


async def counter(request: web.Request) -> web.Response:
    """POST /api/marketplace/offers/{id}/counter"""
    actor = who(request, Role.BUYER, Role.SELLER)
    body = await parse(request, Counter)
    proposal = Proposal(price_amount=body.price.amount, price_currency=body.price.currency, note=body.note)
    made = await request.app[SERVICES].negotiations.propose(actor, path_id(request, "offer"), proposal)
    return ok({"round": round_json(made)}, status=201)


async def answer(request: web.Request) -> web.Response:
    """POST /api/marketplace/offers/{id}/counter/answer"""
    actor = who(request, Role.BUYER, Role.SELLER)
    body = await parse(request, Reply)
    offer = await request.app[SERVICES].negotiations.answer(actor, path_id(request, "offer"), body.answer)
    return ok({"offer": offer_json(offer)})


async def rounds(request: web.Request) -> web.Response:
    """GET /api/marketplace/offers/{id}/rounds"""
    actor = who(request, Role.BUYER, Role.SELLER)
    found = await request.app[SERVICES].negotiations.rounds(actor, path_id(request, "offer"))
    return ok({"rounds": [round_json(made) for made in found]})
