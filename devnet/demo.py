"""
The whole story in half a minute: a purchase on a local chain, from the request to the seller who is paid.

`make demo` leaves scanner and marketplace running until Ctrl-C; `make demo ONCE=1` ends by itself.
`CHAIN=tron` or `CHAIN=ton` tells the scanner's part of it on a local network of that family.
"""

from __future__ import annotations

import argparse
import asyncio
import signal
import sys
from pathlib import Path
from tempfile import TemporaryDirectory

from devnet.evm.anvil import CHAIN_ID, anvil
from devnet.processes import ESCROW as SELLER
from devnet.processes import ROOT, USDC, USDT, DemoError, Town, furnish, say, scanner, town
from devnet.runner.facts import LevelResult
from devnet.runner.level import Run
from devnet.runner.street import open_street
from devnet.runner.tale import RAILS
from devnet.runner.target import target_of

__all__ = ["ROOT", "SELLER", "USDC", "USDT", "DemoError", "run", "say", "scanner"]

BLOCK_S = 3  # afterwards, as on the real chain
MINE_S = 0.6  # slow enough to be watched


async def run(*, once: bool) -> None:
    """Tell the story."""
    stop = asyncio.Event()
    loop = asyncio.get_running_loop()
    for number in (signal.SIGINT, signal.SIGTERM):
        loop.add_signal_handler(number, stop.set)
    with TemporaryDirectory(prefix="amn-demo-") as name:
        async with anvil() as chain:
            say(f"chain       a local EVM chain with the real ERC20FeeProxy at {chain.url}")
            await furnish(chain)
            async with town(Path(name), chain) as found:
                say(f"scanner     {found.scanner.url}")
                say(f"marketplace {found.marketplace.url}")
                await _tell(found)
                if not once:
                    await chain.mine_every(BLOCK_S)  # a chain that stands still is stale
                    _invite(found)
                    await stop.wait()
    say("done        nothing is left behind")


async def _tell(found: Town) -> None:
    """Let one buyer and three sellers live through it."""
    async with open_street(found.chain.url, CHAIN_ID, USDT, mine_s=MINE_S) as street:
        told = Run(target=target_of(found), street=street, rails=[RAILS["proxy"]], say=say)
        level = await told.level(1)
    if not level.ok:
        raise DemoError(_what_is_wrong(level))
    say(f"checked     {len(level.samples)} calls, every notification, the ledger: reconciliation is clean")


def _what_is_wrong(level: LevelResult) -> str:
    wrong = [flow.failed for flow in level.flows if flow.failed is not None]
    return "; ".join([*wrong, *(f"{finding.fault}: {finding.detail}" for finding in level.findings)])


def _invite(found: Town) -> None:
    say(f"running     {found.scanner.url}/scanner/status with Authorization: Bearer {found.who.scanner_key}")
    say(f"            {found.marketplace.url}/api/auth/login with {found.who.admin_email}, {found.who.admin_password}")
    say("            Ctrl-C ends it")


def main() -> int:
    """Run from the command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--once", action="store_true", help="end after the story")
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
