"""Payments: what waits for a person and why, the story of each, and what an admin does about it."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping
from dataclasses import replace
from functools import partial
from typing import Any, TypeAlias

import orjson
from aiohttp import web
from aiohttp.typedefs import Handler

from kernel.web.forms import read_form
from marketplace.errors import Refused
from marketplace.model import Payment, Provider
from marketplace.payments.escrow import is_split
from marketplace.payments.fees import Division, divide
from marketplace.payments.history import PaymentView
from marketplace.services import Services
from marketplace.store.ledger import Line
from marketplace.web import admin
from marketplace.web import payments as api
from marketplace.web.bodies import Listing, path_uuid
from marketplace.web.pages import forms
from marketplace.web.pages.guard import actor_of
from marketplace.web.pages.meaning import of_refusal
from marketplace.web.pages.paging import asked, next_page
from marketplace.web.pages.people import names, teller
from marketplace.web.pages.view import ROOT, show
from marketplace.web.pricing import quoted
from marketplace.web.state import SERVICES

Action: TypeAlias = Callable[[web.Request, Services, str], Awaitable[object]]  # about the payment of an id


async def awaiting(request: web.Request) -> web.Response:
    """GET /admin/awaiting"""
    page = asked(request, Listing).part()
    found, total = await request.app[SERVICES].payments.awaiting(page)
    return show(
        request,
        "admin_awaiting.html",
        payments=found,
        total=total,
        next=next_page(request, f"{ROOT}/awaiting", page, total),
    )


async def listing(request: web.Request) -> web.Response:
    """GET /admin/payments"""
    page = asked(request, Listing).part()
    found, total = await request.app[SERVICES].payments.history(actor_of(request), "all", page)
    return show(
        request,
        "admin_payments.html",
        payments=found,
        total=total,
        next=next_page(request, f"{ROOT}/payments", page, total),
    )


async def one(request: web.Request) -> web.Response:
    """GET /admin/payments/{id}"""
    return await _page(request)


async def _page(request: web.Request, *, status: int = 200, **context: Any) -> web.Response:
    view = await request.app[SERVICES].payments.show(actor_of(request), path_uuid(request, "payment"))
    payment = view.payment
    return show(
        request,
        "admin_payment.html",
        status=status,
        payment=payment,
        shown=api.shown(payment),
        split=is_split(payment),
        to_buyer=api.decimal(to_send(view).buyer, payment),
        to_seller=api.decimal(to_send(view).seller, payment),
        ledger=api.ledger(payment, view.balances),
        quote=quoted(view.quote) or None,
        story=story(view),
        proved=await request.app[SERVICES].payout_addresses.current(payment.seller_id, payment.chain_id),
        evidence=_document(payment.evidence),
        who=teller(await names(request, payment.buyer_id, payment.seller_id), {}),
        **{"seen": None, **context},
    )


def to_send(view: PaymentView) -> Division:
    """Return what an order would send to each side."""
    if is_split(view.payment):
        return Division(buyer=view.balances.refunded, seller=view.balances.released, fee=view.balances.fees)
    whole = view.payment.amount_base
    return replace(divide(whole, buyer_bps=0, fee_bps=view.fee_bps), buyer=whole)


def story(view: PaymentView) -> list[tuple[str, int | None, str | None, bool]]:
    """Return what happened, in its order, and what it waits for: (title, when, more, whether it is done)."""
    payment = view.payment
    past: list[tuple[str, int | None, str | None, bool]] = [("Opened", payment.created_at, None, True)]
    if payment.registered_at is not None:
        past.append((_registered(payment), payment.registered_at, None, True))
    past += [(_entry(line), line.created_at, _amount(view, line.amount_base), True) for line in view.lines]
    if payment.reorged_at is not None:
        past.append(("Reported as gone from the chain", payment.reorged_at, None, True))
    past.sort(key=lambda each: each[1] or 0)
    if payment.is_open and payment.expires_at is not None:
        past.append(("Expires", payment.expires_at, None, False))
    return past


def _registered(payment: Payment) -> str:
    return f"Registered with {'the scanner' if payment.provider is Provider.SCANNER else payment.provider}"


def _entry(line: Line) -> str:
    return line.entry_type.replace("_", " ").capitalize()


def _document(evidence: Mapping[str, Any] | None) -> str | None:
    return None if evidence is None else orjson.dumps(evidence, option=orjson.OPT_INDENT_2).decode()


def _amount(view: PaymentView, amount: int) -> str:
    return f"{api.decimal(amount, view.payment)} {view.payment.token_symbol}"


def _act(do: Action) -> Handler:
    """Return a handler that does something about the payment of its path, and shows it afterwards."""

    async def handler(request: web.Request) -> web.Response:
        payment_id = path_uuid(request, "payment")
        action = partial(do, request, request.app[SERVICES], payment_id)
        return await forms.attempt(request, action, _page, f"{ROOT}/payments/{payment_id}")

    return handler


async def _release(request: web.Request, services: Services, payment_id: str) -> None:
    body = await forms.read(request, admin.Release)
    await services.payouts.release(payment_id, body.to_address)


async def _refund(request: web.Request, services: Services, payment_id: str) -> None:
    body = await forms.read(request, admin.Refund)
    await services.payouts.refund(payment_id, body.to_address, body.reason)


async def _hold(request: web.Request, services: Services, payment_id: str) -> None:
    body = await forms.read(request, admin.Hold)
    await services.payouts.hold(payment_id, body.until)


async def _clear_reorg(request: web.Request, services: Services, payment_id: str) -> None:
    body = await forms.read(request, admin.ClearReorg)
    await services.payouts.clear_reorg(actor_of(request), payment_id, body.note)


async def _cancel(request: web.Request, services: Services, payment_id: str) -> None:
    await read_form(request)
    await services.payments.cancel(actor_of(request), payment_id)


async def _stop_watch(request: web.Request, services: Services, payment_id: str) -> None:
    await read_form(request)
    await services.payments.stop_watch(payment_id)


async def check(request: web.Request) -> web.Response:
    """POST /admin/payments/{id}/check: look now, and say what was seen"""
    payment_id = path_uuid(request, "payment")
    await read_form(request)
    try:
        seen = await request.app[SERVICES].verifier.check(actor_of(request), payment_id)
    except Refused as exc:
        known = of_refusal(exc)
        return await _page(request, status=known.status, refused=known.why)
    return await _page(request, seen=api.checked(seen))


release, refund, hold = _act(_release), _act(_refund), _act(_hold)
clear_reorg, cancel, stop_watch = _act(_clear_reorg), _act(_cancel), _act(_stop_watch)
