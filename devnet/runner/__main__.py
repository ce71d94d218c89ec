"""
Drive whole purchases over HTTP, many at once, against a running system or one that is started for it.

Without `--marketplace` it starts a local chain, a scanner and a marketplace by itself. Keys and the
admin's password come from the environment: SCANNER_API_KEY, MARKETPLACE_ADMIN_EMAIL,
MARKETPLACE_ADMIN_PASSWORD. The marketplace that is driven needs its rate limits off.
"""

from __future__ import annotations

import argparse
import asyncio
import os
import sys
from pathlib import Path
from tempfile import TemporaryDirectory

from devnet.evm.anvil import CHAIN_ID, anvil
from devnet.price_publisher import off_peg, publishing
from devnet.processes import USDT, DemoError, deployed, log, prepare_chain
from devnet.runner.chain_actor import MINE_S, open_chain_actor
from devnet.runner.facts import LevelResult
from devnet.runner.level import Run, in_turn
from devnet.runner.ramp import ramp
from devnet.runner.report import as_markdown
from devnet.runner.scenario import PAYMENT_METHODS
from devnet.runner.stories import STORIES
from devnet.runner.target import Target, target_of

LEVELS = "1,2,4,8,16,32"


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--marketplace", metavar="URL", help="the marketplace; without it everything is started here")
    parser.add_argument("--scanner", metavar="URL", help="its scanner")
    parser.add_argument("--rpc", metavar="URL", help="the local chain that both look at")
    parser.add_argument("--chain-id", type=int, default=CHAIN_ID)
    parser.add_argument("--token", default=USDT, help="address of the token that is paid with")
    parser.add_argument("--levels", default=LEVELS, help=f"simultaneous workers, one level after the other ({LEVELS})")
    parser.add_argument("--rails", default="proxy", help=f"taken in turn by the workers: {', '.join(PAYMENT_METHODS)}")
    parser.add_argument(
        "--stories",
        default="",
        help=f"told in turn by the workers: {', '.join(STORIES)} (all; with --marketplace the first)",
    )
    parser.add_argument("--mine", type=float, default=MINE_S, metavar="S", help="seconds between blocks")
    parser.add_argument("--reports", type=Path, default=Path("reports"), metavar="FOLDER")
    given = parser.parse_args()
    if given.marketplace and not (given.scanner and given.rpc):
        parser.error("--marketplace needs --scanner and --rpc")
    try:
        given.levels = [int(each) for each in given.levels.split(",")]
        given.stories = _stories(given.stories, everything=not given.marketplace)
        given.rails = [PAYMENT_METHODS[each.strip()] for each in given.rails.split(",")]
    except (ValueError, KeyError) as exc:
        parser.error(f"cannot read {exc}")
    return given


def _stories(text: str, *, everything: bool) -> list[str]:
    """Return the names of the stories; a KeyError names one that is none."""
    names = [each.strip() for each in text.split(",") if each.strip()]
    for name in names:
        _ = STORIES[name]
    return names or (list(STORIES) if everything else ["goods"])


async def _against(given: argparse.Namespace, target: Target, rpc_url: str) -> list[LevelResult]:
    async with open_chain_actor(rpc_url, given.chain_id, given.token, mine_s=given.mine) as chain_actor:
        stories = in_turn(given.stories)
        run = Run(target=target, chain_actor=chain_actor, rails=given.rails, log=_silent, steps_of=stories)
        names = ", ".join(rail.name + (f":{rail.mode}" if rail.mode else "") for rail in given.rails)
        about = {
            "rails": names,
            "stories": ", ".join(given.stories),
            "a block every": f"{given.mine:g} s",
            "processors": os.cpu_count(),
        }
        return await ramp(run, given.levels, folder=given.reports, about=about, log=log)


def _silent(_text: str) -> None:
    """Many scenarios at once are no reading matter."""


async def _by_itself(given: argparse.Namespace) -> list[LevelResult]:
    with TemporaryDirectory(prefix="amn-e2e-") as name:
        async with anvil() as chain:
            await prepare_chain(chain)
            async with (
                publishing(prices=off_peg()) as publisher,
                deployed(Path(name), chain, marketplace_more=publisher.settings) as deployment,
            ):
                return await _against(given, target_of(deployment), chain.url)


async def _run(given: argparse.Namespace) -> list[LevelResult]:
    if not given.marketplace:
        return await _by_itself(given)
    try:
        target = Target(
            marketplace_url=given.marketplace.rstrip("/"),
            scanner_url=given.scanner.rstrip("/"),
            scanner_key=os.environ["SCANNER_API_KEY"],
            admin_email=os.environ["MARKETPLACE_ADMIN_EMAIL"],
            admin_password=os.environ["MARKETPLACE_ADMIN_PASSWORD"],
        )
    except KeyError as exc:
        raise DemoError(f"{exc.args[0]} is not set") from None
    return await _against(given, target, given.rpc)


def main() -> int:
    """Run from the command line; 0 when every correctness target was met at every level."""
    given = _arguments()
    try:
        levels = asyncio.run(_run(given))
    except DemoError as exc:
        sys.stderr.write(f"{exc}\n")
        return 2
    sys.stdout.write(f"\n{as_markdown(levels, {'reports': given.reports})}\n")
    return 0 if len(levels) == len(given.levels) and all(level.ok for level in levels) else 1


if __name__ == "__main__":
    sys.exit(main())
