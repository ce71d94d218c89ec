"""A small scanner for the marketplace's tests: it remembers, answers like the real one, and signs webhooks."""

from __future__ import annotations

import asyncio
import itertools
import time
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from typing import Any

import orjson
from aiohttp import web

from devnet.fault_server import serving
from protocol import answers
from protocol.codec import plain, read
from protocol.events import BalanceEvent, BalanceTransfer, IntentEvent, intent_body
from protocol.wire import Change, Moment, Units
from protocol.words import EventType
from tests.harness import ROOT
from tests.marketplace.harness import HOOK_SECRET, Api
from tests.wire import an_answer, response, shown
from webhooks.signing import headers_for

SENDER = "0x70997970C51812dc3A010C7d01b50e0d17dc79C8"
REFERENCE = "0x0011223344556677"
BSC_TESTNET = 97
_events = itertools.count(1)
_hashes = itertools.count(1)


def tx_hash() -> str:
    return f"0x{next(_hashes):064x}"


class FakeScanner:
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
        self._called = asyncio.Condition()
        self.page_size = 500
        self.lies: dict[str, Callable[[web.Request], web.Response]] = {}  # by path: what no scanner should say
        self.public_url: str | None = "https://pay.example.test"
        self.all_transfers: dict[str, list[dict[str, Any]]] = {}  # where an intent shows fewer than there are
        self.transactions: dict[tuple[int, str], dict[str, Any]] = {}  # what happened on its chains, by any hash of it
        self.untold: dict[str, tuple[int, dict[str, Any]]] = {}  # by transaction: how a question about it ends
        self.given_up: list[str] = []  # what the webhooks were about that it sends no more
        known = orjson.loads((ROOT / "tokens.json").read_bytes())
        self.tokens = [token for token in known if token["chainId"] == BSC_TESTNET]

    async def called(self, times: int) -> None:
        """Wait until it was asked so often, counted from the start."""
        async with asyncio.timeout(20), self._called:
            await self._called.wait_for(lambda: len(self.calls) >= times)

    def app(self) -> web.Application:
        app = web.Application(middlewares=[self._door])
        app.router.add_post("/intents", self._create)
        app.router.add_get("/intents/{id}", self._show)
        app.router.add_get("/intents/{id}/transfers", self._transfers)
        app.router.add_delete("/intents/{id}", self._cancel)
        app.router.add_post("/intents/{id}/recheck", self._recheck)
        app.router.add_post("/transactions/inspect", self._inspect)
        app.router.add_post("/balances/check", self._balance)
        app.router.add_post("/balance-watches", self._watch)
        app.router.add_delete("/balance-watches/{id}", self._stop)
        app.router.add_get("/webhooks", self._webhooks)
        app.router.add_get("/ready", self._ready)
        app.router.add_get("/scanner/status", self._status)
        return app

    @web.middleware
    async def _door(self, request: web.Request, handler: Any) -> web.StreamResponse:
        async with self._called:
            self.calls.append((request.method, request.path))
            self._called.notify_all()
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
        expires = read(Moment, body["expiresAt"])
        self.intents.setdefault(
            body["intentId"],
            shown(
                answers.FullIntent,
                intent_id=body["intentId"],
                chain_id=body["chainId"],
                chain_type="evm",
                rail=body["rail"],
                token_address=body["token"],
                token_symbol="USDT",
                decimals=18,
                destination=body["destination"],
                amount=Units(body["amount"]),
                payment_reference=REFERENCE,
                status="pending",
                callback_url=body["callbackUrl"],
                confirmations_required=body["confirmations"],
                expires_at=expires,
                created_at=_now(),
                updated_at=_now(),
            ),
        )
        proxied = body["rail"] == "proxy"
        block = an_answer(
            answers.CheckoutBlock,
            destination=body["destination"],
            token_address=body["token"],
            token_symbol="USDT",
            decimals=18 if body["chainId"] == BSC_TESTNET else None,
            chain_id=body["chainId"],
            proxy_address="0x0DfbEe143b42B41eFC5A6F87bFD1fFC78c2f0aC9" if proxied else None,
            payment_reference=REFERENCE,
            fee_address="0x" + "0" * 40,
            amount_wei=Units(body["amount"]),
            payment_uri=None if proxied else "ethereum:x",
            calldata="0x00" if proxied else None,
        )
        return response(
            answers.CreatedIntent,
            shown(
                answers.CreatedIntent,
                intent_id=body["intentId"],
                payment_reference=REFERENCE,
                checkout_block=block,
                status="pending",
                expires_at=expires,
                payment_url=None if self.public_url is None else f"{self.public_url}/pay/{body['intentId']}",
            ),
        )

    def _found(self, request: web.Request) -> dict[str, Any]:
        found = self.intents.get(request.match_info["id"])
        if found is None:
            raise web.HTTPNotFound(
                text=orjson.dumps({"error": "there is no such intent", "code": "not_found"}).decode(),
                content_type="application/json",
            )
        return found

    async def _show(self, request: web.Request) -> web.Response:
        return response(answers.OneIntent, {"intent": self._found(request)})

    async def _transfers(self, request: web.Request) -> web.Response:
        """Everything that concerns an intent, oldest first, in pages; the cursor is where the next one starts."""
        found = self._found(request)
        start = int(request.query.get("cursor", 0))
        end = start + min(int(request.query.get("limit", 100)), self.page_size)
        rows = self.all_transfers.get(found["intentId"], found["transfers"])
        following = str(end) if end < len(rows) else None
        return response(answers.TransferPage, {"transfers": rows[start:end], "nextCursor": following})

    async def _cancel(self, request: web.Request) -> web.Response:
        found = self._found(request)
        if found["cancelledAt"] is None and found["status"] != "pending":
            return web.json_response({"error": "past pending", "code": "conflict"}, status=409)
        found |= {"status": "expired", "cancelledAt": found["cancelledAt"] or found["updatedAt"]}
        return response(answers.ChangedIntent, {"intent": found})

    async def _recheck(self, request: web.Request) -> web.Response:
        found = self._found(request)
        settled = found["status"] == "confirmed"
        return response(answers.Rechecked, {"intent": found, "seen": [], "settled": settled, "missing": "0"})

    async def _inspect(self, request: web.Request) -> web.Response:
        body = await request.json()
        asked = (body["chainId"], body["txHash"])
        if asked[1] in self.untold:
            status, refusal = self.untold[asked[1]]
            return web.json_response(refusal, status=status)
        unknown = {"chain_id": asked[0], "tx_hash": asked[1], "found": False, "final": False, "transfers": ()}
        nothing = shown(answers.InspectedTransaction, **unknown)
        return response(answers.InspectedTransaction, self.transactions.get(asked, nothing))

    async def _balance(self, request: web.Request) -> web.Response:
        body = await request.json()
        deep = self.balances.get(body["address"], 0)
        balance = deep if body.get("confirmed") else self.newest.get(body["address"], deep)
        found = shown(
            answers.Balance,
            chain_id=body["chainId"],
            chain_type="evm",
            address=body["address"],
            token_address=body["token"],
            token_symbol="USDT",
            decimals=18,
            balance=Units(balance),
            block_number=self.block,
            checked_at=_now(),
        )
        return response(answers.Balance, found)

    async def _watch(self, request: web.Request) -> web.Response:
        body = await request.json()
        watch = self.watches.setdefault(
            body["watchId"],
            shown(
                answers.Watch,
                watch_id=body["watchId"],
                chain_id=body["chainId"],
                chain_type="evm",
                token_address=body["token"],
                token_symbol="USDT",
                decimals=18,
                address=body["address"],
                baseline_balance=Units(body["baselineBalance"]),
                current_balance=Units(body["baselineBalance"]),
                status="watching",
                callback_url=body["callbackUrl"],
                next_check_at=_now(),
                expires_at=_now(),
            ),
        )
        return response(answers.OneWatch, {"watch": watch})

    async def _stop(self, request: web.Request) -> web.Response:
        watch = self.watches[request.match_info["id"]]
        watch["status"] = "stopped"
        return response(answers.OneWatch, {"watch": watch})

    async def _webhooks(self, request: web.Request) -> web.Response:
        """What it has given up, two a page; the cursor is where the next one starts."""
        assert request.query["status"] == "failed"
        start = int(request.query.get("cursor", 0))
        rows = [
            shown(
                answers.Webhook,
                event_id=f"evt_{subject}",
                event_type=EventType.CONFIRMED,
                subject_kind="intent",
                subject_id=subject,
                receiver="shop.example.test:443",
                status="failed",
                attempts=8,
                created_at=_now(),
            )
            for subject in self.given_up
        ]
        following = str(start + 2) if start + 2 < len(rows) else None
        return response(answers.WebhookPage, {"webhooks": rows[start : start + 2], "nextCursor": following})

    async def _ready(self, _request: web.Request) -> web.Response:
        return response(answers.Readiness, {"status": "ready", "reasons": []})

    async def _status(self, _request: web.Request) -> web.Response:
        chain = shown(answers.ChainStatus, chain_id=97, name="BSC Testnet", chain_type="evm", state="ready")
        chain["tokens"] = [{name: token[name] for name in ("address", "symbol", "decimals")} for token in self.tokens]
        return response(answers.Status, {"chains": [chain], "nodes": []})

    # what happens on its chain

    def carries_out(self, *orders: dict[str, Any], tx: str | None = None, named: str | None = None, **more: Any) -> str:
        """Let a transaction pay instructions, final and deep unless `more` says otherwise; `named` is another hash."""
        found = tx or tx_hash()
        chain_id = orders[0]["chainId"]
        sent = shown(
            answers.InspectedTransaction,
            chain_id=chain_id,
            tx_hash=found,
            found=True,
            success=True,
            block_number=100,
            block_hash=None,
            block_time=None,
            depth=1000 if chain_id == BSC_TESTNET else None,
            final=True,
            transfers=tuple(moved(order, event_key=str(number)) for number, order in enumerate(orders)),
        )
        self.transactions[(chain_id, named or found)] = sent | more
        return named or found

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
            shown(
                answers.Transfer,
                tx_hash=found,
                event_key="0",
                block_number=100,
                token=intent["tokenAddress"],
                sender=SENDER,
                destination=intent["destination"],
                amount=Units(received),
                counted=True,
                settled=True,
                count=1,
                seen_at=_now(),
            )
        ]
        return {**confirmed(intent), **more}


def moved(order: dict[str, Any], *, event_key: str = "0", **more: Any) -> dict[str, Any]:
    """Return the movement of a token that pays an instruction."""
    found = shown(
        answers.InspectedTransfer,
        event_key=event_key,
        token=order["tokenAddress"],
        sender=order["from"],
        destination=order["to"],
        amount=Units(order["amountBaseUnits"]),
    )
    return found | more


def confirmed(intent: dict[str, Any]) -> dict[str, Any]:
    """Return what `payment.confirmed` says of an intent."""
    moved = [
        {name: row.get(name) for name in ("txHash", "eventKey", "blockNumber", "blockHash", "sender", "amount")}
        for row in intent["transfers"]
    ]
    event = IntentEvent(
        event_id=f"evt_{next(_events)}",
        event_type=EventType.CONFIRMED,
        intent_id=intent["intentId"],
        payment_reference=intent["paymentReference"],
        chain_id=intent["chainId"],
        token=intent["tokenAddress"],
        amount=Units(intent["amount"]),
        amount_received=Units(intent["amountReceived"]),
        tx_hash=intent["txHash"],
        block_number=100,
        confirmations=intent["confirmations"],
        status="confirmed",
        sender=SENDER,
        rail=intent["rail"],
        transfer_count=len(moved),
    )
    return {**orjson.loads(intent_body(event)), "transfers": moved}


def news(intent: dict[str, Any], event_type: str, **more: Any) -> dict[str, Any]:
    """Return what another event than `payment.confirmed` says of an intent."""
    status = "confirmed" if intent["status"] == "confirmed" else "pending"
    return {**confirmed(intent), "eventType": event_type, "status": status, **more}


def balance_changed(payment: dict[str, Any], current: int, **more: Any) -> dict[str, Any]:
    """Return what `balance_changed` says of a payment's address."""
    moved = BalanceTransfer(tx_hash=tx_hash(), block_number=100, sender=SENDER, amount=Units(current))
    event = BalanceEvent(
        event_id=f"evt_{next(_events)}",
        event_type=EventType.BALANCE_CHANGED,
        watch_id=payment["providerPaymentId"],
        chain_id=payment["chainId"],
        chain_type="evm",
        address=payment["destination"],
        token_address=payment["tokenAddress"],
        token_symbol=payment["tokenSymbol"],
        decimals=payment["decimals"],
        previous_balance=Units(0),
        current_balance=Units(current),
        delta=Change(current),
        change_count=1,
        checked_at=_now(),
        status="balance_changed",
        transfers=(moved,),
        transfer_count=1,
    )
    return {**plain(event), **more}


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


def _now() -> Moment:
    return Moment(time.time_ns() // 1_000_000)


@asynccontextmanager
async def run_fake_scanner() -> AsyncIterator[FakeScanner]:
    """Run one on a free port until the block ends."""
    scanner = FakeScanner()
    async with serving(scanner.app()) as url:
        scanner.url = url
        yield scanner
