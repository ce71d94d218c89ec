"""What a payment can be made with, what its amount was quoted by, and the networks both services know, over HTTP."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any, Final

from aiohttp import web
from msgspec import UNSET, UnsetType

from marketplace.model import Role
from marketplace.networks import Network
from marketplace.payments.options import PaymentOption
from marketplace.store.quotes import PaymentQuote
from marketplace.web import shapes
from marketplace.web.answers import success
from marketplace.web.bodies import Body, Id, current_actor, parse_query
from marketplace.web.state import SERVICES
from protocol.codec import of

PAR: Final = "no source of prices is configured: a dollar is taken for a dollar"


class Options(Body):
    request_id: Id


def quoted(quote: PaymentQuote | None) -> shapes.Quote | UnsetType:
    """Return what an amount was quoted by; it is left out where the price is in the token itself."""
    if quote is None:
        return UNSET
    sources = tuple(
        shapes.QuoteSource(
            source=each["source"],
            asset=each["asset"],
            price_usd=each["priceUsd"],
            as_of=shapes.Time(each["asOf"] * 1000),
        )
        for each in quote.sources
    )
    return of(shapes.Quote, quote, at_par=quote.at_par, note=why(quote), sources=sources)


def why(quote: PaymentQuote) -> str | None:
    """Say in a sentence why an amount is not the price itself; None where it is what the sources say."""
    if quote.at_par:
        return PAR
    if quote.depeg_adjustment_bps:
        off = f"the token is at {quote.token_price_usd} dollars, below its peg"
        return f"{off}: {quote.depeg_adjustment_bps} basis points are made up for"
    return None


async def options(request: web.Request) -> web.Response:
    """GET /api/payment/options"""
    actor = current_actor(request, Role.BUYER)
    query = parse_query(request, Options)
    found = await request.app[SERVICES].payment_options.of_request(actor, query.request_id)
    return success(shapes.PaymentOptions(options=tuple(map(_option, found))))


def _option(option: PaymentOption) -> shapes.PaymentOption:
    through = tuple(of(shapes.ProviderOption, each) for each in option.providers)
    return of(shapes.PaymentOption, option, providers=through)


async def networks(request: web.Request) -> web.Response:
    """GET /api/admin/networks"""
    current_actor(request, Role.ADMIN)
    found, error = await request.app[SERVICES].networks.compared()
    rails = await request.app[SERVICES].payment_options.rails()
    confirmations, _ = await request.app[SERVICES].thresholds.show()
    told = tuple(_network(each, confirmations.get(each.chain_id, 0), rails.get(each.chain_id, ())) for each in found)
    return success(shapes.Networks(networks=told, scanner_error=error))


def _network(network: Network, confirmations: int, rails: Iterable[str]) -> shapes.Network:
    here = there = None
    if network.here is not None:
        here = of(
            shapes.OurNetwork,
            network.here,
            confirmations=confirmations,
            rails=tuple(rails),
            tokens=_tokens(network.our_tokens),
        )
    if network.there is not None:
        there = of(shapes.ScannersNetwork, network.there, tokens=_tokens(network.there.tokens))
    return shapes.Network(chain_id=network.chain_id, marketplace=here, scanner=there, differences=network.differences)


def _tokens(tokens: Iterable[Any]) -> tuple[shapes.NetworkToken, ...]:
    return tuple(of(shapes.NetworkToken, token) for token in tokens)
