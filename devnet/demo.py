"""
The whole story in half a minute: a payment on a local chain, from intent to verified webhook.

`make demo` leaves the scanner running until Ctrl-C; `make demo ONCE=1` ends by itself.
"""

from __future__ import annotations

import argparse
import asyncio
import os
import secrets
import signal
import sys
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import aiohttp

from devnet.anvil import CHAIN_ID, Anvil, anvil
from devnet.receiver import receiver

USDT = "0x109F54Dab34426D5477986b0460aE5dFBA65f022"
USDC = "0x64544969ed7EBf5f083679233325356EbE738930"
SELLER = "0x70e36f6BF80a52b3B46b3aF8e106CC0ed743E8e4"
AMOUNT = 12_500_000_000_000_000_000  # 12.5 USDT of 18 decimals
ROOT = Path(__file__).parent.parent


class DemoError(Exception):
    """The story did not go as told."""


def say(text: str) -> None:
    """Print one step as it happens."""
    print(f"{time.strftime('%H:%M:%S')}  {text}", flush=True)  # noqa: T201 - the demo talks to a person


@asynccontextmanager
async def scanner(folder: Path, rpc_url: str, key: str) -> AsyncIterator[str]:
    """Run the daemon as an operator would, as a process of its own; give its URL."""
    environment = {
        **{name: value for name, value in os.environ.items() if not name.startswith(("SCANNER_", "RPC_"))},
        "PORT": os.environ.get("PORT", "0"),
        "DB_PATH": str(folder / "scanner.db"),
        "RPC_BSC_TESTNET": rpc_url,
        "SCANNER_ENABLED_CHAINS": str(CHAIN_ID),
        "SCANNER_API_KEY": key,
        "POLL_INTERVAL_SEC": "0.5",
        "LOG_LEVEL": "info",
    }
    log = (folder / "scanner.log").open("wb")
    process = await asyncio.create_subprocess_exec(
        sys.executable, "-m", "scanner", cwd=ROOT, env=environment, stdout=log, stderr=log, start_new_session=True
    )
    try:
        yield await _listening(folder / "scanner.log", process)
    finally:
        with suppress(ProcessLookupError):
            process.send_signal(signal.SIGTERM)
        await process.wait()
        log.close()


async def _listening(log: Path, process: asyncio.subprocess.Process) -> str:
    async with asyncio.timeout(30):
        while "listening on " not in (text := log.read_text()):  # noqa: ASYNC240 - a few lines of a local file
            if process.returncode is not None:
                raise DemoError(f"the scanner ended: {text.strip()}")
            await asyncio.sleep(0.05)
    return text.split("listening on ")[1].split()[0]


class Story:
    """A backend and a buyer."""

    def __init__(self, url: str, session: aiohttp.ClientSession, chain: Anvil) -> None:
        self._url = url
        self._session = session
        self._chain = chain

    async def call(self, method: str, path: str, body: Any = None) -> Any:
        async with self._session.request(method, self._url + path, json=body) as response:
            answer = await response.json()
            if response.status != 200:
                raise DemoError(f"{method} {path}: {response.status} {answer}")
            return answer

    async def until(self, intent_id: str, *statuses: str) -> dict[str, Any]:
        """Ask for the intent until it stands in one of the statuses."""
        async with asyncio.timeout(20):
            while True:
                intent: dict[str, Any] = (await self.call("GET", f"/intents/{intent_id}"))["intent"]
                if intent["status"] in statuses:
                    return intent
                await asyncio.sleep(0.1)

    async def tell(self, hook: str, secret: str) -> str:
        """Register, pay, mine; return the intent's id."""
        intent_id = f"order-{secrets.token_hex(4)}"
        created = await self.call(
            "POST",
            "/intents",
            {
                "intentId": intent_id,
                "chainId": CHAIN_ID,
                "token": "USDT",
                "destination": SELLER,
                "amount": str(AMOUNT),
                "callbackUrl": hook,
                "callbackSecret": secret,
            },
        )
        block = created["checkoutBlock"]
        say(f"intent      {intent_id}: {AMOUNT} base units of {block['tokenSymbol']} to {SELLER}")
        say(f"checkout    call {block['proxyAddress']} with reference {block['paymentReference']}")
        say(f"            calldata {block['calldata'][:42]}… ({len(block['calldata']) // 2 - 1} bytes)")
        tx = await self._chain.pay(USDT, SELLER, AMOUNT, created["paymentReference"])
        say(f"paid        transaction {tx}")
        shown = -1
        while True:
            intent = await self.until(intent_id, "confirming", "confirmed", "webhook_failed")
            if intent["confirmations"] != shown:
                shown = intent["confirmations"]
                say(f"{intent['status']:<11} {shown}/{intent['confirmationsRequired']}")
            if intent["status"] != "confirming":
                return intent_id
            await self._chain.mine()
            await asyncio.sleep(0.6)


async def run(*, once: bool) -> None:
    """Tell the story."""
    stop = asyncio.Event()
    loop = asyncio.get_running_loop()
    for number in (signal.SIGINT, signal.SIGTERM):
        loop.add_signal_handler(number, stop.set)
    key, secret = secrets.token_urlsafe(24), secrets.token_urlsafe(24)
    with TemporaryDirectory(prefix="amn-demo-") as name:
        folder = Path(name)
        async with anvil() as chain, receiver() as hooks:
            say(f"chain       a local EVM chain with the real ERC20FeeProxy at {chain.url}")
            await chain.token("USDT", 18, at=USDT)
            await chain.token("USDC", 18, at=USDC)
            await chain.mine(12)
            async with scanner(folder, chain.url, key) as url:
                say(f"scanner     {url}")
                headers = {"Authorization": f"Bearer {key}"}
                async with aiohttp.ClientSession(headers=headers) as session:
                    await Story(url, session, chain).tell(hooks.url("/webhook"), secret)
                (delivery,) = await hooks.wait_for(1)
                if not delivery.verified(secret):
                    raise DemoError("the webhook's signature is wrong")
                say(f"webhook     {delivery.json['eventType']} {delivery.event_id}, both signatures verified")
                if not once:
                    say(f"running     {url}/scanner/status with Authorization: Bearer {key}")
                    say("            Ctrl-C ends it")
                    await stop.wait()
    say("done        nothing is left behind")


def main() -> int:
    """Run from the command line."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--once", action="store_true", help="end after the story")
    try:
        asyncio.run(run(once=parser.parse_args().once))
    except (DemoError, TimeoutError) as exc:
        print(f"demo failed: {exc or 'nothing happened in time'}", file=sys.stderr)  # noqa: T201
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
