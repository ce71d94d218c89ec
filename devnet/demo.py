"""
A whole purchase in half a minute, on a local chain, from the request to the seller who is paid.

`make demo` leaves scanner and marketplace running until Ctrl-C; `make demo ONCE=1` ends by itself.
`CHAIN=tron` or `CHAIN=ton` runs the part of the scanner on a local network of that family.
"""

from __future__ import annotations

import argparse
import asyncio
import os
import signal
import socket
import sys
from http import HTTPStatus
from pathlib import Path
from tempfile import TemporaryDirectory

import aiohttp

from devnet.evm.anvil import CHAIN_ID, anvil
from devnet.processes import USDT, DemoError, Deployment, deployed, log, prepare_chain
from devnet.runner.chain_actor import open_chain_actor
from devnet.runner.facts import LevelResult
from devnet.runner.level import Run
from devnet.runner.scenario import PAYMENT_METHODS
from devnet.runner.target import target_of

BLOCK_S = 3  # afterwards, as on the real chain
AMOUNT = 12_500_000_000_000_000_000  # of the payment that is left to whoever watches
MINE_S = 0.6  # slow enough to be watched


async def run(*, once: bool) -> None:
    """Run the demo."""
    stop = asyncio.Event()
    loop = asyncio.get_running_loop()
    for number in (signal.SIGINT, signal.SIGTERM):
        loop.add_signal_handler(number, stop.set)
    with TemporaryDirectory(prefix="amn-demo-") as name:
        async with anvil() as chain:
            log(f"chain       a local EVM chain with the real ERC20FeeProxy at {chain.url}")
            await prepare_chain(chain)
            async with deployed(Path(name), chain, scanner_more=_reachable()) as deployment:
                log(f"scanner     {deployment.scanner.url}")
                log(f"marketplace {deployment.marketplace.url}")
                await _run_purchase(deployment)
                if not once:
                    await chain.mine_every(BLOCK_S)  # a chain that stands still is stale
                    _show_access(deployment, await _open_payment(deployment))
                    await stop.wait()
    log("done        nothing is left behind")


async def _run_purchase(deployment: Deployment) -> None:
    """Run one purchase of one buyer and three sellers."""
    async with open_chain_actor(deployment.chain.url, CHAIN_ID, USDT, mine_s=MINE_S) as chain_actor:
        purchase = Run(target=target_of(deployment), chain_actor=chain_actor, rails=[PAYMENT_METHODS["proxy"]], log=log)
        level = await purchase.level(1)
    if not level.ok:
        raise DemoError(_what_is_wrong(level))
    log(f"checked     {len(level.samples)} calls, every notification, the ledger: reconciliation is clean")


def _what_is_wrong(level: LevelResult) -> str:
    wrong = [flow.failed for flow in level.flows if flow.failed is not None]
    return "; ".join([*wrong, *(f"{finding.kind}: {finding.detail}" for finding in level.findings)])


def _reachable() -> dict[str, str]:
    """Return where buyers reach the scanner: its port has to be known before it starts."""
    port = os.environ.get("PORT") or str(_free_port())
    return {"PORT": port, "SCANNER_PUBLIC_URL": f"http://127.0.0.1:{port}"}


def _free_port() -> int:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port: int = taken.getsockname()[1]
        return port


async def _open_payment(deployment: Deployment) -> str:
    """Register one more payment, for whoever watches to pay, and return where its page is."""
    payment = {
        "intentId": "demo-at-the-page",
        "chainId": CHAIN_ID,
        "token": "USDT",
        "destination": deployment.chain.accounts[9],
        "amount": str(AMOUNT),
        "callbackUrl": f"{deployment.marketplace.url}/api/payment/amn-scanner/webhook",
        "callbackSecret": deployment.credentials.hook_secret,
        "checkout": {"title": "Two chairs", "description": "A payment of the demo that waits for you"},
    }
    headers = {"Authorization": f"Bearer {deployment.credentials.scanner_key}"}
    async with (
        aiohttp.ClientSession(headers=headers) as session,
        session.post(f"{deployment.scanner.url}/intents", json=payment) as response,
    ):
        answer = await response.json()
    if response.status != HTTPStatus.OK:
        raise DemoError(f"the scanner registers no payment: {answer}")
    return str(answer["paymentUrl"])


def _show_access(deployment: Deployment, payment_url: str) -> None:
    known = deployment.credentials
    log(f"pay at      {payment_url}")
    log(f"console     {deployment.scanner.url}/console with the key {known.scanner_key}")
    log(f"running     {deployment.scanner.url}/scanner/status with Authorization: Bearer {known.scanner_key}")
    log(f"            {deployment.marketplace.url}/api/auth/login with {known.admin_email}, {known.admin_password}")
    log("            Ctrl-C ends it")


def main() -> int:
    """Run from the command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--once", action="store_true", help="end after the scenario")
    parser.add_argument("--chain", choices=("evm", "tron", "ton"), default="evm")
    given = parser.parse_args()
    try:
        if given.chain == "evm":
            asyncio.run(run(once=given.once))
        else:
            from devnet import demo_direct  # noqa: PLC0415 - its libraries are slow to import

            asyncio.run(demo_direct.run(given.chain, once=given.once))
    except (DemoError, TimeoutError) as exc:
        print(f"demo failed: {exc or 'nothing happened in time'}", file=sys.stderr)  # noqa: T201
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
