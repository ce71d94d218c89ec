"""Payments over HTTP."""

from __future__ import annotations

from typing import Literal

from aiohttp import web
from msgspec import UNSET
from msgspec.structs import replace

from kernel.web.connections import prove
from marketplace.model import Mode, Payment, Provider, Rail, Role
from marketplace.payments.checkout import IntentDraft
from marketplace.payments.ledger import Balances
from marketplace.payments.money import to_decimal
from marketplace.payments.verification import CheckResult
from marketplace.web import shapes
from marketplace.web.answers import paged, success
from marketplace.web.bodies import Body, Id, Listing, current_actor, parse, parse_query, path_uuid
from marketplace.web.fields import Address, ChainId
from marketplace.web.pricing import quoted
from marketplace.web.shapes import BaseUnits
from marketplace.web.state import SERVICES
from protocol.codec import of
from protocol.wire import Wire

ACCEPTED = 202


class NewIntent(Body):
    """How to pay. An amount in it is ignored: what is to be paid was agreed before."""

    purchase_request_id: Id
    rail: Rail
    mode: Mode | None = None
    chain_id: ChainId
    token: Address
    provider: Literal[Provider.SCANNER, Provider.REQUEST_NETWORK, Provider.SHKEEPER] = Provider.SCANNER

    def draft(self) -> IntentDraft:
        """Return the use case's input."""
        return IntentDraft(
            purchase_request_id=self.purchase_request_id,
            rail=self.rail,
            mode=self.mode,
            chain_id=self.chain_id,
            token=self.token,
            provider=self.provider,
        )


class History(Listing):
    role: Literal["buyer", "seller", "all"] = "all"


def shown(payment: Payment) -> shapes.Payment:
    """Return a payment; where to pay is shown once the scanner looks there."""
    # What is sent there past the provider's page is never told of.
    elsewhere = payment.provider is Provider.REQUEST_NETWORK and payment.is_open
    hidden = (payment.registered_at is None or elsewhere) and payment.direction == "in"
    return of(
        shapes.Payment,
        payment,
        payment_ref=payment.ref,
        amount_base_units=BaseUnits(payment.amount_base),
        destination=None if hidden else payment.destination,
        baseline_balance=_money(payment.baseline_balance, payment),
        baseline_balance_base_units=_exact(payment.baseline_balance),
        current_balance=_money(payment.current_balance, payment),
        current_balance_base_units=_exact(payment.current_balance),
    )


def one(payment: Payment) -> shapes.OnePayment:
    return shapes.OnePayment(payment=shown(payment))


def instructions(payment: Payment) -> shapes.Instructions:
    """Return what somebody with a plain wallet needs."""
    evm = payment.token_address.startswith("0x")
    uri = f"ethereum:{payment.token_address}@{payment.chain_id}/transfer?address={payment.destination}&uint256="
    told = of(
        shapes.Instructions,
        payment,
        address=payment.paid_to,
        amount_base_units=BaseUnits(payment.amount_base),
        payment_uri=(payment.checkout or {}).get("paymentUri") or (f"{uri}{payment.amount_base}" if evm else None),
        baseline_balance=UNSET,
        baseline_balance_base_units=UNSET,
        watch_id=UNSET,
        next_check_at=UNSET,
    )
    if payment.rail is Rail.DIRECT_BALANCE:
        balance = payment.baseline_balance
        told = replace(told, baseline_balance=_money(balance, payment), baseline_balance_base_units=_exact(balance))
    if payment.mode is Mode.WATCH:
        following = None if payment.next_check_at is None else shapes.Time(payment.next_check_at)
        told = replace(told, watch_id=payment.provider_payment_id, next_check_at=following)
    return told


def ledger(payment: Payment, balances: Balances) -> shapes.Ledger:
    """Return what the ledger says of a payment."""
    releasable = 0 if payment.reorged_at is not None else balances.releasable(payment.escrow_state)
    return shapes.Ledger(
        held=decimal(balances.held, payment),
        releasable=decimal(releasable, payment),
        available=decimal(balances.available, payment),
        held_base_units=BaseUnits(balances.held),
        releasable_base_units=BaseUnits(releasable),
        available_base_units=BaseUnits(balances.available),
        released=decimal(balances.released, payment),
        released_base_units=BaseUnits(balances.released),
        refunded=decimal(balances.refunded, payment),
        refunded_base_units=BaseUnits(balances.refunded),
        platform_fee=decimal(balances.fees, payment),
        platform_fee_base_units=BaseUnits(balances.fees),
        currency=payment.token_symbol,
    )


def checked(result: CheckResult) -> shapes.CheckedPayment:
    """Return what a look ended with."""
    return shapes.CheckedPayment(
        payment=shown(result.payment),
        funded=result.funded,
        reason=result.reason,
        delta=decimal(result.delta, result.payment),
        delta_base_units=BaseUnits(result.delta),
        expected=decimal(result.expected, result.payment),
        expected_base_units=BaseUnits(result.expected),
        currency=result.payment.token_symbol,
    )


def decimal(amount: int, payment: Payment) -> str:
    """Return a sum, or a difference, of a payment's token as people read it."""
    sign = "-" if amount < 0 else ""
    return sign + to_decimal(abs(amount), payment.decimals)


def _money(amount: int | None, payment: Payment) -> str | None:
    """Return a balance that may not be known as people read it."""
    return None if amount is None else to_decimal(amount, payment.decimals)


def _exact(amount: int | None) -> BaseUnits | None:
    return None if amount is None else BaseUnits(amount)


async def open_intent(request: web.Request) -> web.Response:
    """POST /api/payment/intents"""
    actor = current_actor(request, Role.BUYER)
    body = await parse(request, NewIntent)
    payment, new = await request.app[SERVICES].checkout.open_payment(actor, body.draft())
    quote = quoted(await request.app[SERVICES].checkout.quote(payment.id))
    if payment.registered_at is None:
        return success(shapes.RegisteredLater(payment=shown(payment), quote=quote), status=ACCEPTED)
    opened: Wire
    if payment.provider is Provider.REQUEST_NETWORK:
        opened = shapes.OpenedElsewhere(payment=shown(payment), quote=quote)
    elif payment.rail is Rail.PROXY:
        opened = shapes.OpenedThroughProxy(payment=shown(payment), checkout_block=payment.checkout or {}, quote=quote)
    else:
        opened = shapes.OpenedPlainly(payment=shown(payment), instructions=instructions(payment), quote=quote)
    return success(opened, status=201 if new else 200)


async def show(request: web.Request) -> web.Response:
    """GET /api/payment/{id}"""
    actor = current_actor(request)
    view = await request.app[SERVICES].payments.show(actor, path_uuid(request, "payment"))
    told = shapes.ShownPayment(
        payment=shown(view.payment), ledger=ledger(view.payment, view.balances), quote=quoted(view.quote)
    )
    return success(told)


async def history(request: web.Request) -> web.Response:
    """GET /api/payment/history"""
    actor = current_actor(request)
    query = parse_query(request, History)
    found, total = await request.app[SERVICES].payments.history(actor, query.role, query.part())
    return paged(shapes.PaymentPage, total, query.part(), payments=map(shown, found))


async def cancel(request: web.Request) -> web.Response:
    """POST /api/payment/{id}/cancel"""
    actor = current_actor(request, Role.BUYER, Role.ADMIN)
    payment = await request.app[SERVICES].payments.cancel(actor, path_uuid(request, "payment"))
    return success(one(payment))


async def check(request: web.Request) -> web.Response:
    """POST /api/payment/amn-scanner/direct-balance/check/{paymentId}"""
    actor = current_actor(request, Role.BUYER, Role.ADMIN)
    result = await request.app[SERVICES].verifier.check(actor, path_uuid(request, "payment", "paymentId"))
    return success(checked(result))


async def webhook(request: web.Request) -> web.Response:
    """POST /api/payment/amn-scanner/webhook"""
    taken = await request.app[SERVICES].webhook_receiver.receive(await request.read(), request.headers)
    prove(request)
    status = ACCEPTED if taken.about_balance and not taken.funded else 200
    return success(of(shapes.ReceivedWebhook, taken), status=status)


async def shkeeper_webhook(request: web.Request) -> web.Response:
    """POST /api/payment/shkeeper/webhook"""
    return await _hosted_webhook(request, Provider.SHKEEPER, ACCEPTED)  # it sends again until it hears 202


async def request_network_webhook(request: web.Request) -> web.Response:
    """POST /api/payment/request-network/webhook"""
    return await _hosted_webhook(request, Provider.REQUEST_NETWORK, 200)


async def _hosted_webhook(request: web.Request, provider: Provider, status: int) -> web.Response:
    taken = await request.app[SERVICES].hosted_webhooks.receive(provider, await request.read(), request.headers)
    prove(request)
    return success(of(shapes.ReceivedWebhook, taken), status=status)
