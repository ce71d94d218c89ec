"""The payment page, its assets, and looking again."""

from __future__ import annotations

import functools
import logging
from collections.abc import Awaitable, Callable

import orjson
from aiohttp import web

from api.bodies import parse
from api.errors import ApiError, json_response, translate
from api.keys import SERVICES
from api.pay.doors import PAY, payment_of
from api.pay.view import PayView, language_of
from api.schemas import Recheck
from chains.errors import ChainError, InvalidTxHash
from kernel.pages import kit
from kernel.pages.headers import page_headers
from kernel.pages.languages import Language
from protocol import answers
from protocol.wire import Units
from protocol.words import PaymentState
from scanner.checkout.payments import Looked

log = logging.getLogger(__name__)

ARRIVED = frozenset({PaymentState.SEEN, PaymentState.CONFIRMING, PaymentState.PARTIAL})
WALLET_TEXTS = ("w_", "c_", "copied", "pay_with", "pay_again", "browser_wallet", "no_wallet", "offline")

Handler = Callable[[web.Request], Awaitable[web.Response]]


def failing_in_words(handler: Handler) -> Handler:
    """Say what is wrong on a page: a buyer reads no JSON."""

    @functools.wraps(handler)
    async def page(request: web.Request) -> web.Response:
        try:
            return await handler(request)
        except Exception as exc:
            error = translate(exc)
            if error is None:
                log.exception("[api] the payment page failed")
                error = ApiError("internal", "something went wrong here; it was logged")
            return _failure(request, error)

    return page


def _failure(request: web.Request, error: ApiError) -> web.Response:
    language = language_of(request)
    known = str(error.status) if f"error_{error.status}" in language.texts else "other"
    context = {"language": language, "t": language.say, "known": known}
    text = kit.render(request, "pay_error.html", context)
    headers = {**page_headers(frame_ancestors=request.app[PAY].frame_ancestors), **error.headers}
    return web.Response(text=text, status=error.status, headers=headers)


@failing_in_words
async def show(request: web.Request) -> web.Response:
    """GET /pay/{payToken}"""
    payment = await payment_of(request, "pages")
    view = PayView(request, payment, language_of(request, payment.texts.locale))
    text = view.page(script_texts(view.language))
    return web.Response(text=text, headers=page_headers(frame_ancestors=request.app[PAY].frame_ancestors))


@functools.lru_cache(maxsize=8)
def _script_texts(language: str, texts: tuple[tuple[str, str], ...]) -> str:  # noqa: ARG001 - the key of the cache
    return orjson.dumps({key: text for key, text in texts if key.startswith(WALLET_TEXTS)}).decode()


def script_texts(language: Language) -> str:
    """Return what the page's scripts say."""
    return _script_texts(language.code, tuple(language.texts.items()))


async def recheck(request: web.Request) -> web.Response:
    """POST /pay/{payToken}/recheck"""
    payment = await payment_of(request, "rechecks")
    body = await parse(request, Recheck, optional=True)
    try:
        looked = await request.app[SERVICES].payments.look(payment.intent.pay_token or "", body.tx_hash)
    except InvalidTxHash:
        raise
    except ChainError as exc:  # which endpoint failed, and how, is the operator's
        log.warning("[api] a payment page could not look at chain %d: %s", payment.intent.chain_id, exc)
        raise ApiError("chain_unavailable", "the chain cannot be read now: try again later") from exc
    language = language_of(request, payment.texts.locale)
    return json_response(
        answers.LookedAt(
            state=looked.payment.state,
            found=looked.found,
            counts=looked.counts,
            reason=looked.reason,
            missing=Units(looked.payment.missing),
            message=language.say(_message(looked, named=body.tx_hash is not None)),
        )
    )


def _message(looked: Looked, *, named: bool) -> str:
    if looked.payment.state is PaymentState.PAID:
        return "c_paid"
    if looked.counts:
        return "c_counts"
    if looked.found:
        return "c_rejected"
    if named:
        return "c_not_found"
    if looked.payment.state is PaymentState.LATE:
        return "c_rejected"
    return "c_counts" if looked.payment.state in ARRIVED else "c_nothing"


async def asset(request: web.Request) -> web.Response:
    """GET /assets/{version}/{name}"""
    return request.app[kit.ASSETS].response(request)


async def icon(request: web.Request) -> web.Response:
    """GET /favicon.ico"""
    return request.app[kit.ASSETS].icon()
