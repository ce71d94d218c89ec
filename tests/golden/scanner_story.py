"""The scanner from its first call to its last, over a node that is told what to show: every answer, every event."""

from __future__ import annotations

import asyncio
import itertools
import re
import sqlite3
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import aiohttp

from chains.types import TransferProof
from devnet.evm.scripted_node import ScriptedNode, serve, tx_hash, word
from devnet.receiver import Delivery, Receiver, receiver
from protocol.wire import rfc3339
from scanner.store import outbox, proofs, transfers, webhook_log
from tests.cases.scanned_nodes import TOKENS
from tests.golden.book import Book, Caller
from tests.harness import SECRET, USDC, USDT, FakeClock, Running, environment, running
from webhooks.signing import sign_standard, verify_amn

NOW_S = 1_790_000_000
KEY = "a-key-for-tests"
PUBLIC = "https://pay.example"
BALANCE_OF = "0x70a08231"
OTHER = "0x1000000000000000000000000000000000000001"
UNLISTED = "0x2000000000000000000000000000000000000002"
HOLDER = "0x3000000000000000000000000000000000000003"
NEXT_SECRET = "the next secret"
TRON, TON = 728126428, 1100
NOT_JSON = (b"", b"nonsense", b"[]", b'{"a": NaN}', b'"text"')
TOO_LARGE = b" " * 70_000
EVERY_EVENT = [
    "payment.detected",
    "payment.confirming",
    "payment.partial",
    "payment.overpaid",
    "payment.late",
    "payment.reorged",
    "payment.anomaly",
    "intent.expired",
]


def shop(number: int) -> str:
    """Return an address that is used for one intent alone."""
    return f"0x5{number:039x}"


@dataclass
class RecordedScanner:
    """The node, the daemon, who is notified, and the two books that are kept."""

    node: ScriptedNode
    clock: FakeClock
    scanner: Running
    hooks: Receiver
    api: Caller
    events: Book
    balances: dict[tuple[str, str], int]
    store: Path
    reported: int = 0

    def body(self, intent_id: str, **fields: Any) -> dict[str, Any]:
        found = {
            "intentId": intent_id,
            "chainId": 97,
            "token": "USDT",
            "destination": shop(99),
            "amount": "1000",
            "callbackUrl": self.hooks.url(),
            "callbackSecret": SECRET,
            "expiresAt": rfc3339((NOW_S + 86_400) * 1000),
            **fields,
        }
        return {name: value for name, value in found.items() if value is not None}

    async def create(self, intent_id: str, **fields: Any) -> dict[str, Any]:
        return dict(await self.api.ask("POST", "/intents", self.body(intent_id, **fields)))

    def grow(self, blocks: int) -> int:
        """Make blocks, a second apart; return the newest."""
        self.node.head += blocks
        self.clock.advance(blocks)
        return self.node.head

    async def poll(self) -> None:
        await self.scanner.worker.poll()

    async def pay(self, name: str, to: str, amount: int, token: str = USDT) -> str:
        """Send tokens in a block of their own, and let the scanner see it."""
        block, tx = self.grow(1), tx_hash(name)
        self.node.include(self.node.transfer(token, to, amount, tx=tx, block=block))
        await self.poll()
        return tx

    async def pay_through_proxy(self, name: str, to: str, amount: int, reference: str, token: str = USDT) -> str:
        block, tx = self.grow(1), tx_hash(name)
        credit = self.node.transfer(token, to, amount, tx=tx, block=block)
        self.node.include(credit, self.node.event(token, to, amount, reference, tx=tx, block=block))
        await self.poll()
        return tx

    async def prove(self, intent_id: str) -> None:
        """Keep a proof of each transfer that counts: the node shows none, and none is checked here."""
        async with self.scanner.database.write() as tx:
            counted = [each for each in (await transfers.of_intents(tx, [intent_id]))[intent_id] if each.counted]
            proof = TransferProof(1, counted[0].block_hash or "", b"\xf8", 0, b"\x02\xf8", (b"\xf8", b"\xf9"), 1)
            await proofs.keep(tx, {each.id: proof for each in counted})

    async def deepen(self) -> None:
        self.grow(6)
        await self.poll()

    async def hear(self, count: int) -> None:
        """Keep so many webhooks; those of one moment in the order of their types and ids."""
        found = await self.hooks.wait_for(self.reported + count)
        new, self.reported = found[self.reported :], len(found)
        for delivery in new:
            await self._written_down(delivery)
        for delivery in sorted(new, key=lambda d: (d.headers["x-amn-event-type"], d.headers["webhook-id"])):
            headers = {name: value for name, value in delivery.headers.items() if name in _HEADERS}
            signed = {name: _signed_with(delivery, name) for name in delivery.headers if "signature" in name}
            self.events.keep(path=delivery.path, headers=headers, signed=signed, body=delivery.json)

    async def shown(self, path: str, condition: Callable[[Any], bool]) -> None:
        """Wait, without keeping it, until an answer says something."""
        async with asyncio.timeout(10):
            while not condition(await self.scanner.api.get(path)):  # noqa: ASYNC110 - seen over HTTP alone
                await asyncio.sleep(0.01)

    async def _written_down(self, delivery: Delivery) -> None:
        """Wait until the scanner shows that an attempt was made: a receiver has seen it before."""
        event = delivery.json
        if "watchId" in event:
            count = event["changeCount"]
            await self.shown(f"/balance-watches/{event['watchId']}", lambda w: w["watch"]["changeCount"] >= count)
        else:
            await self.shown(f"/intents/{event['intentId']}", lambda found: not _is_due(found, event["eventId"]))


def _is_due(found: dict[str, Any], event_id: str) -> bool:
    reported = {each["eventId"]: each["status"] for each in found["intent"]["deliveries"]}
    return reported[event_id] == "pending"


def _signed_with(delivery: Delivery, header: str) -> list[str]:
    """Return which of the secrets there are a signature was made with, in the order of the signatures."""
    given, body = delivery.headers, delivery.body
    if header == "webhook-signature":
        stamp = int(given["webhook-timestamp"])
        known = {sign_standard(given["webhook-id"], stamp, body, secret): secret for secret in (SECRET, NEXT_SECRET)}
        return [known[each] for each in given[header].split(" ")]
    return [secret for secret in (SECRET, NEXT_SECRET) if verify_amn(body, given[header], secret)]


_HEADERS = {"content-type", "user-agent", "x-amn-event-type", "x-amn-delivery-id", "webhook-id", "webhook-timestamp"}


@asynccontextmanager
async def world(folder: Path, answers: Book, events: Book, **settings: str) -> AsyncIterator[RecordedScanner]:
    """Run the daemon over a node that is told what to show, on a clock and with random numbers of ours."""
    clock = FakeClock(NOW_S * 1000 + 5_000)  # a block is some seconds old when it is seen
    node = ScriptedNode(TOKENS, now=NOW_S)
    balances: dict[tuple[str, str], int] = {}

    def call(params: list[Any]) -> tuple[str, str] | None:
        data = str(params[0].get("data") or params[0].get("input"))
        if not data.startswith(BALANCE_OF):
            return None
        return "result", "0x" + word(balances.get((params[0]["to"].lower(), "0x" + data[-40:]), 0))

    def coin(params: list[Any]) -> tuple[str, str]:
        return "result", hex(balances.get(("coin", params[0].lower()), 0))

    node.overrides |= {"eth_call": call, "eth_getBalance": coin}
    more = {
        "POLL_INTERVAL_SEC": "3600",
        "BALANCE_WATCH_TICK_SEC": "0.05",
        "WEBHOOK_RETRY_DELAYS_SEC": "0.1,0.1",
        "SCANNER_API_KEY": KEY,
        "SCANNER_PUBLIC_URL": PUBLIC,
        **settings,
    }
    async with serve(node) as url, receiver() as hooks, aiohttp.ClientSession() as session:
        env = environment(folder, url, **more)
        async with running(env, clock=clock) as found:
            key = {"Authorization": f"Bearer {KEY}"} if more["SCANNER_API_KEY"] else {}
            api = Caller(answers, found.api.url, session, key)
            if "SCANNER_ENABLED_CHAINS" not in settings:
                await found.worker.poll()
            yield RecordedScanner(node, clock, found, hooks, api, events, balances, Path(env["DB_PATH"]))


def numbered() -> Callable[[int], str]:
    """Return what takes the place of `secrets.token_hex`: what nobody could guess can be foretold here."""
    numbers = itertools.count(1)
    return lambda size=32: f"{next(numbers):0{2 * size}x}"


Story = Callable[[RecordedScanner], Awaitable[None]]


# -- what an intent is asked for with ------------------------------------------------------------------


async def registering(w: RecordedScanner) -> None:
    """Intents of every kind, and everything a body may have wrong."""
    await w.create("order-proxy", destination=OTHER, confirmations=7, events=["payment.late", "payment.detected"])
    await w.create("order-proxy", destination=OTHER, confirmations=7, events=["payment.detected", "payment.late"])
    await w.create("order-fee", feeAmount="5", feeAddress=HOLDER, destination=OTHER)
    await w.create("order-direct", rail="direct", destination=shop(1), confirmationsRequired=6)
    await w.create("order-address", token=None, tokenAddress=USDC)
    await w.create("order-unlisted", token=UNLISTED)
    await w.create("order-both", tokenAddress=USDT, tokenSymbol="USDT")
    for changed in (
        {"amount": "1001"},
        {"callbackSecret": "another"},
        {"rail": "direct"},
        {"events": ["payment.late"]},
        {"confirmations": None},
    ):
        before = {"destination": OTHER, "confirmations": 7, "events": ["payment.late", "payment.detected"]}
        await w.api.ask("POST", "/intents", w.body("order-proxy", **{**before, **changed}), status=409)
    await w.api.ask("POST", "/intents", w.body("order-2", rail="direct", destination=shop(1)), status=409)
    wrong: list[dict[str, Any]] = [
        {"intentId": None},
        {"intentId": "a b"},
        {"intentId": "x" * 129},
        {"chainId": None},
        {"chainId": "97"},
        {"chainId": 0},
        {"chainId": 56},
        {"chainId": 999},
        {"token": None},
        {"token": "DOGE"},
        {"token": "native"},
        {"tokenAddress": USDC},
        {"tokenAddress": "0x12"},
        {"destination": None},
        {"destination": "0x12"},
        {"destination": USDT},
        {"destination": "0x0DfbEe143b42B41eFC5A6F87bFD1fFC78c2f0aC9"},
        {"amount": None},
        {"amount": 1000},
        {"amount": "0"},
        {"amount": "1.5"},
        {"amount": str(2**256)},
        {"callbackUrl": None},
        {"callbackUrl": "ftp://example.test/"},
        {"callbackUrl": "http://user:pass@example.test/"},
        {"callbackSecret": None},
        {"callbackSecret": ""},
        {"callbackSecret": "whsec_!"},
        {"rail": "pigeon"},
        {"confirmations": 0},
        {"confirmations": 5, "confirmationsRequired": 6},
        {"expiresAt": "2026-01-01T00:00:00Z"},
        {"expiresAt": "tomorrow"},
        {"feeAmount": "5"},
        {"feeAddress": "0x12"},
        {"events": ["payment.confirmed"]},
        {"events": ["payment.dreamt"]},
        {"salt": "00"},
        {"callbackUrl": "http://a\u0000b/"},
    ]
    for changed in wrong:
        await w.api.ask("POST", "/intents", w.body("order-wrong", **changed), status=400)
    for raw in NOT_JSON:
        await w.api.ask("POST", "/intents", raw, status=400)
    await w.api.ask("POST", "/intents", TOO_LARGE, status=413)


async def listing(w: RecordedScanner) -> None:
    """Pages, filters, and what is no cursor."""
    first = await w.api.ask("GET", "/intents?limit=2")
    await w.api.ask("GET", f"/intents?limit=2&cursor={first['nextCursor']}")
    await w.api.ask("GET", "/intents?status=expired&chainId=97")
    for query in (
        "cursor=!",
        "cursor=WzFd",
        "limit=0",
        "limit=501",
        "limit=x",
        "status=done",
        "chainId=x",
        "page=1",
        "limit=1&limit=2",
        "status=%00",
    ):
        await w.api.ask("GET", f"/intents?{query}", status=400)
    await w.api.ask("GET", "/intents/order-proxy")
    await w.api.ask("GET", "/intents/order-proxy/transfers")
    await w.api.ask("GET", "/intents/nobody", status=404)
    await w.api.ask("GET", "/intents/nobody/transfers", status=404)
    await w.api.ask("GET", "/intents/order-proxy/proof", status=409)
    await w.api.ask("GET", "/intents/nobody/proof", status=404)
    await w.api.ask("GET", "/intents/a%20b", status=400)
    await w.api.ask("GET", "/intents/a%20b/transfers", status=400)
    await w.api.ask("GET", "/intents/order-proxy/transfers?cursor=!", status=400)
    await w.api.ask("DELETE", "/intents/order-both")
    await w.api.ask("DELETE", "/intents/order-both")
    await w.api.ask("DELETE", "/intents/nobody", status=404)
    await w.api.ask("DELETE", "/intents/a%20b", status=400)


# -- what a chain shows --------------------------------------------------------------------------------


async def paying(w: RecordedScanner) -> None:
    """A payment through the proxy, in two parts and with a surplus; then one that names nobody."""
    created = await w.create("pay-proxy", destination=OTHER, events=EVERY_EVENT)
    reference = created["paymentReference"]
    await w.pay_through_proxy("part", OTHER, 400, reference)
    await w.hear(2)
    await w.api.ask("GET", "/intents/pay-proxy")
    tx = await w.pay_through_proxy("rest", OTHER, 700, reference)
    await w.hear(2)
    await w.api.ask("GET", "/intents/pay-proxy")
    await w.api.ask("DELETE", "/intents/pay-proxy", status=409)
    await w.deepen()
    await w.hear(2)
    await w.api.ask("GET", "/intents/pay-proxy")
    await w.api.ask("GET", "/intents/pay-proxy/transfers?limit=1")
    await w.api.ask("GET", "/intents/pay-proxy/proof", status=409)
    await w.prove("pay-proxy")
    await w.api.ask("GET", "/intents/pay-proxy/proof")
    for q in (tx, tx.upper().replace("X", "x"), reference, "pay-proxy"):
        found = await w.api.ask("GET", f"/intents?q={q}")
        assert [each["intentId"] for each in found["intents"]] == ["pay-proxy"]
    await w.api.ask("GET", f"/intents?q={OTHER}&limit=2&status=confirmed&rail=proxy&chainId=97")
    await w.api.ask("GET", "/intents?q=pay-prox")
    await w.api.ask(
        "GET", f"/intents?rail=proxy&createdFrom={rfc3339(NOW_S * 1000)}&createdTo=2026-09-22T00:00:00Z&limit=1"
    )
    for query in ("q=", f"q={'x' * 201}", "rail=pigeon", "createdFrom=yesterday", "createdTo=2026-01-01T00:00:00"):
        await w.api.ask("GET", f"/intents?{query}", status=400)
    await w.api.ask("POST", "/intents/pay-proxy/recheck", {"txHash": tx})
    await w.pay_through_proxy("again", OTHER, 1000, reference)
    await w.hear(1)
    await w.pay_through_proxy("stranger", OTHER, 5, "0x0000000000000bad")
    await w.pay_through_proxy("other token", OTHER, 1000, reference, token=USDC)
    await w.hear(1)
    await w.deepen()


async def paying_at_the_page(w: RecordedScanner) -> None:
    """A buyer with nothing but a link asks for a payment to be looked at."""
    created = await w.create("pay-page", destination=OTHER, checkout={"title": "Order 7", "locale": "fa"})
    path = created["paymentUrl"].removeprefix(PUBLIC) + "/recheck"
    buyer = w.api.as_()
    await buyer.ask("POST", path, {"txHash": tx_hash("never")})
    await buyer.ask("POST", path, status=429)
    await buyer.ask("POST", path, {"txHash": "0x12"}, status=400)
    tx = await w.pay_through_proxy("at the page", OTHER, 400, created["paymentReference"])
    await buyer.ask("POST", f"{path}?lang=en", {"txHash": tx})
    await w.pay_through_proxy("at the page, the rest", OTHER, 600, created["paymentReference"])
    await w.deepen()
    await w.hear(1)
    await buyer.ask("POST", f"{path}?lang=en")
    await buyer.ask("POST", "/pay/nobody/recheck", status=404)


async def paying_directly(w: RecordedScanner) -> None:
    """Plain transfers: what counts, what never can, and what is summarised an hour later."""
    await w.create("pay-direct", rail="direct", destination=shop(2), events=EVERY_EVENT)
    await w.pay("wrong token", shop(2), 1000, token=USDC)
    await w.hear(1)
    for number in range(3):
        await w.pay(f"nothing {number}", shop(2), 0)
    await w.hear(1)
    tx = await w.pay("plain", shop(2), 1000)
    await w.hear(2)
    await w.deepen()
    await w.hear(1)
    await w.api.ask("GET", "/intents/pay-direct")
    await w.api.ask("GET", "/intents/pay-direct/transfers")
    await w.api.ask("POST", "/intents/pay-direct/recheck", {"txHash": tx})
    w.grow(3_600)
    await w.poll()
    await w.scanner.daemon.redelivery.tell_together()
    await w.hear(1)


async def sending_coin(w: RecordedScanner) -> None:
    """The chain's own coin at a direct address: it names no transaction."""
    await w.create("pay-coin", rail="direct", destination=shop(3), events=EVERY_EVENT)
    w.balances["coin", shop(3)] = 7
    w.grow(301)
    await w.poll()
    await w.hear(1)
    await w.api.ask("GET", "/intents/pay-coin")


async def ending(w: RecordedScanner) -> None:
    """Time runs out; what comes afterwards is late, and what comes for a cancelled one is listed."""
    soon = rfc3339((w.node.head - 1000 + NOW_S + 100) * 1000)
    created = await w.create("pay-late", destination=OTHER, expiresAt=soon, events=EVERY_EVENT)
    cancelled = await w.create("pay-cancelled", destination=OTHER, events=EVERY_EVENT)
    await w.api.ask("DELETE", "/intents/pay-cancelled")
    w.grow(170)
    await w.poll()
    await w.hear(1)
    await w.api.ask("GET", "/intents/pay-late")
    await w.pay_through_proxy("late", OTHER, 1000, created["paymentReference"])
    await w.hear(1)
    await w.pay_through_proxy("cancelled", OTHER, 1000, cancelled["paymentReference"])
    await w.hear(1)
    await w.api.ask("GET", "/intents/pay-cancelled")
    await w.api.ask("POST", "/intents/pay-late/recheck", {"txHash": tx_hash("never")})
    await w.api.ask("POST", "/intents/pay-late/recheck")
    await w.api.ask("POST", "/intents/pay-late/recheck", {"txHash": "0x12"}, status=400)
    await w.api.ask("POST", "/intents/pay-late/recheck", {"hash": "0x12"}, status=400)
    await w.api.ask("POST", "/intents/nobody/recheck", status=404)
    await w.api.ask("POST", "/intents/pay-late/recheck", TOO_LARGE, status=413)


async def reorganising(w: RecordedScanner) -> None:
    """A payment on its way, and one that was confirmed, leave the chain."""
    await w.create("pay-settled", rail="direct", destination=shop(4))
    await w.pay("settled", shop(4), 1000)
    await w.deepen()
    await w.hear(1)
    await w.create("pay-seen", rail="direct", destination=shop(5), events=EVERY_EVENT)
    await w.pay("seen", shop(5), 1000)
    await w.hear(2)
    first = int(next(log for log in w.node.logs if log["transactionHash"] == tx_hash("settled"))["blockNumber"], 16)
    w.node.fork_from = first
    w.node.logs = [log for log in w.node.logs if int(log["blockNumber"], 16) < first]
    w.node.receipts = {}
    w.grow(1)
    await w.poll()
    await w.hear(2)
    for name in ("pay-settled", "pay-seen"):
        await w.api.ask("GET", f"/intents/{name}")


async def refusing(w: RecordedScanner) -> None:
    """A backend that fails is tried again, given up, and told when somebody says so."""
    bad = w.hooks.url("/bad")
    w.hooks.behave("/bad", statuses=(500, 503, 500, 204))
    await w.create("pay-refused", rail="direct", destination=shop(6), callbackUrl=bad)
    await w.pay("refused", shop(6), 1000)
    await w.deepen()
    for attempts in (1, 2, 3):
        await w.shown(
            "/intents/pay-refused", lambda found, n=attempts: len(found["intent"]["deliveries"][0]["attempts"]) == n
        )
        w.clock.advance(1)
    await w.hear(3)
    await w.api.ask("GET", "/intents/pay-refused")
    await w.api.ask("GET", "/scanner/status")
    await w.api.ask("POST", "/admin/webhooks/retry")
    await w.hear(1)
    await w.api.ask("GET", "/intents/pay-refused")
    await w.api.ask("POST", "/admin/webhooks/retry")
    await looking_at_webhooks(w)


async def looking_at_webhooks(w: RecordedScanner) -> None:
    """What was told, sent again, and a test event."""
    page = await w.api.ask("GET", "/webhooks?limit=2")
    await w.api.ask("GET", f"/webhooks?limit=2&cursor={page['nextCursor']}")
    for status in ("pending", "failed"):
        await w.api.ask("GET", f"/webhooks?status={status}")
    await w.api.ask("GET", "/webhooks?receiver=elsewhere.example:443&status=delivered")
    for query in ("status=odd", "receiver=", "cursor=!"):
        await w.api.ask("GET", f"/webhooks?{query}", status=400)
    refused = (await w.scanner.api.get("/intents/pay-refused"))["intent"]["deliveries"][0]["eventId"]
    await w.api.ask("GET", f"/webhooks/{refused}")
    await w.api.ask("POST", f"/webhooks/{refused}/redeliver")
    await w.hear(1)
    superseded = (await w.scanner.api.get("/intents/pay-seen"))["intent"]["deliveries"][0]["eventId"]
    async with w.scanner.database.write() as tx:
        await webhook_log.send_again(tx, superseded, 2**53)
        await outbox.supersede(tx, outbox.INTENT, ["pay-seen"])
    await w.api.ask("POST", f"/webhooks/{superseded}/redeliver", status=409)
    for method, path in (("GET", ""), ("POST", "/redeliver")):
        await w.api.ask(method, f"/webhooks/nobody{path}", status=404)
        await w.api.ask(method, f"/webhooks/a%20b{path}", status=400)
    body = {"callbackUrl": "http://127.0.0.1:9/", "callbackSecret": SECRET}
    await w.api.ask("POST", "/webhooks/test", body)
    await w.api.ask("POST", "/webhooks/test", {**body, "eventType": "payment.dreamt"}, status=400)
    await w.api.ask("POST", "/webhooks/test", TOO_LARGE, status=413)


async def changing_secrets(w: RecordedScanner) -> None:
    """While a secret is being changed the former one signs as well."""
    url = w.hooks.url("/changed")
    await w.create("pay-changed", rail="direct", destination=shop(7), callbackUrl=url)
    body = {"callbackUrl": url, "callbackSecret": NEXT_SECRET, "overlapHours": 2}
    path = "/admin/callback-secrets/rotate"
    await w.api.ask("POST", path, body)
    await w.api.ask("POST", path, body)
    await w.api.ask("POST", path, {**body, "overlapHours": 721}, status=400)
    await w.api.ask("POST", path, {**body, "callbackSecret": None}, status=400)
    await w.api.ask("POST", path, TOO_LARGE, status=413)
    await w.pay("changed", shop(7), 1000)
    await w.deepen()
    await w.hear(1)


async def watching(w: RecordedScanner) -> None:
    """Balances: read now, watched, changed, stopped."""
    ask = {"chainId": 97, "address": HOLDER, "token": "USDT"}
    w.balances[USDT.lower(), HOLDER] = 42
    w.balances["coin", HOLDER] = 10**18
    for changed in ({}, {"confirmed": True}, {"token": "native"}, {"token": None, "tokenAddress": USDC}):
        await w.api.ask("POST", "/balances/check", {**ask, **changed})
    for wrong in ({"chainId": None}, {"token": None}, {"token": "DOGE"}, {"chainId": 999}, {"address": "x"}):
        await w.api.ask("POST", "/balances/check", {**ask, **wrong}, status=400)
    await w.api.ask("POST", "/balances/check", TOO_LARGE, status=413)
    new = {**ask, "watchId": "watch-1", "callbackUrl": w.hooks.url(), "callbackSecret": SECRET}
    await w.api.ask("POST", "/balance-watches", {**new, "baselineBalance": "40"})
    await w.hear(1)  # it is read at once, and 42 lie there
    await w.api.ask("POST", "/balance-watches", {**new, "baselineBalance": "40"})
    await w.api.ask("POST", "/balance-watches", {**new, "watchId": None})
    await w.api.ask("POST", "/balance-watches", {**new, "watchId": "watch-coin", "token": "native"})
    await w.api.ask("POST", "/balance-watches", {**new, "token": "USDC"}, status=409)
    for wrong in ({"callbackUrl": None}, {"baselineBalance": "-1"}, {"watchId": "a b"}):
        await w.api.ask("POST", "/balance-watches", {**new, **wrong}, status=400)
    await w.api.ask("POST", "/balance-watches", TOO_LARGE, status=413)
    first = "/balance-watches/watch-1"
    await w.api.ask("GET", first)
    w.balances[USDT.lower(), HOLDER] = 50
    block, tx = w.grow(1), tx_hash("watched")
    w.node.include(w.node.transfer(USDT, HOLDER, 8, tx=tx, block=block))
    w.grow(301)
    await w.hear(2)  # the other watch of that balance as well
    await w.api.ask("GET", first)
    await w.api.ask("DELETE", first)
    await w.api.ask("POST", f"{first}/stop")
    await w.api.ask("POST", "/balance-watches/watch-coin/stop")
    for method, path in (("GET", ""), ("DELETE", ""), ("POST", "/stop")):
        await w.api.ask(method, f"/balance-watches/nobody{path}", status=404)
        await w.api.ask(method, f"/balance-watches/a%20b{path}", status=400)


async def operating(w: RecordedScanner) -> None:
    """Health, status, what settled nothing, the description."""
    await w.poll()
    for path in ("/health", "/ready", "/scanner/status", "/docs", "/unmatched", "/unmatched?reason=late&chainId=97"):
        await w.api.ask("GET", path)
    page = await w.api.ask("GET", "/unmatched?limit=1")
    await w.api.ask("GET", f"/unmatched?limit=1&cursor={page['nextCursor']}")
    await w.api.ask("GET", "/unmatched?reason=odd", status=400)
    await w.scanner.daemon.sampler.sample()
    w.clock.advance(60)
    await w.scanner.daemon.sampler.sample()
    await w.api.ask("GET", "/stats?chainId=97&hours=1")
    for query in ("", "chainId=999", "chainId=97&hours=0", "chainId=97&hours=169", "chainId=97&cursor=a"):
        await w.api.ask("GET", f"/stats?{query}", status=400)
    row = page["unmatched"][0]["id"]
    await w.api.ask("POST", f"/unmatched/{row}/handled", {"note": "sent back"})
    await w.api.ask("POST", f"/unmatched/{row}/handled", {"note": " sent back by hand "})
    await w.api.ask("GET", "/unmatched?limit=1")
    for wrong in ({"note": ""}, {"note": " "}, {"note": "x" * 1001}, {}):
        await w.api.ask("POST", f"/unmatched/{row}/handled", wrong, status=400)
    for unknown in ("nobody", "0", "999999999999999999"):
        await w.api.ask("POST", f"/unmatched/{unknown}/handled", {"note": "sent back"}, status=404)
    await w.api.ask("POST", f"/unmatched/{row}/handled", TOO_LARGE, status=413)
    await w.api.measure()
    await w.api.ask("GET", "/nowhere", status=404)
    await w.api.ask("PUT", "/intents", {}, status=405)


async def getting_stuck(w: RecordedScanner) -> None:
    """A payment that is deep enough and that the node cannot show whole waits, and is named."""
    await w.create("pay-stuck", rail="direct", destination=shop(8))
    block, tx = w.grow(1), tx_hash("stuck")
    w.node.include(w.node.transfer(USDT, shop(8), 1000, tx=tx, block=block), receipt=False)
    await w.poll()
    await w.deepen()
    await w.api.ask("GET", "/scanner/status")


async def inspecting(w: RecordedScanner) -> None:
    """One transaction, whomever it concerns: paid, unknown, and what is none."""
    path, ask = "/transactions/inspect", {"chainId": 97, "txHash": tx_hash("watched")}
    await w.api.ask("POST", path, ask)
    await w.api.ask("POST", path, {**ask, "txHash": tx_hash("at the page").upper().replace("X", "x")})
    await w.api.ask("POST", path, {**ask, "txHash": tx_hash("never")})
    for wrong in ({"txHash": "0x12"}, {"txHash": ""}, {"txHash": "x" * 129}, {"chainId": 999}, {"chainId": "97"}):
        await w.api.ask("POST", path, {**ask, **wrong}, status=400)
    await w.api.ask("POST", path, {"chainId": 97}, status=400)
    await w.api.ask("POST", path, TOO_LARGE, status=413)


async def without_a_chain(w: RecordedScanner) -> None:
    """What needs the chain says that it cannot be read."""
    w.node.down = True
    await w.api.ask("POST", "/intents/order-direct/recheck", status=502)
    link = (await w.create("pay-later"))["paymentUrl"].removeprefix(PUBLIC)
    await w.api.as_().ask("POST", f"{link}/recheck", status=502)
    await w.api.ask("POST", "/balances/check", {"chainId": 97, "address": OTHER, "token": "USDT"}, status=502)
    body = {"chainId": 97, "address": OTHER, "token": "USDT", "callbackUrl": w.hooks.url(), "callbackSecret": SECRET}
    await w.api.ask("POST", "/balance-watches", body, status=502)
    await w.api.ask("POST", "/transactions/inspect", {"chainId": 97, "txHash": tx_hash("watched")}, status=502)
    await w.api.ask("GET", "/scanner/status")


# -- doors ---------------------------------------------------------------------------------------------


async def without_a_key(w: RecordedScanner) -> None:
    """Every call but two asks for a key."""
    for method, path in [*await every_call(w), ("GET", "/openapi.json"), ("GET", "/docs"), ("GET", "/nowhere")]:
        if path not in {"/health", "/pay/somebody/recheck"}:
            await w.api.as_().ask(method, path, status=401)
            await w.api.as_(Authorization="Bearer wrong").ask(method, path, status=401)


async def half_a_body(w: RecordedScanner) -> None:
    """A body has ten seconds, here a fifth of one."""
    paths = [path for method, path, described in await operations(w) if "requestBody" in described]
    await asyncio.gather(*(w.api.drip("POST", path) for path in paths))


async def without_a_store(w: RecordedScanner) -> None:
    """Whatever needs the store says that it is not there, and that nothing was changed."""
    with sqlite3.connect(w.store) as store:
        for (name,) in store.execute("SELECT name FROM sqlite_master WHERE type = 'table'").fetchall():
            if not name.startswith("sqlite_"):
                store.execute(f"ALTER TABLE {name} RENAME TO gone_{name}")
    store.close()
    watch = {"chainId": 97, "address": OTHER, "token": "USDT", "baselineBalance": "1"}
    callback = {"callbackUrl": w.hooks.url(), "callbackSecret": SECRET}
    bodies = {
        "/intents": w.body("order-last"),
        "/balance-watches": {**watch, **callback},
        "/admin/callback-secrets/rotate": callback,
        "/unmatched/somebody/handled": {"note": "sent back"},
    }
    for method, path, described in await operations(w):
        if "503" in described["responses"]:
            query = "?chainId=97" if path == "/stats" else ""
            await w.api.ask(method, path + query, bodies.get(path) if method == "POST" else None, status=503)


async def operations(w: RecordedScanner) -> list[tuple[str, str, dict[str, Any]]]:
    """Return every call that is described, with a place in its path filled in."""
    paths = (await w.scanner.api.get("/openapi.json"))["paths"]
    return [
        (method.upper(), re.sub(r"{\w+}", "somebody", path), described)
        for path, methods in paths.items()
        for method, described in methods.items()
    ]


async def every_call(w: RecordedScanner) -> list[tuple[str, str]]:
    return [(method, path) for method, path, _ in await operations(w)]


STORIES: tuple[Story, ...] = (
    registering,
    listing,
    paying,
    paying_directly,
    sending_coin,
    ending,
    reorganising,
    refusing,
    changing_secrets,
    watching,
    operating,
    paying_at_the_page,
    getting_stuck,
    inspecting,
    without_a_chain,
    without_a_key,
    half_a_body,
    without_a_store,
)


# -- other worlds --------------------------------------------------------------------------------------


async def seeing_less(w: RecordedScanner) -> None:
    """An endpoint that wants addresses sees no other tokens, and whoever registers is warned."""
    w.node.overrides["eth_getLogs"] = _wants_addresses
    w.grow(1)
    await w.create("order-first", rail="direct", destination=shop(1))
    await w.poll()
    await w.create("order-warned", rail="direct", destination=shop(2))
    await w.create("order-proxy", destination=OTHER)
    await w.api.ask("GET", "/scanner/status")


def _wants_addresses(params: list[Any]) -> tuple[str, Any] | None:
    refusal = {"code": -32602, "message": "please specify an address in your request"}
    return None if "address" in params[0] else ("error", refusal)


async def on_every_chain(w: RecordedScanner) -> None:
    """What is asked for on chains of every family, before any of them can be read."""
    await w.shown("/scanner/status", lambda found: all(each["lastError"] for each in found["chains"]))
    await w.api.ask("GET", "/ready", status=503)
    await w.api.ask("GET", "/scanner/status")
    addresses = {
        1: OTHER,
        TRON: "TJRabPrwbZy45sbavfcjinPJC18kjpRTv8",
        TON: "EQBeXl5eXl5eXl5eXl5eXl5eXl5eXl5eXl5eXl5eXl5eXlEW",
    }
    for chain_id, address in addresses.items():
        await w.create(f"order-{chain_id}", chainId=chain_id, destination=address)
        await w.api.ask("GET", f"/intents/order-{chain_id}")
    for chain_id in (TRON, TON):
        body = w.body("order-wrong", chainId=chain_id, rail="proxy", destination=addresses[chain_id])
        await w.api.ask("POST", "/intents", body, status=400)
        await w.api.ask("POST", "/intents", w.body("order-wrong", chainId=chain_id, destination="x"), status=400)


async def open_to_this_machine(w: RecordedScanner) -> None:
    """Without a key only this machine is answered."""
    for method, path in await every_call(w):
        await w.api.ask(method, path, status=403, Host="rebound.example")
    await w.api.ask("GET", "/intents", Host="localhost")


async def falling_behind(w: RecordedScanner) -> None:
    """A node that grows and shows no logs leaves the chain behind, and the log says so."""
    refusal = ("error", {"code": -32000, "message": "not today"})
    w.node.overrides |= {"eth_getLogs": lambda _: refusal, "eth_getBlockReceipts": lambda _: refusal}
    w.grow(200)
    await w.shown("/scanner/status", lambda found: found["chains"][0]["state"] == "failing")
