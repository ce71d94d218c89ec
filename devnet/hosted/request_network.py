"""Request Network's hosted API in this process: secure payments, their status and webhooks, and faults on request."""

from __future__ import annotations

import hashlib
import hmac
import itertools
from typing import Any

import aiohttp
import orjson
from aiohttp import web

from devnet.fault_server import FaultServer, cut, json_response

Json = dict[str, Any]


class RequestNetworkServer(FaultServer):
    """
    One account. `fail` adds passing faults by route: `secure-payments`, `request`.

    Attributes:
        requests: what was made, by its id; each call makes another one.
        loses_answers: how many it makes whose answer nobody hears.
        names: which ids it gives next, in the place of fresh ones.
        page: where its payment pages are.
    """

    def __init__(self, key: str, secret: str) -> None:
        super().__init__()
        self.key = key
        self.secret = secret
        self.requests: dict[str, Json] = {}
        self.loses_answers = 0
        self.names: list[str] = []
        self._numbers = itertools.count(1)
        self.page = "https://pay.request.test/"

    async def _serve(self, request: web.Request) -> web.StreamResponse:
        parts = request.path.strip("/").split("/")
        route = parts[1] if len(parts) > 1 else ""
        async with self._changed:
            self.calls[route] += 1
            self._changed.notify_all()
        fault = self._fitting([route])
        if fault is not None:
            fault.use()
            disturbed = await self._disturb(fault, request)
            if disturbed is not None:
                return disturbed
        if request.headers.get("x-api-key") != self.key:
            return json_response({"statusCode": 401, "message": "Unauthorized"}, 401)
        if (request.method, route) == ("POST", "secure-payments"):
            return await self._create(request)
        if (request.method, route) == ("GET", "request") and parts[-1] in self.requests:
            made = self.requests[parts[-1]]
            shown = ("requestId", "paymentReference", "hasBeenPaid", "isListening", "txHash")
            return json_response({name: made[name] for name in shown})
        return json_response({"statusCode": 404, "message": "Request not found"}, 404)

    async def _create(self, request: web.Request) -> web.StreamResponse:
        asked = orjson.loads(await request.read())
        (wanted,) = asked["requests"]
        number = next(self._numbers)
        name = self.names.pop(0) if self.names else f"01{hashlib.sha256(str(number).encode()).hexdigest()}"
        self.requests[name] = {
            "requestId": name,
            "paymentReference": f"0x{number:016x}",
            "hasBeenPaid": False,
            "isListening": True,
            "txHash": None,
            "amount": wanted["amount"],
            "destinationId": wanted["destinationId"],
            "reference": asked["reference"],
        }
        if self.loses_answers > 0:
            self.loses_answers -= 1
            return cut(request)
        token = f"01TOKEN{number:019d}"
        answer = {"requestIds": [name], "securePaymentUrl": f"{self.page}?token={token}", "token": token}
        return json_response(answer, 201)

    def of(self, payment_id: str) -> Json:
        """Return the newest request that was made for a payment."""
        return [each for each in self.requests.values() if each["reference"] == payment_id][-1]

    def pay(self, name: str, amount: str, tx_hash: str, *, whole: bool = True) -> Json:
        """Note that a request was paid, or in part; return its webhook."""
        made = self.requests[name]
        made |= {"hasBeenPaid": whole, "isListening": not whole, "txHash": tx_hash}
        return {
            "event": "payment.confirmed" if whole else "payment.partial",
            "requestId": name,
            "requestID": name,
            "paymentReference": made["paymentReference"],
            "explorer": f"https://scan.request.test/request/{name}",
            "amount": amount,
            "totalAmountPaid": amount,
            "expectedAmount": made["amount"],
            "timestamp": "2026-01-02T03:04:05Z",
            "txHash": tx_hash,
            "payerAddress": None,
            "network": "bsc",
            "currency": "USDT",
            "paymentCurrency": "USDT",
            "isCryptoToFiat": False,
            "subStatus": "",
            "paymentProcessor": "request-network",
            "fees": [],
        }

    def headers(self, raw: bytes) -> dict[str, str]:
        """Return what it sends beside a body."""
        return {
            "Content-Type": "application/json",
            "x-request-network-signature": hmac.new(self.secret.encode(), raw, hashlib.sha256).hexdigest(),
            "x-request-network-delivery": f"01DELIVERY{next(self._numbers):016d}",
            "x-request-network-retry-count": "0",
        }

    async def send(
        self, session: aiohttp.ClientSession, url: str, body: Json, **headers: str | None
    ) -> tuple[int, Json]:
        """Deliver a webhook to a registered address; a header that is None is left out."""
        raw = orjson.dumps(body)
        sent = {**self.headers(raw), **{name.replace("_", "-"): value for name, value in headers.items()}}
        kept = {name: value for name, value in sent.items() if value is not None}
        async with session.post(url, data=raw, headers=kept) as response:
            return response.status, orjson.loads(await response.read())
