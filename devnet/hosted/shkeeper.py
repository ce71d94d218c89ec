"""A SHKeeper in this process: its invoices, addresses and callbacks, and its known faults on request."""

from __future__ import annotations

import hashlib
import hmac
import itertools
import json
import time
from dataclasses import dataclass, field
from decimal import Decimal
from typing import Any

import aiohttp
import orjson
from aiohttp import web

from devnet.fault_server import FaultServer, cut, json_response

Json = dict[str, Any]
ACCEPTED = 202


@dataclass(slots=True, eq=False)
class Invoice:
    """What is to be paid, and what was: one invoice an id and callback, however often it is asked for."""

    number: int
    external_id: str
    callback_url: str
    crypto: str
    fiat: str
    amount_fiat: Decimal
    amount_crypto: Decimal
    address: str
    txs: list[Json] = field(default_factory=list)

    @property
    def paid(self) -> Decimal:
        return sum((Decimal(tx["amount_crypto"]) for tx in self.txs), Decimal(0))

    @property
    def status(self) -> str:
        if not self.txs:
            return "UNPAID"
        if self.paid < self.amount_crypto:
            return "PARTIAL"
        return "PAID" if self.paid == self.amount_crypto else "OVERPAID"


class ShkeeperServer(FaultServer):
    """
    One instance. `fail` adds passing faults by route: `payment_request`, `invoices`.

    Attributes:
        rate, fee_percent: of what an invoice asks in crypto; 1 and 0 are what a shop at par sets.
        disabled: cryptos whose wallet is switched off, which it says with status 200.
        loses_answers: how many invoices it makes whose answer nobody hears.
        addresses: what it gives next, in the place of a fresh one.
        signs: False as its versions before webhook signatures.
    """

    def __init__(self, key: str) -> None:
        super().__init__()
        self.key = key
        self.rate = Decimal(1)
        self.fee_percent = Decimal(0)
        self.disabled: set[str] = set()
        self.loses_answers = 0
        self.addresses: list[str] = []
        self.signs = True
        self._numbers = itertools.count(1)
        self.invoices: dict[tuple[str, str], Invoice] = {}

    def invoice(self, external_id: str) -> Invoice:
        """Return the one invoice of an id."""
        (found,) = [each for (name, _), each in self.invoices.items() if name == external_id]
        return found

    # -- what it answers

    async def _serve(self, request: web.Request) -> web.StreamResponse:
        parts = request.path.strip("/").split("/")
        route = parts[3] if len(parts) == 4 and request.method == "POST" else parts[2] if len(parts) > 2 else ""
        async with self._changed:
            self.calls[route] += 1
            self._changed.notify_all()
        fault = self._fitting([route])
        if fault is not None:
            fault.use()
            disturbed = await self._disturb(fault, request)
            if disturbed is not None:
                return disturbed
        if request.headers.get("X-Shkeeper-Api-Key") != self.key:
            return json_response({"status": "error", "message": "Bad API key"}, 401)
        if route == "payment_request":
            return await self._create(request, parts[2])
        if route == "invoices":
            rows = [_shown(each) for (name, _), each in self.invoices.items() if name == parts[3]]
            return json_response({"status": "success", "invoices": rows})
        return json_response({"status": "error", "message": "Not found"}, 404)

    async def _create(self, request: web.Request, crypto: str) -> web.StreamResponse:
        if crypto in self.disabled:
            return json_response({"status": "error", "message": f"{crypto} payment gateway is unavailable"})
        asked = orjson.loads(await request.read())
        name = (str(asked["external_id"]), str(asked["callback_url"]))
        amount = Decimal(str(asked["amount"]))
        if name not in self.invoices:
            self.invoices[name] = Invoice(
                number=next(self._numbers),
                external_id=name[0],
                callback_url=name[1],
                crypto=crypto,
                fiat=asked["fiat"],
                amount_fiat=amount,
                amount_crypto=amount / self.rate * (1 + self.fee_percent / 100),
                address=self.addresses.pop(0) if self.addresses else self._address(crypto),
            )
        if self.loses_answers > 0:
            self.loses_answers -= 1
            return cut(request)
        made = self.invoices[name]
        return json_response(
            {
                "status": "success",
                "id": made.number,
                "exchange_rate": str(self.rate),
                "amount": format(made.amount_crypto.normalize(), "f"),
                "wallet": made.address,
                "display_name": made.crypto,
                "recalculate_after": 0,
            }
        )

    def _address(self, crypto: str) -> str:
        """Return an address nobody had before."""
        return "0x" + hashlib.sha256(f"{crypto}/{next(self._numbers)}".encode()).hexdigest()[:40]

    # -- what it tells

    def pay(self, external_id: str, amount: str, txid: str, crypto: str | None = None) -> Json:
        """Note a transaction that came for an invoice; return its callback."""
        made = self.invoice(external_id)
        tx = {
            "txid": txid,
            "date": "2026-01-02 03:04:05",
            "amount_crypto": amount,
            "amount_fiat": amount,
            "crypto": crypto or made.crypto,
        }
        made.txs.append(tx)
        return self.callback(external_id)

    def callback(self, external_id: str) -> Json:
        """Return what it tells of an invoice now: all its transactions, the newest as the trigger."""
        made = self.invoice(external_id)
        return {
            "external_id": made.external_id,
            "crypto": made.crypto,
            "addr": made.address,
            "fiat": made.fiat,
            "balance_fiat": str(made.paid),
            "balance_crypto": str(made.paid),
            "paid": made.status in {"PAID", "OVERPAID"},
            "status": made.status,
            "transactions": [{**tx, "trigger": tx is made.txs[-1]} for tx in made.txs],
            "fee_percent": str(self.fee_percent),
            "overpaid_fiat": str(max(Decimal(0), made.paid - made.amount_crypto)),
        }

    def unconfirmed(self, external_id: str, amount: str, txid: str) -> Json:
        """Return what it tells of a transaction that no block holds yet."""
        made = self.invoice(external_id)
        return {
            "status": "unconfirmed",
            "external_id": made.external_id,
            "crypto": made.crypto,
            "addr": made.address,
            "txid": txid,
            "amount": amount,
        }

    def headers(self, raw: bytes, *, now: int | None = None) -> dict[str, str]:
        """Return what it sends beside a body."""
        found = {"X-Shkeeper-Api-Key": self.key, "Content-Type": "application/json"}
        if self.signs:
            stamp = str(int(time.time()) if now is None else now)
            signed = hmac.new(self.key.encode(), f"{stamp}.".encode() + raw, hashlib.sha256).hexdigest()
            found |= {"X-Shkeeper-Timestamp": stamp, "X-Shkeeper-Signature": signed}
        return found

    async def send(
        self, session: aiohttp.ClientSession, body: Json, *, now: int | None = None, **headers: str | None
    ) -> tuple[int, Json]:
        """Deliver a callback to the invoice's own address; a header that is None is left out."""
        raw = encoded(body)
        sent = {**self.headers(raw, now=now), **{name.replace("_", "-"): value for name, value in headers.items()}}
        kept = {name: value for name, value in sent.items() if value is not None}
        url = self.invoice(str(body["external_id"])).callback_url
        async with session.post(url, data=raw, headers=kept) as response:
            return response.status, orjson.loads(await response.read())


def encoded(body: Json) -> bytes:
    """Return a body as it is signed: compact, by name."""
    return json.dumps(body, separators=(",", ":"), sort_keys=True, ensure_ascii=False).encode()


def _shown(made: Invoice) -> Json:
    txs = [
        {
            "txid": tx["txid"],
            "amount": tx["amount_crypto"],
            "crypto": tx["crypto"],
            "addr": made.address,
            "status": "CONFIRMED",
        }
        for tx in made.txs
    ]
    return {
        "external_id": made.external_id,
        "fiat": made.fiat,
        "amount_fiat": f"{made.amount_fiat:.10f}",
        "balance_fiat": f"{made.paid:.10f}",
        "status": made.status,
        "txs": txs,
    }
