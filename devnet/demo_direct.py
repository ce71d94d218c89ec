"""
The story of a payment on Tron or TON: a plain transfer to an address used once, from intent to verified webhook.

`make demo CHAIN=tron` and `CHAIN=ton` tell it on a chain in memory, shown by a faithful TronGrid or TonCenter.
"""

from __future__ import annotations

import asyncio
import secrets
import signal
import time
from collections.abc import AsyncIterator, Callable, Coroutine
from contextlib import AbstractAsyncContextManager, AsyncExitStack, asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import aiohttp

from chains.ton import address as ton_addresses
from devnet.processes import DemoError, Service, log, started
from devnet.receiver import Delivery, Receiver, receiver
from devnet.ton.ledger import TonLedger
from devnet.ton.toncenter import TonCenter
from devnet.tron.ledger import SLOT_MS, TokenFacts, TronLedger, account
from devnet.tron.ledger import USDT as TRON_USDT
from devnet.tron.trongrid import TronGrid

AMOUNT = 12_500_000  # 12.5 USDT of 6 decimals
HURRY_S = 0.1  # between blocks while the demo runs; afterwards as often as on the real chain
TON_USDT = "EQCxE6mUtQJKFnGfaROTKOt1lZbDiiX1kCixRv7Nw2Id_sDs"
LISTED = {"tron": "TEkxiTehnzSmSe2XqrBj4w32RUN966rdz8", "ton": "EQB-MPwrd1G6WKNkLz_VnV6WqBDd142KMQv-g1O-8QUA3728"}
WAIT_S = 30

Json = dict[str, Any]


@dataclass(frozen=True, slots=True)
class Stage:
    """One family's chain, with a service over it that a scanner can read."""

    chain_id: int
    about: str
    finality: str
    environment: dict[str, str]
    seller: str
    pay: Callable[[], str]  # pays `AMOUNT` to the seller; returns the transaction
    produce: Callable[[float], Coroutine[Any, Any, None]]  # makes a block every so many seconds, for ever
    pace_s: float  # of the real chain


@asynccontextmanager
async def tron(key: str) -> AsyncIterator[Stage]:
    """Set up a Tron chain in memory."""
    ledger = TronLedger.until(int(time.time() * 1000))
    ledger.tokens[LISTED["tron"]] = TokenFacts("USDC", 6)
    seller = account(secrets.token_hex(8))
    async with TronGrid(ledger) as grid:
        yield Stage(
            chain_id=728126428,
            about=f"a Tron chain in memory, shown by a TronGrid at {grid.url}",
            finality="19 blocks on top make it irreversible: a minute on the real chain, two seconds here",
            environment={"TRONGRID_URL": grid.url, "TRONGRID_API_KEY": key, "TRONGRID_RPS": "100"},
            seller=seller,
            pay=lambda: ledger.transfer(seller, AMOUNT, token=TRON_USDT),
            produce=ledger.produce,
            pace_s=SLOT_MS / 1000,
        )


@asynccontextmanager
async def ton(key: str) -> AsyncIterator[Stage]:
    """Set up a TON chain in memory."""
    ledger = TonLedger()
    for address, symbol in ((TON_USDT, "USD₮"), (LISTED["ton"], "jUSDC")):
        ledger.issue(ton_addresses.parse_address(address, testnet=False), symbol, 6)
    master = ton_addresses.parse_address(TON_USDT, testnet=False)
    owner = f"0:{secrets.token_hex(32).upper()}"

    async def produce(every_s: float) -> None:
        while True:
            await asyncio.sleep(every_s)
            ledger.advance(1)

    async with TonCenter(ledger) as center:
        yield Stage(
            chain_id=1100,
            about=f"a TON chain in memory, shown by a TonCenter at {center.url}",
            finality="one masterchain block makes it irreversible, and both halves of the transfer must succeed",
            environment={"TONCENTER_URL": center.url, "TONCENTER_API_KEY": key, "TONCENTER_RPS": "100"},
            seller=ton_addresses.show_address(owner, testnet=False, bounceable=False),
            pay=lambda: ledger.pay(owner, AMOUNT, master=master).tx_hash,
            produce=produce,
            pace_s=1.0,
        )


STAGES: dict[str, Callable[[str], AbstractAsyncContextManager[Stage]]] = {"tron": tron, "ton": ton}


class Backend:
    """What a shop's backend asks the scanner."""

    def __init__(self, url: str, session: aiohttp.ClientSession) -> None:
        self._url = url
        self._session = session

    async def call(self, method: str, path: str, body: Any = None) -> Json:
        async with self._session.request(method, self._url + path, json=body) as response:
            answer: Json = await response.json()
            if response.status != 200:
                raise DemoError(f"{method} {path}: {response.status} {answer}")
            return answer

    async def register(self, stage: Stage, hook: str, secret: str) -> Json:
        return await self.call(
            "POST",
            "/intents",
            {
                "intentId": f"order-{secrets.token_hex(4)}",
                "chainId": stage.chain_id,
                "rail": "direct",
                "token": "USDT",
                "destination": stage.seller,
                "amount": str(AMOUNT),
                "callbackUrl": hook,
                "callbackSecret": secret,
            },
        )

    async def settled(self, intent_id: str) -> Json:
        """Ask for the intent until it is settled."""
        async with asyncio.timeout(WAIT_S):
            while True:
                intent: Json = (await self.call("GET", f"/intents/{intent_id}"))["intent"]
                if intent["status"] in {"confirmed", "webhook_failed"}:
                    return intent
                await asyncio.sleep(0.1)  # a backend has no event to wait on but the webhook


async def tell(stage: Stage, backend: Backend, hooks: Receiver, secret: str) -> None:
    """Register, pay, and wait for the webhook."""
    created = await backend.register(stage, hooks.url("/webhook"), secret)
    block = created["checkoutBlock"]
    log(f"intent      {created['intentId']}: {AMOUNT} base units of {block['tokenSymbol']} to {block['destination']}")
    log(f"checkout    {block['paymentUri']}")
    tx = stage.pay()
    log(f"paid        transaction {tx}")
    log(f"waiting     {stage.finality}")
    intent = await backend.settled(created["intentId"])
    if intent["txHash"] != tx or intent["amountReceived"] != str(AMOUNT):
        raise DemoError(f"another payment than the buyer's was taken for it: {intent}")
    log(f"{intent['status']:<11} {intent['amountReceived']} received from {intent['sender']}")
    await hooks.wait_for(1, WAIT_S)
    check(hooks.deliveries[0], tx, secret)


def check(delivery: Delivery, tx: str, secret: str) -> None:
    """Verify a webhook as a backend has to."""
    if not delivery.verified(secret):
        raise DemoError("the webhook's signature is wrong")
    if delivery.json["txHash"] != tx:
        raise DemoError("the webhook tells of another payment")
    log(f"webhook     {delivery.json['eventType']} {delivery.event_id}, both signatures verified")


def scanner_on(stage: Stage, folder: Path, key: str) -> Service:
    """Return a scanner that reads this chain alone, not yet started."""
    environment = {
        "DB_PATH": str(folder / "scanner.db"),
        "SCANNER_ENABLED_CHAINS": str(stage.chain_id),
        "SCANNER_API_KEY": key,
        "POLL_INTERVAL_SEC": "0.5",
        "LOG_LEVEL": "info",
        **stage.environment,
    }
    return Service("scanner", environment, "PORT", folder / "scanner.log")


async def run(family: str, *, once: bool) -> None:
    """
    Tell the story on `tron` or `ton`; unless `once`, leave the scanner running until Ctrl-C.

    Raises:
        DemoError: the demo did not go as planned.
    """
    if family not in STAGES:
        raise DemoError(f"there is no story for {family}: {' or '.join(STAGES)}")
    stop = asyncio.Event()
    for number in (signal.SIGINT, signal.SIGTERM):
        asyncio.get_running_loop().add_signal_handler(number, stop.set)
    with TemporaryDirectory(prefix="amn-demo-") as name:
        await _play(family, Path(name), stop, once=once)
    log("done        nothing is left behind")


async def _play(family: str, folder: Path, stop: asyncio.Event, *, once: bool) -> None:
    key, secret = secrets.token_urlsafe(24), secrets.token_urlsafe(24)
    async with AsyncExitStack() as stack:
        stage = await stack.enter_async_context(STAGES[family](secrets.token_urlsafe(24)))
        hooks = await stack.enter_async_context(receiver())
        log(f"chain       {stage.about}")
        scanner = await stack.enter_async_context(started(scanner_on(stage, folder, key)))
        log(f"scanner     {scanner.url}")
        headers = {"Authorization": f"Bearer {key}"}
        session = await stack.enter_async_context(aiohttp.ClientSession(headers=headers))
        async with producing(stage, HURRY_S):
            await tell(stage, Backend(scanner.url, session), hooks, secret)
        if not once:
            log(f"running     {scanner.url}/scanner/status with Authorization: Bearer {key}")
            log("            Ctrl-C ends it")
            async with producing(stage, stage.pace_s):
                await stop.wait()


@asynccontextmanager
async def producing(stage: Stage, every_s: float) -> AsyncIterator[None]:
    """Let the chain go on while the block runs."""
    task = asyncio.create_task(stage.produce(every_s), name="blocks")
    try:
        yield
    finally:
        task.cancel()
        await asyncio.wait([task])
    if not task.cancelled():
        task.result()  # it ends by being cancelled alone
