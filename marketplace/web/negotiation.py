"""Negotiation over HTTP."""

from __future__ import annotations

from aiohttp import web

from marketplace.model import Role
from marketplace.store.negotiation import Round
from marketplace.trade.negotiation import Answer, Proposal
from marketplace.web import offers, shapes
from marketplace.web.answers import success
from marketplace.web.bodies import Body, current_actor, parse, path_uuid
from marketplace.web.offers import Notes, Price
from marketplace.web.state import SERVICES
from protocol.codec import of


class Counter(Body):
    price: Price
    note: Notes | None = None


class Reply(Body):
    answer: Answer


def shown(made: Round) -> shapes.Round:
    """Return a round; one whose time is over without an answer counts as declined."""
    price = shapes.Price(amount=made.price_amount, currency=made.price_currency)
    return of(shapes.Round, made, by=made.by_user_id, price=price)


async def counter(request: web.Request) -> web.Response:
    """POST /api/marketplace/offers/{id}/counter"""
    actor = current_actor(request, Role.BUYER, Role.SELLER)
    body = await parse(request, Counter)
    proposal = Proposal(price_amount=body.price.amount, price_currency=body.price.currency, note=body.note)
    made = await request.app[SERVICES].negotiations.propose(actor, path_uuid(request, "offer"), proposal)
    return success(shapes.OneRound(round=shown(made)), status=201)


async def answer(request: web.Request) -> web.Response:
    """POST /api/marketplace/offers/{id}/counter/answer"""
    actor = current_actor(request, Role.BUYER, Role.SELLER)
    body = await parse(request, Reply)
    offer = await request.app[SERVICES].negotiations.answer(actor, path_uuid(request, "offer"), body.answer)
    return success(shapes.OneOffer(offer=offers.shown(offer)))


async def rounds(request: web.Request) -> web.Response:
    """GET /api/marketplace/offers/{id}/rounds"""
    actor = current_actor(request, Role.BUYER, Role.SELLER)
    found = await request.app[SERVICES].negotiations.rounds(actor, path_uuid(request, "offer"))
    return success(shapes.Rounds(rounds=tuple(map(shown, found))))
