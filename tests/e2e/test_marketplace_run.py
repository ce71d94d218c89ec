"""
The whole story over HTTP, many at once, with both daemons as processes: right, and quiet about secrets.

`E2E_LEVELS` and `E2E_RAILS_WORKERS` set the size of the plain runs; `RUN_KILLS`, `RUN_WORKERS` and
`RUN_SEED` that of the run in which both daemons are killed.
"""

from __future__ import annotations

import asyncio
import os
import random
import re
import sqlite3
from collections import Counter
from collections.abc import AsyncIterator, Iterable, Mapping
from contextlib import asynccontextmanager
from pathlib import Path

import pytest

from devnet.evm.anvil import CHAIN_ID, Anvil
from devnet.price_publisher import off_peg, publishing
from devnet.processes import USDT, XPUB, Deployment, deployed
from devnet.runner.chain_actor import open_chain_actor
from devnet.runner.facts import LevelResult
from devnet.runner.journal import Journal, RecordedAnswer
from devnet.runner.level import Run, in_turn
from devnet.runner.ramp import ramp
from devnet.runner.report import as_markdown
from devnet.runner.scenario import PAYMENT_METHODS, Scenario
from devnet.runner.stories import STORIES
from devnet.runner.target import target_of

pytestmark = [pytest.mark.anvil, pytest.mark.process]

LEVELS = [int(each) for each in os.environ.get("E2E_LEVELS", "1,2").split(",")]
RAILS_WORKERS = int(os.environ.get("E2E_RAILS_WORKERS", "4"))
KILLS = int(os.environ.get("RUN_KILLS", "4"))
WORKERS = int(os.environ.get("RUN_WORKERS", "4"))
SEED = int(os.environ.get("RUN_SEED", "11"))
MAX_DOWNTIME_S = 60.0
FEWEST_ANSWERS = 36  # of one finished flow, whichever its rail

QUICK = {"POLL_INTERVAL_SEC": "0.1", "WEBHOOK_RETRY_DELAYS_SEC": "0.2,0.5,1,2,4,8"}
SWEEPING = {"MARKETPLACE_SWEEP_SEC": "1"}


@asynccontextmanager
async def running(
    folder: Path, chain: Anvil, *rails: str, max_downtime_s: float = 0, sources: Mapping[str, str] | None = None
) -> AsyncIterator[tuple[Deployment, Run]]:
    """Start everything, and a runner that keeps what it is answered."""
    async with (
        deployed(folder, chain, scanner_more=QUICK, marketplace_more={**SWEEPING, **(sources or {})}) as deployment,
        open_chain_actor(chain.url, CHAIN_ID, USDT, mine_s=0.2) as chain_actor,
    ):
        chosen = [PAYMENT_METHODS[name] for name in rails]
        target = target_of(deployment, max_downtime_s=max_downtime_s)
        yield (
            deployment,
            Run(target=target, chain_actor=chain_actor, rails=chosen, log=lambda _: None, keep_answers=True),
        )


def shown(*levels: LevelResult) -> str:
    """Return what a person needs who has to find out why."""
    return as_markdown(levels, {})


@pytest.mark.long
@pytest.mark.timeout(1800)
async def test_every_level_of_the_ramp_meets_every_correctness_target(chain: Anvil, tmp_path: Path) -> None:
    async with running(tmp_path, chain, "proxy") as (_, run):
        results = await ramp(run, LEVELS, folder=tmp_path / "reports", about={}, log=lambda _: None)

    assert [(level.workers, level.finished) for level in results] == [(each, each) for each in LEVELS], shown(*results)
    assert all(level.ok for level in results), shown(*results)
    assert {each.name for each in (tmp_path / "reports").iterdir()} == {"e2e.json", "e2e.md"}


@pytest.mark.long
async def test_every_rail_works_and_no_secret_is_logged_or_answered_twice(chain: Anvil, tmp_path: Path) -> None:
    async with running(tmp_path, chain, *PAYMENT_METHODS) as (deployment, run):
        level = await run.level(RAILS_WORKERS)

    assert level.ok, shown(level)
    logs = deployment.scanner.log.read_text() + deployment.marketplace.log.read_text()
    assert "funded" in logs  # it is the right log
    answers = run.journal.answers or []
    assert secrets_in_logs(logs, deployment, run.scenarios, hashes(tmp_path)) == []
    assert secrets_in_answers(answers, deployment, run.scenarios, hashes(tmp_path)) == []


@pytest.mark.long
async def test_every_story_ends_well_and_no_good_is_logged_or_answered_but_to_its_buyer(
    chain: Anvil, tmp_path: Path
) -> None:
    async with (
        publishing(prices=off_peg()) as publisher,
        running(tmp_path, chain, "proxy", "direct", sources=publisher.settings) as (deployment, run),
    ):
        run.steps_of = in_turn(list(STORIES))
        level = await run.level(2 * len(STORIES))

    assert level.ok, shown(level)
    logs = deployment.scanner.log.read_text() + deployment.marketplace.log.read_text()
    goods = {code for scenario in run.scenarios for codes in scenario.stocked.values() for code in codes}
    assert [code for code in goods if code in logs] == []
    told = {each.operation for each in run.journal.answers or [] for code in goods if code in each.body}
    assert told == {"reveal goods"}
    assert len({code for code in goods if any(code in each.body for each in run.journal.answers or [])}) == 4


def hashes(folder: Path) -> list[str]:
    """Return what is stored of passwords, refresh tokens and codes."""
    with sqlite3.connect(folder / "marketplace.db") as store:
        columns = ("users", "password_hash"), ("refresh_tokens", "token_hash"), ("delivery_codes", "code_hash")
        deployment = [store.execute(f"SELECT {column} FROM {table}").fetchall() for table, column in columns]  # noqa: S608
    assert all(deployment)
    return [str(value) for rows in deployment for (value,) in rows]


def never_shown(deployment: Deployment, scenarios: Iterable[Scenario], hashed: Iterable[str]) -> list[str]:
    """Return what stands in no answer at all."""
    who = deployment.credentials
    passwords = [user.password for scenario in scenarios for user in (scenario.buyer, *scenario.sellers.values())]
    return [who.scanner_key, who.hook_secret, who.jwt_secret, who.admin_password, XPUB, *passwords, *hashed]


def tokens_of(scenarios: Iterable[Scenario]) -> list[str]:
    people = {user.email: user for scenario in scenarios for user in (scenario.buyer, *scenario.sellers.values())}
    admin = next(iter(scenarios)).context.admin
    return [token for user in (*people.values(), admin) for token in user.tokens]


def stands_in(code: str, text: str) -> bool:
    """Say whether six digits stand alone somewhere, and not within a hash or an amount."""
    return re.search(rf"(?<![0-9A-Za-z]){code}(?![0-9A-Za-z])", text) is not None


def secrets_in_logs(logs: str, deployment: Deployment, scenarios: list[Scenario], hashed: list[str]) -> list[str]:
    """Return every secret that a log holds."""
    leaked = [each for each in (*never_shown(deployment, scenarios, hashed), *tokens_of(scenarios)) if each in logs]
    leaked += [code for scenario in scenarios for code in scenario.codes if stands_in(code, logs)]
    return leaked + re.findall(r"\$argon2\S+|Bearer (?!\*\*\*)\S+", logs)


def secrets_in_answers(
    answers: list[RecordedAnswer], deployment: Deployment, scenarios: list[Scenario], hashed: list[str]
) -> list[str]:
    """Return every secret that stands in an answer, but for the one that hands it out."""
    everything = [each.headers + each.body for each in answers]
    leaked = [
        secret for secret in never_shown(deployment, scenarios, hashed) if any(secret in text for text in everything)
    ]
    for token in tokens_of(scenarios):
        shows = [each.operation for each in answers if token in each.headers + each.body]
        leaked += [] if shows == ["login"] else [f"{token} in {shows}"]
    for code in (code for scenario in scenarios for code in scenario.codes):
        shows = [each.operation for each in answers if stands_in(code, each.headers + each.body)]
        leaked += [] if shows == ["generate code"] else [f"{code} in {shows}"]
    return leaked + [text for text in everything if "$argon2" in text]


@pytest.mark.long
@pytest.mark.timeout(1800)
async def test_killed_at_random_moments_every_flow_is_finished_and_the_books_are_right(
    chain: Anvil, tmp_path: Path
) -> None:
    async with running(tmp_path, chain, *PAYMENT_METHODS, max_downtime_s=MAX_DOWNTIME_S) as (deployment, run):
        journal = run.fresh_journal()
        async with asyncio.TaskGroup() as group:
            flows = group.create_task(run.level(WORKERS, journal))
            group.create_task(kill(deployment, journal, moments()))
        level = flows.result()

    assert level.ok, shown(level)
    assert entries(tmp_path) == {("payment_detected", 1): WORKERS, ("hold", 1): WORKERS, ("release", 1): WORKERS}


def moments() -> list[int]:
    """Return after how many answers something is killed: at moments that every run comes to, however fast it is."""
    chance = random.Random(SEED)
    return sorted(chance.randrange(1, FEWEST_ANSWERS * WORKERS) for _ in range(KILLS))


async def kill(deployment: Deployment, journal: Journal, answered: list[int]) -> None:
    """Kill the daemons in turn and start them again, each time when so many calls were answered."""
    victims = [deployment.scanner, deployment.marketplace]
    for turn, moment in enumerate(answered):
        await journal.until(moment)
        await victims[turn % 2].kill()
        await victims[turn % 2].start()


def entries(folder: Path) -> Counter[tuple[str, int]]:
    """Count the payments that have so many ledger lines of each kind."""
    lines = "SELECT entry_type, count(*) FROM funds_ledger_entries GROUP BY payment_id, entry_type"
    with sqlite3.connect(folder / "marketplace.db") as store:
        return Counter((kind, count) for kind, count in store.execute(lines))
