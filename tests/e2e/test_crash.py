"""
SIGKILL at any moment: the set of delivered events equals the set of payments, each settled once.

`CRASH_KILLS` and `CRASH_PAYMENTS` set the size; `CRASH_SEED` repeats a run.
"""

from __future__ import annotations

import asyncio
import os
import random
import sqlite3
from collections import Counter
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import aiohttp
import pytest

from devnet.anvil import Anvil
from devnet.receiver import Receiver
from scanner.store.database import Database
from tests.harness import MERCHANT, SECRET, USDT, Api, environment, intent_body, process, running

pytestmark = [pytest.mark.anvil, pytest.mark.process]

KILLS = int(os.environ.get("CRASH_KILLS", "12"))
PAYMENTS = int(os.environ.get("CRASH_PAYMENTS", "100"))
SEED = int(os.environ.get("CRASH_SEED", "7"))


def rows(folder: Path, sql: str) -> list[tuple[Any, ...]]:
    with sqlite3.connect(folder / "scanner.db") as store:
        return store.execute(sql).fetchall()


class Shop:
    """A backend that keeps registering and a buyer who keeps paying, whatever happens to the scanner."""

    def __init__(self, chain: Anvil, hooks: Receiver, session: aiohttp.ClientSession) -> None:
        self._chain = chain
        self._hooks = hooks
        self._session = session
        self.url = ""
        self.paid: dict[str, str] = {}

    async def sell(self, count: int, chance: random.Random) -> None:
        for i in range(count):
            reference = await self._register(f"order-{i}")
            tx = await self._chain.pay(USDT, MERCHANT, 1000 + i, reference)
            self.paid[f"order-{i}"] = tx
            if chance.random() < 0.5:
                await self._chain.mine(1)

    async def _register(self, intent_id: str) -> str:
        """Register until it is acknowledged: the same request again is harmless."""
        body = intent_body(intentId=intent_id, amount=str(1000 + int(intent_id[6:])), callbackUrl=self._hooks.url())
        while True:
            try:
                async with asyncio.timeout(5):
                    status, answer = await Api(self.url, self._session).call("POST", "/intents", body)
            except (aiohttp.ClientError, TimeoutError):
                await asyncio.sleep(0.05)
                continue
            assert status == 200, answer
            return str(answer["paymentReference"])


@asynccontextmanager
async def shop(chain: Anvil, hooks: Receiver) -> AsyncIterator[Shop]:
    async with aiohttp.ClientSession() as session:
        yield Shop(chain, hooks, session)


@pytest.mark.timeout(3600)
async def test_killed_at_random_moments_nothing_is_missed_invented_or_doubled(
    chain: Anvil, hooks: Receiver, tmp_path: Path
) -> None:
    chance = random.Random(SEED)
    env = environment(tmp_path, chain.url, LOG_LEVEL="warning")
    env["LOG_LEVEL"] = "info"  # its URL is a log line
    async with shop(chain, hooks) as backend, aiohttp.ClientSession() as session:
        selling: asyncio.Task[None] | None = None
        for _ in range(KILLS):
            async with process(env, session) as scanner:
                backend.url = scanner.api.url
                selling = selling or asyncio.create_task(backend.sell(PAYMENTS, chance))
                await asyncio.sleep(chance.uniform(0.0, 1.2))  # the moment of the kill is what is random here
                await scanner.kill()
        assert selling is not None
        async with process(env, session) as scanner:
            backend.url = scanner.api.url
            await selling
            await chain.mine(6)
            await hooks.wait_until(lambda: len(confirmed(hooks)) >= PAYMENTS, 60)
            await settled_for_good(tmp_path)
            assert await scanner.terminate() == 0

    assert confirmed(hooks) == backend.paid
    assert all(d.verified(SECRET) for d in hooks.distinct.values())
    assert rows(tmp_path, "SELECT count(*) FROM intents WHERE status = 'confirmed'") == [(PAYMENTS,)]
    assert rows(tmp_path, "SELECT count(*), sum(counted), sum(settled) FROM transfers") == [(PAYMENTS,) * 3]
    per_intent = Counter(d.json["intentId"] for d in hooks.distinct.values())
    assert set(per_intent.values()) == {1}


def confirmed(hooks: Receiver) -> dict[str, str]:
    return {d.json["intentId"]: d.json["txHash"] for d in hooks.distinct.values()}


async def settled_for_good(folder: Path) -> None:
    """Wait until every delivery is written down."""
    async with asyncio.timeout(60):
        while rows(folder, "SELECT count(*) FROM events WHERE status != 'delivered'") != [(0,)]:  # noqa: ASYNC110
            await asyncio.sleep(0.05)


class Killed(BaseException):
    """The process ends here, as far as the store can tell."""


class Guillotine:
    """Ends the daemon at its n-th write, before or after the commit."""

    def __init__(self, at: int, *, after_commit: bool) -> None:
        self.writes = 0
        self._at = at
        self._after = after_commit
        self._write = Database.write

    def install(self, patch: pytest.MonkeyPatch) -> None:
        guillotine = self

        @asynccontextmanager
        async def write(database: Database) -> AsyncIterator[Any]:
            guillotine.writes += 1
            fatal = guillotine.writes == guillotine._at
            async with guillotine._write(database) as tx:
                yield tx
                if fatal and not guillotine._after:
                    raise Killed
            if fatal:
                raise Killed

        patch.setattr(Database, "write", write)


async def story(chain: Anvil, hooks: Receiver, env: dict[str, str]) -> None:
    """Register, pay, confirm, deliver; what was done before is found done."""
    async with running(env) as scanner:
        status, answer = await scanner.api.call(
            "POST", "/intents", intent_body(intentId="order-1", callbackUrl=hooks.url())
        )
        assert status == 200, answer
        view = await scanner.api.intent("order-1")
        if not view["transfers"] and not getattr(chain, "was_paid", False):
            await chain.pay(USDT, MERCHANT, 1000, answer["paymentReference"])
            chain.was_paid = True  # type: ignore[attr-defined]
            await chain.mine(5)
        await scanner.api.until("order-1", lambda intent: intent["webhookDeliveredAt"] is not None, 10)


async def run_until_killed(chain: Anvil, hooks: Receiver, env: dict[str, str]) -> bool:
    """Run the story; say whether it was cut short."""
    try:
        await story(chain, hooks, env)
    except BaseException as exc:
        if isinstance(exc, AssertionError | TimeoutError | aiohttp.ClientError) or _has(exc, Killed):
            return True
        raise
    return False


def _has(exc: BaseException, kind: type[BaseException]) -> bool:
    if isinstance(exc, BaseExceptionGroup):
        return any(_has(inner, kind) for inner in exc.exceptions)
    return isinstance(exc, kind)


@pytest.mark.parametrize("after_commit", [False, True], ids=["before the commit", "after the commit"])
@pytest.mark.parametrize("at", range(1, 9))
async def test_killed_at_a_write_the_story_ends_the_same(
    chain: Anvil, hooks: Receiver, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, at: int, after_commit: bool
) -> None:
    env = environment(tmp_path, chain.url)
    with monkeypatch.context() as patch:
        guillotine = Guillotine(at, after_commit=after_commit)
        guillotine.install(patch)
        await run_until_killed(chain, hooks, env)
    await story(chain, hooks, env)

    (delivery,) = hooks.distinct.values()
    assert delivery.json["intentId"] == "order-1"
    assert rows(tmp_path, "SELECT status, amount_received FROM intents") == [("confirmed", "1000")]
    assert rows(tmp_path, "SELECT counted, settled, reason FROM transfers") == [(1, 1, None)]
    assert rows(tmp_path, "SELECT status FROM events") == [("delivered",)]
