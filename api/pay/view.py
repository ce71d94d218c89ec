"""From a payment to what its page says, in one language."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from aiohttp import web
from markupsafe import Markup

from api.keys import SERVICES
from api.pay.doors import PAY
from chains.types import Rail
from config.catalog import Chain, ChainType
from config.explorers import address_url, token_url, transaction_url
from kernel.pages.kit import render
from kernel.pages.languages import Language, Languages
from kernel.pages.money import decimal
from kernel.pages.qr import qr_image
from protocol.words import PaymentState
from scanner.checkout.state import PAYABLE, Payment
from scanner.model import Intent

LANGUAGES = Languages("api.pay")
PARTS = ("status", "time", "due")
MAX_LANG = 35  # characters of a tag that is looked at
KINDS: Mapping[PaymentState, str] = {
    PaymentState.WAITING: "note",
    PaymentState.SEEN: "note",
    PaymentState.CONFIRMING: "note",
    PaymentState.PARTIAL: "warn",
    PaymentState.PAID: "good",
    PaymentState.TIME_UP: "warn",
    PaymentState.EXPIRED: "bad",
    PaymentState.LATE: "bad",
    PaymentState.CANCELLED: "bad",
    PaymentState.REORGED: "bad",
}


def language_of(request: web.Request, locale: str | None = None) -> Language:
    """Return the language of a page: the one asked for, then the backend's, then the browser's, then English."""
    asked = request.query.get("lang", "")[:MAX_LANG]
    return LANGUAGES.choose(asked, locale, accepted=request.headers.get("Accept-Language", ""))


def shown_token(intent: Intent) -> str:
    """Return how a token is called: by its symbol, where one is known."""
    return intent.token_symbol or f"{intent.token_address[:6]}…{intent.token_address[-4:]}"


@dataclass(frozen=True, slots=True)
class PayView:
    """A payment in one language, for one request."""

    request: web.Request
    payment: Payment
    language: Language

    @property
    def context(self) -> dict[str, Any]:
        """Return what the templates go by."""
        intent, chain = self.payment.intent, self._chain
        return {
            "language": self.language,
            "t": self.language.say,
            "payment": self.payment,
            "intent": intent,
            "texts": self.payment.texts,
            "kind": KINDS[self.payment.state],
            "sentence": self._sentence(),
            "payable": self._payable,
            "proxy": intent.rail is Rail.PROXY,
            "chain_name": chain.name if chain else intent.chain_id,
            "testnet": chain is not None and chain.testnet,
            "symbol": shown_token(intent) if intent.decimals is not None else self.language.say("units"),
            "token_name": shown_token(intent),
            "token_link": token_url(chain, intent.token_address) if chain else None,
            "destination_link": address_url(chain, intent.destination) if chain else None,
            "transactions": [(tx, transaction_url(chain, tx) if chain else None) for tx in self._transactions()],
            "seconds_left": self._seconds_left(),
            "uri": self._uri,
            "qr": self._qr(),
            "wallet": self._wallet(),
            "other_language": next(code for code in LANGUAGES.known if code != self.language.code),
        }

    def parts(self, context: dict[str, Any]) -> dict[str, dict[str, str]]:
        """Return the parts of the page that change, and by what an open page knows whether one has."""
        rendered = {name: render(self.request, f"pay_{name}.html", context) for name in PARTS}
        return {
            name: {"html": Markup(html), "digest": hashlib.sha256(html.encode()).hexdigest()[:16]}  # noqa: S704 - ours
            for name, html in rendered.items()
        }

    def news(self) -> dict[str, Any]:
        """Return what an open page is told."""
        context = self.context
        redirect = context["texts"].redirect_url if self.payment.state is PaymentState.PAID else None
        return {
            "state": self.payment.state,
            "parts": self.parts(context),
            "wallet": context["wallet"],
            "redirect": redirect,
        }

    def page(self, script_texts: str) -> str:
        """Return the whole page."""
        context = self.context
        more = {"parts": self.parts(context), "script_texts": script_texts}
        return render(self.request, "pay.html", context | more)

    @property
    def _chain(self) -> Chain | None:
        return self.request.app[SERVICES].chain(self.payment.intent.chain_id)

    @property
    def _payable(self) -> bool:
        watched = self.request.app[SERVICES].is_watched(self.payment.intent.chain_id)
        return watched and self.payment.state in PAYABLE

    @property
    def _uri(self) -> str | None:
        services, payment = self.request.app[SERVICES], self.payment
        return services.checkout(payment.intent, payment.missing).payment_uri if self._payable else None

    def _qr(self) -> str | None:
        """No plain transfer can express a payment through the proxy: its code leads to this page."""
        if not self._payable:
            return None
        return qr_image(self._uri or self._own_url())

    def _own_url(self) -> str:
        public = self.request.app[PAY].public_url or f"{self.request.scheme}://{self.request.host}"
        return f"{public}/pay/{self.payment.intent.pay_token}"

    def _seconds_left(self) -> int | None:
        expires_at = self.payment.intent.expires_at
        if expires_at is None or not self._payable:
            return None
        return max(0, (expires_at - self.request.app[SERVICES].now_ms()) // 1000)

    def _transactions(self) -> list[str]:
        """Return the transactions that concern the buyer; the one that completed the payment is among them."""
        hashes = [each.tx_hash for each in self.payment.transfers]
        return list(dict.fromkeys([*hashes, *([self.payment.intent.tx_hash] if self.payment.intent.tx_hash else [])]))

    def money(self, amount: int) -> str:
        """Return an amount within a sentence, in one direction whatever the language's."""
        intent = self.payment.intent
        unit = shown_token(intent) if intent.decimals is not None else self.language.say("units")
        return f"\u2066{decimal(amount, intent.decimals)} {unit}\u2069"

    def _sentence(self) -> str:
        payment, say = self.payment, self.language.say
        intent = payment.intent
        received = {"received": self.money(intent.amount_received), "amount": self.money(intent.amount)}
        match payment.state:
            case PaymentState.WAITING if intent.rail is Rail.PROXY:
                return say("waiting_more_proxy")
            case PaymentState.CONFIRMING:
                return say("confirming_more", depth=intent.confirmations, needed=intent.confirmations_required)
            case PaymentState.PARTIAL:
                return say("partial_more", missing=self.money(payment.missing), **received)
            case PaymentState.PAID if payment.surplus:
                return say("paid_over", surplus=self.money(payment.surplus))
            case PaymentState.EXPIRED | PaymentState.TIME_UP if intent.amount_received:
                return say("expired_partial", **received)
            case state:
                return say(f"{state}_more")

    def _wallet(self) -> dict[str, Any] | None:
        """Return what an injected wallet needs; None where it cannot pay."""
        payment, chain = self.payment, self._chain
        intent = payment.intent
        if not self._payable or chain is None or chain.chain_type is not ChainType.EVM:
            return None
        proxy = intent.rail is Rail.PROXY
        services = self.request.app[SERVICES]
        return {
            "chainId": hex(chain.chain_id),
            "chainName": chain.name,
            "coin": chain.coin or "ETH",
            "rpcUrls": chain.public_rpc_urls,
            "explorer": chain.explorer,
            "token": intent.token_address,
            "symbol": shown_token(intent),
            "decimals": intent.decimals or 0,
            "destination": intent.destination,
            "proxy": chain.proxy_address if proxy else None,
            "calldata": services.checkout(intent, payment.missing).calldata,
            "amount": str(payment.missing),
            "needed": str(payment.missing + (intent.fee_amount if proxy else 0)),
        }
