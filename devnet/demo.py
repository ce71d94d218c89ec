"""
A whole purchase in half a minute, on a local chain, from the request to the seller who is paid.

`make demo` leaves scanner and marketplace running until Ctrl-C, and pays what is left to pay when Enter is pressed.
`make demo ONCE=1` ends by itself. Both end with a look at the console, which has to show the payment.
`CHAIN=tron` or `CHAIN=ton` runs the part of the scanner on a local network of that family.
"""

from __future__ import annotations

import argparse
import asyncio
import os
import re
import signal
import socket
import sys
import time
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
FORM_TOKEN = re.compile(r'name="csrf" value="([^"]+)"')


async def run(*, once: bool) -> None:
    """Run the demo."""
    began = time.monotonic()
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
                payment_id = await _run_purchase(deployment)
                await _look_in_console(deployment, payment_id)
                log(f"seen        confirmed in the console, {time.monotonic() - began:.0f} s after the start")
                if not once:
                    await chain.mine_every(BLOCK_S)  # a chain that stands still is stale
                    _show_access(deployment, await _open_payment(deployment))
                    await _pay_or_stop(deployment, stop)
    log("done        nothing is left behind")


async def _run_purchase(deployment: Deployment) -> str:
    """Run one purchase of one buyer and three sellers; return the id of its payment."""
    async with open_chain_actor(deployment.chain.url, CHAIN_ID, USDT, mine_s=MINE_S) as chain_actor:
        purchase = Run(target=target_of(deployment), chain_actor=chain_actor, rails=[PAYMENT_METHODS["proxy"]], log=log)
        level = await purchase.level(1)
    if not level.ok:
        raise DemoError(_what_is_wrong(level))
    log(f"checked     {len(level.samples)} calls, every notification, the ledger: reconciliation is clean")
    return level.flows[0].purchase.payment_id


async def _look_in_console(deployment: Deployment, payment_id: str) -> None:
    """Sign in as an operator does, and look at the payment."""
    console = f"{deployment.scanner.url}/console"
    jar = aiohttp.CookieJar(unsafe=True)  # cookies of an address that is a number
    async with aiohttp.ClientSession(cookie_jar=jar, raise_for_status=True) as session:
        async with session.get(f"{console}/login") as page:
            token = FORM_TOKEN.search(await page.text())
        if token is None:
            raise DemoError("the console has no form to sign in")
        async with session.post(
            f"{console}/login", data={"csrf": token[1], "key": deployment.credentials.scanner_key}
        ) as page:
            await page.read()
        async with session.get(f"{console}/intents/{payment_id}") as page:
            shown = await page.text()
    if ">confirmed<" not in shown:
        raise DemoError(f"the console does not show payment {payment_id} as confirmed")


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
        "rail": "direct",
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
    log(f"admin       {deployment.marketplace.url}/admin with {known.admin_email}, {known.admin_password}")
    log(f"running     {deployment.scanner.url}/scanner/status with Authorization: Bearer {known.scanner_key}")
    if sys.stdin.isatty():
        log("            Enter pays it, from a wallet of the local chain")
    log("            Ctrl-C ends it")


async def _pay_or_stop(deployment: Deployment, stop: asyncio.Event) -> None:
    """Wait until the end; where somebody sits at a terminal, Enter pays what is open."""
    if not sys.stdin.isatty():
        await stop.wait()
        return
    entered = asyncio.Event()
    loop = asyncio.get_running_loop()
    loop.add_reader(sys.stdin, entered.set)
    waiting = [asyncio.create_task(event.wait()) for event in (entered, stop)]
    try:
        await asyncio.wait(waiting, return_when=asyncio.FIRST_COMPLETED)
    finally:
        loop.remove_reader(sys.stdin)
        for task in waiting:
            task.cancel()
    if not stop.is_set():
        sent = await deployment.chain.transfer(USDT, deployment.chain.accounts[9], AMOUNT)
        log(f"paid        transaction {sent}: the page and the console show it as it is confirmed")
    await stop.wait()


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
        print(f"demo failed: {str(exc) or 'nothing happened in time'}", file=sys.stderr)  # noqa: T201
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
