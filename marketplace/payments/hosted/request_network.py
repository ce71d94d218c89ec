"""Request Network's hosted API: a payment page of theirs that pays to an address of ours."""

from __future__ import annotations

import hashlib
import hmac
from collections.abc import Collection, Mapping, Sequence
from typing import Final

from pydantic import SecretStr

from addresses.evm import to_checksum
from addresses.keccak import keccak
from kernel.web.json_bodies import json_object
from kernel.web.links import is_web_link
from marketplace.errors import Refused
from marketplace.model import Payment, Provider
from marketplace.payments.hosted.upstream import Created, HostedWebhook, UpstreamCalls, name_of
from marketplace.payments.providers import CreationRefused

HOOK_PATH: Final = "/api/payment/request-network/webhook"
SIGNATURE: Final = "x-request-network-signature"
TEST: Final = "x-request-network-test"
MAX_LINK: Final = 2_000
EVENTS: Final = frozenset({"payment.confirmed", "payment.partial", "payment.failed", "payment.refunded"})


class RequestNetwork:
    """Its API, version 2: secure payments."""

    name = Provider.REQUEST_NETWORK
    gives_address = False

    def __init__(self, calls: UpstreamCalls, secret: SecretStr, chain_ids: Collection[int]) -> None:
        self._calls = calls
        self._secret = secret
        self._chain_ids = frozenset(chain_ids)

    def offers(self, chain_id: int, token_symbol: str) -> bool:  # noqa: ARG002 - any token of these chains
        return chain_id in self._chain_ids

    async def create(self, payment: Payment) -> Created:
        """
        Make its payment page.

        What was made and not heard of is made again: nobody was shown the first, and both pay to the same address.
        """
        destination = destination_id(payment.chain_id, payment.paid_to, payment.token_address)
        asked = {"requests": [{"destinationId": destination, "amount": payment.amount}], "reference": payment.id}
        answer = await self._calls.call("POST", ("v2", "secure-payments"), asked)
        ids = answer.get("requestIds")
        request_id = name_of(ids[0]) if isinstance(ids, list) and len(ids) == 1 else None
        url = answer.get("securePaymentUrl")
        if request_id is None:
            raise CreationRefused("Request Network named no request, or several")
        if not isinstance(url, str) or len(url) > MAX_LINK or not is_web_link(url):
            # Buyers open it: `javascript:` would run as our page.
            raise CreationRefused("Request Network gave no link to a payment page")
        return Created(provider_payment_id=request_id, payment_url=url)

    async def transactions(self, payment: Payment) -> Sequence[str]:
        answer = await self._calls.call("GET", ("v2", "request", payment.provider_payment_id or ""))
        told = name_of(answer.get("txHash"))
        return [] if told is None else [told]

    def read_webhook(self, raw: bytes, headers: Mapping[str, str], now_s: int) -> HostedWebhook:  # noqa: ARG002
        expected = hmac.new(self._secret.get_secret_value().encode(), raw, hashlib.sha256).hexdigest()
        given = headers.get(SIGNATURE, "")
        if not hmac.compare_digest(expected.encode(), given.strip().lower().encode("utf-8", "replace")):
            raise Refused("bad_signature", f"{SIGNATURE} does not fit the body")
        body = json_object(raw)
        if headers.get(TEST) is not None:
            return HostedWebhook("request.network.test", "", (), is_test=True)
        payment_name = name_of(body.get("requestId")) or name_of(body.get("requestID"))
        if payment_name is None:
            raise Refused("bad_json", "the webhook names no requestId")
        event = body.get("event")
        kind = event if isinstance(event, str) and event in EVENTS else "other"
        told = name_of(body.get("txHash"))
        paid = told is not None and kind in {"payment.confirmed", "payment.partial"}
        return HostedWebhook(f"request.network.{kind}", payment_name, (told,) if paid and told else ())


def destination_id(chain_id: int, address: str, token_address: str) -> str:
    """
    Return an address and a token of an EVM chain as Request Network writes them.

    The first part is an interoperable address (ERC-7828): its checksum is of its binary form (ERC-7930).
    """
    number = chain_id.to_bytes((chain_id.bit_length() + 7) // 8, "big")
    account = bytes.fromhex(address[2:])
    binary = b"\x00\x00" + bytes([len(number)]) + number + bytes([len(account)]) + account
    checksum = keccak(binary)[:4].hex().upper()
    return f"{to_checksum(address)}@eip155:{chain_id}#{checksum}:{to_checksum(token_address)}"
