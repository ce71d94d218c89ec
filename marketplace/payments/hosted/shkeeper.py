"""SHKeeper, a gateway that an operator runs: it gives each payment an address of its own wallet."""

from __future__ import annotations

import hashlib
import hmac
from collections.abc import Callable, Mapping, Sequence
from typing import Any, Final

from pydantic import SecretStr

from kernel.web.json_bodies import json_object
from marketplace.errors import Refused
from marketplace.model import Payment, Provider
from marketplace.payments.hosted.upstream import Created, HostedWebhook, UpstreamCalls, name_of, same_amount
from marketplace.payments.providers import CreationRefused, ProviderUnavailable

HOOK_PATH: Final = "/api/payment/shkeeper/webhook"
API_KEY: Final = "X-Shkeeper-Api-Key"
SIGNATURE: Final = "X-Shkeeper-Signature"
TIMESTAMP: Final = "X-Shkeeper-Timestamp"
TOLERANCE_S: Final = 300
MAX_STAMP: Final = 12  # digits
FIAT: Final = "USD"  # at par with the tokens it is configured for; any other rate is refused by its amount
STATUSES: Final = frozenset({"unconfirmed", "unpaid", "partial", "paid", "overpaid", "expired"})


class Shkeeper:
    """Its API, version 1."""

    name = Provider.SHKEEPER
    gives_address = True

    def __init__(
        self,
        calls: UpstreamCalls,
        key: SecretStr,
        cryptos: Mapping[int, Mapping[str, str]],
        callback_url: Callable[[], str],
    ) -> None:
        """`cryptos` says under which name it knows a token: by chain, then by symbol."""
        self._calls = calls
        self._key = key
        self._cryptos = cryptos
        self._callback_url = callback_url

    def offers(self, chain_id: int, token_symbol: str) -> bool:
        return token_symbol in self._cryptos.get(chain_id, {})

    async def create(self, payment: Payment) -> Created:
        """Make its invoice; the same id and callback again are the same invoice there, with the same address."""
        crypto = self._cryptos.get(payment.chain_id, {}).get(payment.token_symbol)
        if crypto is None:
            raise CreationRefused(f"SHKeeper has no name for {payment.token_symbol} of chain {payment.chain_id}")
        asked = {
            "external_id": payment.id,
            "fiat": FIAT,
            "amount": payment.amount,
            "callback_url": self._callback_url(),
        }
        answer = await self._calls.call("POST", ("api", "v1", crypto, "payment_request"), asked)
        if answer.get("status") != "success":
            # It says so of a wallet that lags and of one that is switched off alike: it is asked again.
            raise ProviderUnavailable(f"SHKeeper cannot take {crypto} now")
        if not same_amount(answer.get("amount"), payment.amount):
            raise CreationRefused(
                f"SHKeeper asks another amount than {payment.amount} {payment.token_symbol}:"
                " its rate has to be 1, and its fee 0"
            )
        wallet = name_of(answer.get("wallet"))
        if wallet is None:
            raise CreationRefused("SHKeeper gave no address")
        return Created(provider_payment_id=payment.id, destination=wallet)

    async def transactions(self, payment: Payment) -> Sequence[str]:
        answer = await self._calls.call("GET", ("api", "v1", "invoices", payment.id))
        invoices = answer.get("invoices")
        if not isinstance(invoices, list):
            raise ProviderUnavailable("SHKeeper lists no invoices")
        mine = [each for each in invoices if isinstance(each, dict) and each.get("external_id") == payment.id]
        return [tx for invoice in mine for tx in _hashes(invoice.get("txs"))]

    def read_webhook(self, raw: bytes, headers: Mapping[str, str], now_s: int) -> HostedWebhook:
        self._verify(raw, headers, now_s)
        body = json_object(raw)
        payment_name = name_of(body.get("external_id"))
        if payment_name is None:
            raise Refused("bad_json", "the callback names no external_id")
        said = body.get("status")
        status = said.lower() if isinstance(said, str) and said.lower() in STATUSES else "other"
        single = name_of(body.get("txid"))
        told = [*([single] if single else []), *_hashes(body.get("transactions"))]
        return HostedWebhook(f"shkeeper.{status}", payment_name, tuple(dict.fromkeys(told)))

    def _verify(self, raw: bytes, headers: Mapping[str, str], now_s: int) -> None:
        """Hold a callback against the key: by its signature where it has one, and by the key itself where it has it."""
        secret = self._key.get_secret_value().encode()
        given, signature = headers.get(API_KEY), headers.get(SIGNATURE)
        if given is None and signature is None:
            raise Refused("bad_signature", f"the callback has neither {SIGNATURE} nor {API_KEY}")
        if given is not None and not hmac.compare_digest(given.encode("utf-8", "replace"), secret):
            raise Refused("bad_signature", f"{API_KEY} is another")
        if signature is None:
            return
        stamp = headers.get(TIMESTAMP, "")
        if (
            not (stamp.isascii() and stamp.isdigit() and len(stamp) <= MAX_STAMP)
            or abs(now_s - int(stamp)) > TOLERANCE_S
        ):
            raise Refused("bad_signature", f"{TIMESTAMP} is missing, or more than {TOLERANCE_S} seconds off")
        expected = hmac.new(secret, f"{stamp}.".encode() + raw, hashlib.sha256).hexdigest()
        if not hmac.compare_digest(expected.encode(), signature.strip().lower().encode("utf-8", "replace")):
            raise Refused("bad_signature", f"{SIGNATURE} does not fit the body")


def _hashes(listed: Any) -> list[str]:
    """Return the transactions of a list; what is none is left out, and what is none of our chain is seen later."""
    rows = listed if isinstance(listed, list) else []
    found = [name_of(each.get("txid")) for each in rows if isinstance(each, dict)]
    return [each for each in found if each is not None]
