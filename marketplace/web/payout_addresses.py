"""Where sellers are paid, over HTTP."""

from __future__ import annotations

from typing import Annotated

import msgspec
from aiohttp import web
from pydantic import Field, model_validator

from marketplace.model import Role
from marketplace.payments.address_proofs import TonProof
from marketplace.payments.payout_addresses import Standing
from marketplace.payments.ton_wallets import MAX_STATE_INIT
from marketplace.store.payout_addresses import PayoutAddress
from marketplace.web import shapes
from marketplace.web.answers import paged, success
from marketplace.web.bodies import Body, Id, Line, Listing, current_actor, parse, parse_query
from marketplace.web.fields import Address, ChainId
from marketplace.web.shapes import Count, Time
from marketplace.web.state import SERVICES
from protocol.codec import of
from protocol.wire import Wire

KINDS = ("eip191", "tip191", "ton_proof")
_KIND = {"evm": "eip191", "tron": "tip191", "ton": "ton_proof"}


class NewChallenge(Body):
    chain_id: ChainId
    address: Address


class GivenTonProof(Body):
    """What a TON wallet answered, without what the challenge says already."""

    timestamp: Annotated[int, Field(strict=True, ge=0, lt=2**53)]
    domain: Annotated[Line, Field(min_length=1, max_length=253)]
    payload: Annotated[Line, Field(min_length=1, max_length=128)]
    signature: Annotated[Line, Field(min_length=1, max_length=128)]
    state_init: Annotated[Line, Field(min_length=1, max_length=MAX_STATE_INIT)]


class Prove(Body):
    """The signature of the challenge's text, or on TON the wallet's proof."""

    challenge_id: Id
    signature: Annotated[Line | None, Field(min_length=1, max_length=200)] = None
    ton_proof: GivenTonProof | None = None

    @model_validator(mode="after")
    def _is_one(self) -> Prove:
        if (self.signature is None) is (self.ton_proof is None):
            raise ValueError("signature or tonProof is required, one of them")
        return self

    @property
    def proof(self) -> str | TonProof:
        """Return the use case's input."""
        given = self.ton_proof
        if given is None:
            return self.signature or ""
        return TonProof(
            timestamp=given.timestamp,
            domain=given.domain,
            payload=given.payload,
            signature=given.signature,
            state_init=given.state_init,
        )


class ListPayoutAddresses(Listing):
    user_id: Id | None = None


class Challenge(Wire):
    id: str
    kind: Annotated[str, shapes.one_of(KINDS)]
    chain_id: Count
    address: str
    message: str
    domain: str
    expires_at: Time


class OneChallenge(Wire):
    challenge: Challenge


class PayoutAddressOf(Wire):
    chain_id: Count
    address: str | None
    since: Time | None
    pending_address: str | None
    pending_from: Time | None


class OnePayoutAddress(Wire):
    payout_address: PayoutAddressOf


class PayoutAddressList(Wire):
    payout_addresses: Annotated[tuple[PayoutAddressOf, ...], msgspec.Meta(max_length=1000)]


class ProvedAddress(Wire):
    id: str
    user_id: str
    chain_id: Count
    address: str
    effective_at: Time
    created_at: Time


class ProvedAddressPage(shapes.Page):
    payout_addresses: Annotated[tuple[ProvedAddress, ...], msgspec.Meta(max_length=100)]


def held(chain_id: int, found: Standing) -> PayoutAddressOf:
    """Return where somebody is paid on a chain."""
    now, later = found.current, found.pending
    return PayoutAddressOf(
        chain_id=chain_id,
        address=None if now is None else now.shown_address,
        since=None if now is None else Time(now.effective_at),
        pending_address=None if later is None else later.shown_address,
        pending_from=None if later is None else Time(later.effective_at),
    )


def proved(row: PayoutAddress) -> ProvedAddress:
    return of(ProvedAddress, row, address=row.shown_address)


async def challenge(request: web.Request) -> web.Response:
    """POST /api/payout-addresses/challenge"""
    actor = current_actor(request, Role.SELLER)
    body = await parse(request, NewChallenge)
    services = request.app[SERVICES]
    given = await services.payout_addresses.challenge(actor, body.chain_id, body.address)
    kind = _KIND[services.catalog.chains[given.chain_id].chain_type]
    shown = of(Challenge, given, kind=kind, address=given.shown_address, domain=services.payout_addresses.domain)
    return success(OneChallenge(challenge=shown), status=201)


async def prove(request: web.Request) -> web.Response:
    """POST /api/payout-addresses"""
    actor = current_actor(request, Role.SELLER)
    body = await parse(request, Prove)
    found = await request.app[SERVICES].payout_addresses.prove(actor, body.challenge_id, body.proof)
    newest = found.pending or found.current
    return success(OnePayoutAddress(payout_address=held(0 if newest is None else newest.chain_id, found)))


async def mine(request: web.Request) -> web.Response:
    """GET /api/payout-addresses"""
    actor = current_actor(request, Role.SELLER)
    found = await request.app[SERVICES].payout_addresses.mine(actor)
    return success(PayoutAddressList(payout_addresses=tuple(held(chain, each) for chain, each in found.items())))


async def listing(request: web.Request) -> web.Response:
    """GET /api/admin/payout-addresses"""
    current_actor(request, Role.ADMIN)
    query = parse_query(request, ListPayoutAddresses)
    found, total = await request.app[SERVICES].payout_addresses.listing(query.part(), user_id=query.user_id)
    return paged(ProvedAddressPage, total, query.part(), payout_addresses=map(proved, found))
