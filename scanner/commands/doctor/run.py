"""Examines everything, endpoints side by side, and shows it."""

from __future__ import annotations

import argparse
import asyncio
import sys
import time
from collections.abc import Awaitable, Callable, Mapping, Sequence
from functools import partial
from pathlib import Path

from rich.console import Console
from rich.progress import Progress

from chains.findings import NO_ANSWER, Finding, Verdict, judge_clock, ok, problem
from config.catalog import Catalog, endpoints_named_in, load_catalog
from config.settings import Settings, load_settings
from kernel.errors import ConfigError
from scanner.app import access_of, database_of
from scanner.commands.doctor import host
from scanner.commands.doctor.chain import ChainExaminer, Located
from scanner.commands.doctor.report import WIDTH_OF_A_FILE, exit_code, show

HERE = "this machine"
AT_ONCE = 8  # endpoints
MANY = 2  # endpoints that do not answer


def run(asked: argparse.Namespace, environ: Mapping[str, str]) -> int:
    """Examine, show, and return the exit code: 1 where somebody has to act."""
    console = Console(width=None if sys.stdout.isatty() else WIDTH_OF_A_FILE, highlight=False)
    with Progress(console=Console(stderr=True), transient=True, disable=not sys.stderr.isatty()) as progress:
        task = progress.add_task("asking the endpoints", total=None)

        def advanced(done: int, total: int) -> None:
            progress.update(task, completed=done, total=total)

        found = asyncio.run(examine(environ, Path(".env"), callback=asked.callback, secret=asked.secret, on=advanced))
    show(found, console)
    return exit_code(found)


async def examine(
    environ: Mapping[str, str],
    env_file: Path | None,
    *,
    callback: str | None = None,
    secret: str | None = None,
    on: Callable[[int, int], None] = lambda _done, _total: None,
    wall: Callable[[], float] = time.time,
) -> list[Located]:
    """Return everything that was found, this machine's side first."""
    try:
        settings = load_settings(environ, env_file=env_file)
    except ConfigError as exc:
        return [_here(problem("settings", "cannot be read", f"{exc}."))]
    found = [_here(ok("settings", "read")), *map(_here, host.settings_findings(settings))]
    found += map(_here, await host.store_findings(settings, database_of(settings)))
    found.append(_here(await host.callback_finding(settings, callback, secret)))
    try:
        catalog = load_catalog(settings)
    except ConfigError as exc:
        return [*found, _here(problem("registries", "cannot be read", f"{exc}."))]
    found += map(_here, host.registry_findings(settings, catalog))
    on_chains = await _chains(settings, catalog, on, wall)
    ages = [finding.age_s for _, finding in on_chains if finding.age_s is not None]
    found += map(_here, network_findings([finding for _, finding in on_chains]))
    return [*found, _here(judge_clock(ages)), *on_chains]


def network_findings(found: Sequence[Finding]) -> list[Finding]:
    """Say what several endpoints that all do not answer have in common: more often this machine than each of them."""
    looked = [finding.found for finding in found if finding.verdict is not Verdict.SKIPPED]
    if len(looked) < MANY or {*looked} != {NO_ANSWER}:
        return []
    advice = "No endpoint answers: look first whether this machine reaches them (names, firewall, network)."
    return [problem("network", "nothing answers", advice)]


async def _chains(
    settings: Settings, catalog: Catalog, on: Callable[[int, int], None], wall: Callable[[], float]
) -> list[Located]:
    looks: list[Callable[[], Awaitable[list[Located]]]] = []
    for chain_id in catalog.enabled:
        chain = catalog.chains[chain_id]
        examiner = ChainExaminer(
            chain,
            catalog.tokens(chain_id),
            access_of(settings, chain),
            named_in=endpoints_named_in(settings, chain),
            timeout_s=settings.scan.rpc_timeout_s,
            wall=wall,
        )
        looks += [partial(examiner.endpoint, index) for index in range(len(chain.rpc_urls))]
        looks += [partial(examiner.socket, index) for index in range(len(access_of(settings, chain).sockets))]
        looks += [examiner.second] * examiner.has_second
        looks.append(examiner.contracts)
    slots, done = asyncio.Semaphore(AT_ONCE), 0

    async def looked(look: Callable[[], Awaitable[list[Located]]]) -> list[Located]:
        nonlocal done
        async with slots:
            found = await look()
        done += 1
        on(done, len(looks))
        return found

    async with asyncio.TaskGroup() as group:
        tasks = [group.create_task(looked(look)) for look in looks]
    return [located for task in tasks for located in task.result()]


def _here(finding: Finding) -> Located:
    return Located(HERE, finding)
