"""Derived addresses and files that empty them, over HTTP."""

from __future__ import annotations

from typing import Annotated

import msgspec
from aiohttp import web
from pydantic import Field

from marketplace.model import Role
from marketplace.payments.derived_addresses import ShownAddress
from marketplace.payments.money import to_decimal
from marketplace.payments.sweeps.builder import Purpose, SweepFile
from marketplace.payments.sweeps.plan import Skipped
from marketplace.web import shapes
from marketplace.web.answers import paged, success
from marketplace.web.bodies import Body, Line, Listing, current_actor, parse, parse_query
from marketplace.web.fields import Address, ChainId
from marketplace.web.shapes import BaseUnits, Count, Time, one_of
from marketplace.web.state import SERVICES
from protocol.wire import Wire


class ListAddresses(Listing):
    chain_id: Annotated[int | None, Field(ge=1, le=2**53 - 1)] = None


class BuildSweep(Body):
    """What to move, and where: to the instructions that wait, or to the treasury of the settings."""

    chain_id: ChainId
    token: Address
    purpose: Purpose
    cursor: Annotated[Line | None, Field(min_length=1, max_length=80)] = None


class DerivedAddress(Wire):
    address: str
    index: Count
    source: str
    is_ours: bool
    chain_id: Count
    token_address: str
    token_symbol: str | None
    payment_id: str | None
    balance: shapes.Money | None
    balance_base_units: BaseUnits | None
    created_at: Time


class AddressPage(shapes.Page):
    addresses: Annotated[tuple[DerivedAddress, ...], msgspec.Meta(max_length=100)]


class SkippedTransfer(Wire):
    subject: str = msgspec.field(name="for")
    address: str
    reason: Annotated[str, one_of(Skipped)]


class Sweep(Wire):
    id: str
    chain_id: Count
    purpose: Annotated[str, one_of(Purpose)]
    count: Count
    total_base_units: BaseUnits
    file_name: str
    checksum: Annotated[str, msgspec.Meta(pattern="^[0-9a-f]{64}$")]
    file: str
    skipped: Annotated[tuple[SkippedTransfer, ...], msgspec.Meta(max_length=200)]
    next_cursor: str | None


class OneSweep(Wire):
    sweep: Sweep


def address(found: ShownAddress) -> DerivedAddress:
    """Return an address that was handed out."""
    known = found.balance is not None and found.token is not None
    return DerivedAddress(
        address=found.address,
        index=found.row.source_index,
        source=found.row.source,
        is_ours=found.is_ours,
        chain_id=found.row.chain_id,
        token_address=found.row.token_key if found.token is None else found.token.address,
        token_symbol=None if found.token is None else found.token.symbol,
        payment_id=found.row.payment_id,
        balance=to_decimal(found.balance or 0, found.token.decimals) if known and found.token is not None else None,
        balance_base_units=BaseUnits(found.balance or 0) if known else None,
        created_at=Time(found.row.created_at),
    )


def sweep(made: SweepFile) -> Sweep:
    """Return a file beside what it left out."""
    return Sweep(
        id=made.id,
        chain_id=made.chain_id,
        purpose=made.purpose,
        count=made.count,
        total_base_units=BaseUnits(made.total),
        file_name=made.name,
        checksum=made.checksum,
        file=made.text,
        skipped=tuple(
            SkippedTransfer(subject=source.subject, address=source.address, reason=reason)
            for source, reason in made.skipped
        ),
        next_cursor=made.next_cursor,
    )


async def addresses(request: web.Request) -> web.Response:
    """GET /api/admin/addresses"""
    current_actor(request, Role.ADMIN)
    query = parse_query(request, ListAddresses)
    found, total = await request.app[SERVICES].derived_addresses.listing(query.part(), chain_id=query.chain_id)
    return paged(AddressPage, total, query.part(), addresses=map(address, found))


async def build(request: web.Request) -> web.Response:
    """POST /api/admin/sweeps/build"""
    actor = current_actor(request, Role.ADMIN)
    body = await parse(request, BuildSweep)
    made = await request.app[SERVICES].sweeps.build(
        actor, chain_id=body.chain_id, token=body.token, purpose=body.purpose, cursor=body.cursor
    )
    return success(OneSweep(sweep=sweep(made)))
