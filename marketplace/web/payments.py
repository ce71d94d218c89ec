"""Payments over HTTP."""

from __future__ import annotations

from typing import Any, Literal

from aiohttp import web

from kernel.clock import shown
from kernel.web.connections import prove
from marketplace.model import Mode, Payment, Rail, Role
from marketplace.payments.checkout import IntentDraft
from marketplace.payments.ledger import Balances
from marketplace.payments.money import to_decimal
from marketplace.payments.verification import CheckResult
from marketplace.web.answers import listed, ok
from marketplace.web.bodies import Body, Id, Listing, parse, parse_query, path_id, who
from marketplace.web.fields import Address, ChainId
from marketplace.web.state import SERVICES

ACCEPTED = 202


class NewIntent(Body):
    """How to pay. An amount in it is ignored: what is to be paid was agreed before."""

    purchase_request_id: Id
    rail: Rail
    mode: Mode | None = None
    chain_id: ChainId
    token: Address

    def draft(self) -> IntentDraft:
        """Return the use case's input."""
        return IntentDraft(
            purchase_request_id=self.purchase_request_id,
            rail=self.rail,
            mode=self.mode,
            chain_id=self.chain_id,
            token=self.token,
        )


class History(Listing):
    role: Literal["buyer", "seller", "all"] = "all"


def payment_json(payment: Payment) -> dict[str, Any]:
    """Render a payment; where to pay is shown once the scanner looks there."""
    hidden = payment.registered_at is None and payment.direction == "in"
    return {
        "id": payment.id,
        "paymentRef": payment.ref,
        "purchaseRequestId": payment.purchase_request_id,
        "sellerOfferId": payment.seller_offer_id,
        "buyerId": payment.buyer_id,
        "sellerId": payment.seller_id,
        "provider": payment.provider,
        "providerPaymentId": payment.provider_payment_id,
        "direction": payment.direction,
        "rail": payment.rail,
        "mode": payment.mode,
        "chainId": payment.chain_id,
        "tokenAddress": payment.token_address,
        "tokenSymbol": payment.token_symbol,
        "decimals": payment.decimals,
        "amount": payment.amount,
        "amountBaseUnits": str(payment.amount_base),
        "destination": None if hidden else payment.destination,
        "status": payment.status,
        "escrowState": payment.escrow_state,
        "confirmationsRequired": payment.confirmations_required,
        "evidence": payment.evidence,
        "txHash": payment.tx_hash,
        "holdReason": payment.hold_reason,
        "holdUntil": shown(payment.hold_until),
        "reorgedAt": shown(payment.reorged_at),
        "stopReason": payment.stop_reason,
        **_balance("baselineBalance", payment.baseline_balance, payment),
        **_balance("currentBalance", payment.current_balance, payment),
        "reason": payment.reason,
        "settlesPaymentId": payment.settles_payment_id,
        "expiresAt": shown(payment.expires_at),
        "createdAt": shown(payment.created_at),
        "updatedAt": shown(payment.updated_at),
    }


def instructions_json(payment: Payment) -> dict[str, Any]:
    """Render what somebody with a plain wallet needs."""
    evm = payment.token_address.startswith("0x")
    uri = f"ethereum:{payment.token_address}@{payment.chain_id}/transfer?address={payment.destination}&uint256="
    told = {
        "address": payment.destination,
        "tokenAddress": payment.token_address,
        "tokenSymbol": payment.token_symbol,
        "decimals": payment.decimals,
        "chainId": payment.chain_id,
        "amount": payment.amount,
        "amountBaseUnits": str(payment.amount_base),
        "paymentUri": (payment.checkout or {}).get("paymentUri") or (f"{uri}{payment.amount_base}" if evm else None),
        "expiresAt": shown(payment.expires_at),
    }
    if payment.rail is Rail.DIRECT_BALANCE:
        told |= _balance("baselineBalance", payment.baseline_balance, payment)
    if payment.mode is Mode.WATCH:
        told |= {"watchId": payment.provider_payment_id, "nextCheckAt": shown(payment.next_check_at)}
    return told


def ledger_json(payment: Payment, balances: Balances) -> dict[str, Any]:
    """Render what the ledger says of a payment."""
    sums = {
        "held": balances.held,
        "releasable": 0 if payment.reorged_at is not None else balances.releasable(payment.escrow_state),
        "available": balances.available,
    }
    exact = {f"{name}BaseUnits": str(amount) for name, amount in sums.items()}
    return (
        {name: _decimal(amount, payment) for name, amount in sums.items()} | exact | {"currency": payment.token_symbol}
    )


def check_json(result: CheckResult) -> dict[str, Any]:
    """Render what a look ended with."""
    return {
        "payment": payment_json(result.payment),
        "funded": result.funded,
        "reason": result.reason,
        "delta": _decimal(result.delta, result.payment),
        "deltaBaseUnits": str(result.delta),
        "expected": _decimal(result.expected, result.payment),
        "expectedBaseUnits": str(result.expected),
        "currency": result.payment.token_symbol,
    }


def _decimal(amount: int, payment: Payment) -> str:
    sign = "-" if amount < 0 else ""
    return sign + to_decimal(abs(amount), payment.decimals)


def _balance(name: str, amount: int | None, payment: Payment) -> dict[str, str | None]:
    """Render a balance that may not be known, as people read it and in base units."""
    if amount is None:
        return {name: None, f"{name}BaseUnits": None}
    return {name: to_decimal(amount, payment.decimals), f"{name}BaseUnits": str(amount)}


async def open_intent(request: web.Request) -> web.Response:
    """POST /api/payment/intents"""
    actor = who(request, Role.BUYER)
    body = await parse(request, NewIntent)
    payment, new = await request.app[SERVICES].checkout.open_payment(actor, body.draft())
    told: dict[str, Any] = {"payment": payment_json(payment)}
    if payment.registered_at is None:
        return ok(told, status=ACCEPTED)
    if payment.rail is Rail.PROXY:
        told["checkoutBlock"] = payment.checkout
    else:
        told["instructions"] = instructions_json(payment)
    return ok(told, status=201 if new else 200)


async def show(request: web.Request) -> web.Response:
    """GET /api/payment/{id}"""
    actor = who(request)
    view = await request.app[SERVICES].payments.show(actor, path_id(request, "payment"))
    return ok({"payment": payment_json(view.payment), "ledger": ledger_json(view.payment, view.balances)})


async def history(request: web.Request) -> web.Response:
    """GET /api/payment/history"""
    actor = who(request)
    query = parse_query(request, History)
    found, total = await request.app[SERVICES].payments.history(actor, query.role, query.part())
    return listed("payments", [payment_json(each) for each in found], total, query.part())


async def cancel(request: web.Request) -> web.Response:
    """POST /api/payment/{id}/cancel"""
    actor = who(request, Role.BUYER, Role.ADMIN)
    payment = await request.app[SERVICES].payments.cancel(actor, path_id(request, "payment"))
    return ok({"payment": payment_json(payment)})


async def check(request: web.Request) -> web.Response:
    """POST /api/payment/amn-scanner/direct-balance/check/{paymentId}"""
    actor = who(request, Role.BUYER, Role.ADMIN)
    result = await request.app[SERVICES].verifier.check(actor, path_id(request, "payment", "paymentId"))
    return ok(check_json(result))


async def webhook(request: web.Request) -> web.Response:
    """POST /api/payment/amn-scanner/webhook"""
    taken = await request.app[SERVICES].webhook_receiver.receive(await request.read(), request.headers)
    prove(request)
    status = ACCEPTED if taken.about_balance and not taken.funded else 200
    return ok({"outcome": taken.outcome, "funded": taken.funded}, status=status)
