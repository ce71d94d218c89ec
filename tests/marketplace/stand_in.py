"""A small scanner for the marketplace's tests: it remembers, answers like the real one, and signs webhooks."""

from __future__ import annotations

import itertools
import time
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from datetime import UTC, datetime
from typing import Any

import orjson
from aiohttp import web

from tests.harness import ROOT
from tests.marketplace.harness import HOOK_SECRET, Api
from webhooks.signing import headers_for

SENDER = "0x70997970C51812dc3A010C7d01b50e0d17dc79C8"
BSC_TESTNET = 97
_events = itertools.count(1)
_hashes = itertools.count(1)


def tx_hash() -> str:
    return f"0x{next(_hashes):064x}"


class StandIn:
    """What it knows, and what it is asked to be."""

    def __init__(self) -> None:
        self.url = ""
        self.down = False
        self.refuses: dict[str, Any] | None = None
        self.intents: dict[str, dict[str, Any]] = {}
        self.watches: dict[str, dict[str, Any]] = {}
        self.balances: dict[str, int] = {}  # at a safe depth
        self.newest: dict[str, int] = {}  # at the newest block, where it differs
        self.block = 100  # at which balances are read
        self.calls: list[tuple[str, str]] = []
        self.page_size = 500
        self.lies: dict[str, Callable[[web.Request], web.Response]] = {}  # by path: what no scanner should say
        self.all_transfers: dict[str, list[dict[str, Any]]] = {}  # where an intent shows fewer than there are
        known = orjson.loads((ROOT / "tokens.json").read_bytes())
        self.tokens = [token for token in known if token["chainId"] == BSC_TESTNET]

    def app(self) -> web.Application:
        app = web.Application(middlewares=[self._door])
        app.router.add_post("/intents", self._create)
        app.router.add_get("/intents/{id}", self._show)
        app.router.add_get("/intents/{id}/transfers", self._transfers)
        app.router.add_delete("/intents/{id}", self._cancel)
        app.router.add_post("/intents/{id}/recheck", self._recheck)
        app.router.add_post("/balances/check", self._balance)
        app.router.add_post("/balance-watches", self._watch)
        app.router.add_delete("/balance-watches/{id}", self._stop)
        app.router.add_get("/ready", self._ready)
        app.router.add_get("/scanner/status", self._status)
        return app

    @web.middleware
    async def _door(self, request: web.Request, handler: Any) -> web.StreamResponse:
        self.calls.append((request.method, request.path))
        if self.down:
            return web.json_response({"error": "away"}, status=503)
        if self.refuses is not None and request.method == "POST":
            return web.json_response(self.refuses, status=400)
        if request.path in self.lies:
            return self.lies[request.path](request)
        if request.headers.get("Authorization") != "Bearer a-key-of-the-scanner":
            return web.json_response({"error": "no key"}, status=401)
        return await handler(request)

    async def _create(self, request: web.Request) -> web.Response:
        body = await request.json()
        now = _now()
        self.intents.setdefault(
            body["intentId"],
            {
                "intentId": body["intentId"],
                "chainId": body["chainId"],
                "chainType": "evm",
                "rail": body["rail"],
                "tokenAddress": body["token"],
                "tokenSymbol": "USDT",
                "decimals": 18,
                "destination": body["destination"],
                "amount": body["amount"],
                "amountReceived": "0",
                "paymentReference": "0x0011223344556677",
                "status": "pending",
                "callbackUrl": body["callbackUrl"],
                "confirmationsRequired": body["confirmations"],
                "txHash": None,
                "logIndex": None,
                "blockNumber": None,
                "blockHash": None,
                "confirmations": 0,
                "sender": None,
                "webhookDeliveredAt": None,
                "confirmedAt": None,
                "cancelledAt": None,
                "expiresAt": body["expiresAt"],
                "createdAt": now,
                "updatedAt": now,
                "transfers": [],
            },
        )
        block = {
            "destination": body["destination"],
            "tokenAddress": body["token"],
            "tokenSymbol": "USDT",
            "decimals": 18 if body["chainId"] == BSC_TESTNET else None,
            "chainId": body["chainId"],
            "proxyAddress": "0x0DfbEe143b42B41eFC5A6F87bFD1fFC78c2f0aC9" if body["rail"] == "proxy" else None,
            "paymentReference": "0x0011223344556677",
            "feeAmount": "0",
            "feeAddress": "0x" + "0" * 40,
            "amountWei": body["amount"],
            "paymentUri": None if body["rail"] == "proxy" else "ethereum:x",
            "calldata": "0x00" if body["rail"] == "proxy" else None,
        }
        answer = {"intentId": body["intentId"], "paymentReference": "0x0011223344556677", "checkoutBlock": block}
        return web.json_response({**answer, "status": "pending", "expiresAt": body["expiresAt"]})

    async def _show(self, request: web.Request) -> web.Response:
        found = self.intents.get(request.match_info["id"])
        if found is None:
            return web.json_response({"error": "there is no such intent", "code": "not_found"}, status=404)
        return web.json_response({"intent": found})

    async def _transfers(self, request: web.Request) -> web.Response:
        """Everything that concerns an intent, oldest first, in pages; the cursor is where the next one starts."""
        found = self.intents.get(request.match_info["id"])
        if found is None:
            return web.json_response({"error": "there is no such intent", "code": "not_found"}, status=404)
        start = int(request.query.get("cursor", 0))
        end = start + min(int(request.query.get("limit", 100)), self.page_size)
        rows = self.all_transfers.get(found["intentId"], found["transfers"])
        return web.json_response({"transfers": rows[start:end], "nextCursor": str(end) if end < len(rows) else None})

    async def _cancel(self, request: web.Request) -> web.Response:
        found = self.intents.get(request.match_info["id"])
        if found is None:
            return web.json_response({"error": "there is no such intent", "code": "not_found"}, status=404)
        if found["cancelledAt"] is None and found["status"] != "pending":
            return web.json_response({"error": "past pending", "code": "conflict"}, status=409)
        found |= {"status": "expired", "cancelledAt": found["cancelledAt"] or found["updatedAt"]}
        return web.json_response({"intent": found})

    async def _recheck(self, request: web.Request) -> web.Response:
        found = self.intents.get(request.match_info["id"])
        if found is None:
            return web.json_response({"error": "there is no such intent", "code": "not_found"}, status=404)
        return web.json_response(
            {"intent": found, "seen": [], "settled": found["status"] == "confirmed", "missing": "0"}
        )

    async def _balance(self, request: web.Request) -> web.Response:
        body = await request.json()
        deep = self.balances.get(body["address"], 0)
        balance = deep if body.get("confirmed") else self.newest.get(body["address"], deep)
        return web.json_response(
            {
                "chainId": body["chainId"],
                "chainType": "evm",
                "address": body["address"],
                "tokenAddress": body["token"],
                "tokenSymbol": "USDT",
                "decimals": 18,
                "balance": str(balance),
                "blockNumber": self.block,
                "checkedAt": _now(),
            }
        )

    async def _watch(self, request: web.Request) -> web.Response:
        body = await request.json()
        now = _now()
        watch = self.watches.setdefault(
            body["watchId"],
            {
                "watchId": body["watchId"],
                "chainId": body["chainId"],
                "chainType": "evm",
                "tokenAddress": body["token"],
                "tokenSymbol": "USDT",
                "decimals": 18,
                "address": body["address"],
                "baselineBalance": body["baselineBalance"],
                "currentBalance": body["baselineBalance"],
                "status": "watching",
                "callbackUrl": body["callbackUrl"],
                "lastCheckedAt": None,
                "nextCheckAt": now,
                "changeCount": 0,
                "lastNotifiedAt": None,
                "expiresAt": now,
                "createdAt": now,
                "updatedAt": now,
            },
        )
        return web.json_response({"watch": watch})

    async def _stop(self, request: web.Request) -> web.Response:
        watch = self.watches[request.match_info["id"]]
        watch["status"] = "stopped"
        return web.json_response({"watch": watch})

    async def _ready(self, _request: web.Request) -> web.Response:
        return web.json_response({"status": "ready", "reasons": []})

    async def _status(self, _request: web.Request) -> web.Response:
        chain = {
            "chainId": 97,
            "name": "BSC Testnet",
            "chainType": "evm",
            "state": "healthy",
            "lastScannedBlock": 1,
            "chainHead": 1,
            "pendingIntents": 0,
            "activeBalanceWatches": 0,
            "lastError": None,
            "lastSuccessAt": None,
            "problems": [],
            "undeliveredWebhooks": 0,
            "tokens": self.tokens,
        }
        return web.json_response({"chains": [chain]})

    # what happens on its chain

    def pay(self, payment_id: str, amount: int | None = None, **more: Any) -> dict[str, Any]:
        """Confirm an intent and return the body of its webhook."""
        intent = self.intents[payment_id]
        received = str(amount if amount is not None else intent["amount"])
        found = tx_hash()
        intent |= {
            "status": "confirmed",
            "amountReceived": received,
            "txHash": found,
            "blockNumber": 100,
            "confirmations": intent["confirmationsRequired"],
            "sender": SENDER,
        }
        intent["transfers"] = [
            {
                "txHash": found,
                "eventKey": "0",
                "blockNumber": 100,
                "blockHash": None,
                "token": intent["tokenAddress"],
                "sender": SENDER,
                "destination": intent["destination"],
                "amount": received,
                "counted": True,
                "settled": True,
                "reason": None,
                "seenAt": _now(),
            }
        ]
        return {**confirmed(intent), **more}


def confirmed(intent: dict[str, Any]) -> dict[str, Any]:
    """Return what `payment.confirmed` says of an intent."""
    transfers = [
        {name: row.get(name) for name in ("txHash", "eventKey", "blockNumber", "blockHash", "sender", "amount")}
        for row in intent["transfers"]
    ]
    return {
        "eventId": f"evt_{next(_events)}",
        "eventType": "payment.confirmed",
        "intentId": intent["intentId"],
        "paymentReference": intent["paymentReference"],
        "chainId": intent["chainId"],
        "token": intent["tokenAddress"],
        "amount": intent["amount"],
        "amountReceived": intent["amountReceived"],
        "txHash": intent["txHash"],
        "blockNumber": 100,
        "confirmations": intent["confirmations"],
        "status": "confirmed",
        "sender": SENDER,
        "rail": intent["rail"],
        "transfers": transfers,
        "transferCount": len(transfers),
    }


def news(intent: dict[str, Any], event_type: str, **more: Any) -> dict[str, Any]:
    """Return what another event than `payment.confirmed` says of an intent."""
    status = "confirmed" if intent["status"] == "confirmed" else "pending"
    return {**confirmed(intent), "eventType": event_type, "status": status, **more}


def balance_changed(payment: dict[str, Any], current: int, **more: Any) -> dict[str, Any]:
    """Return what `balance_changed` says of a payment's address."""
    return {
        "eventId": f"evt_{next(_events)}",
        "eventType": "balance_changed",
        "watchId": payment["providerPaymentId"],
        "chainId": payment["chainId"],
        "chainType": "evm",
        "address": payment["destination"],
        "tokenAddress": payment["tokenAddress"],
        "tokenSymbol": payment["tokenSymbol"],
        "decimals": payment["decimals"],
        "previousBalance": "0",
        "currentBalance": str(current),
        "delta": str(current),
        "changeCount": 1,
        "checkedAt": _now(),
        "status": "balance_changed",
        "transfers": [{"txHash": tx_hash(), "blockNumber": 100, "sender": SENDER, "amount": str(current)}],
        "transferCount": 1,
        **more,
    }


async def deliver(
    api: Api, body: dict[str, Any], *, secret: str = HOOK_SECRET, now: int | None = None, **headers: str
) -> tuple[int, Any]:
    """Send a webhook as the scanner does; `now` in unix seconds."""
    raw = orjson.dumps(body)
    signed = headers_for(
        event_id=str(body.get("eventId", "evt")),
        event_type=str(body.get("eventType", "")),
        delivery_id="x",
        body=raw,
        secret=secret,
        timestamp=int(time.time()) if now is None else now,
    )
    return await api.nobody().call("POST", "/api/payment/amn-scanner/webhook", raw, headers={**signed, **headers})


def _now() -> str:
    return datetime.now(UTC).isoformat()


@asynccontextmanager
async def stand_in() -> AsyncIterator[StandIn]:
    """Run one on a free port until the block ends."""
    scanner = StandIn()
    runner = web.AppRunner(scanner.app(), access_log=None, shutdown_timeout=1)
    await runner.setup()
    try:
        site = web.TCPSite(runner, "127.0.0.1", 0)
        await site.start()
        scanner.url = f"http://127.0.0.1:{runner.addresses[0][1]}"
        yield scanner
    finally:
        await runner.cleanup()
