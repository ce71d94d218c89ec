"""What the crash tests of every family share: a shop that never gives up, kills at any moment, and the reckoning."""

from __future__ import annotations

import asyncio
import os
import random
import sqlite3
from collections import Counter
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import aiohttp
import pytest

from devnet.receiver import Receiver
from kernel.store.database import SqliteDatabase
from tests.harness import SECRET, Api, intent_body, process

SEED = int(os.environ.get("CRASH_SEED", "7"))

Answer = dict[str, Any]


@dataclass(frozen=True, slots=True)
class Size:
    """How often the daemon is killed while so many payments are made."""

    kills: int
    payments: int


def of_size(usual: Size) -> Any:
    """
    Run a test in this size, among the long tests; `CRASH_KILLS` and `CRASH_PAYMENTS` change it.

    The simulator kills the daemon between any two steps, in less time: here a real process dies on a real disk.
    """
    asked = Size(int(os.environ.get("CRASH_KILLS", usual.kills)), int(os.environ.get("CRASH_PAYMENTS", usual.payments)))
    return pytest.mark.parametrize("size", [pytest.param(asked, id="whole", marks=pytest.mark.long)])


def rows(folder: Path, sql: str) -> list[tuple[Any, ...]]:
    with sqlite3.connect(folder / "scanner.db") as store:
        return store.execute(sql).fetchall()


class CrashShop:
    """
    A backend that keeps registering and a buyer who keeps paying, whatever happens to the scanner.

    `order` tells what is special about an intent, `pay` pays it and returns the transaction.
    """

    def __init__(
        self,
        session: aiohttp.ClientSession,
        hooks: Receiver,
        *,
        order: Callable[[int], dict[str, Any]],
        pay: Callable[[int, Answer], Awaitable[str]],
    ) -> None:
        self._session = session
        self._hooks = hooks
        self._order = order
        self._pay = pay
        self.url = ""
        self.paid: dict[str, str] = {}

    async def sell(self, count: int) -> None:
        for i in range(count):
            self.paid[f"order-{i}"] = await self._pay(i, await self._register(i))

    async def _register(self, i: int) -> Answer:
        """Register until it is acknowledged: the same request again is harmless."""
        body = intent_body(intentId=f"order-{i}", callbackUrl=self._hooks.url(), **self._order(i))
        return await acknowledged(lambda: Api(self.url, self._session), body)


async def acknowledged(api: Callable[[], Api], body: dict[str, Any]) -> Answer:
    """Register at wherever the scanner is now, until it answers."""
    while True:
        try:
            async with asyncio.timeout(5):
                status, answer = await api().call("POST", "/intents", body)
        except (aiohttp.ClientError, TimeoutError):
            await asyncio.sleep(0.05)  # a killed process has no event for its return
            continue
        assert status == 200, answer
        return dict(answer)


async def kill_at_random(
    folder: Path,
    env: dict[str, str],
    hooks: Receiver,
    size: Size,
    *,
    chance: random.Random,
    order: Callable[[int], dict[str, Any]],
    pay: Callable[[int, Answer], Awaitable[str]],
    bury: Callable[[], Awaitable[None]],
) -> None:
    """Sell while the daemon is killed again and again; then nothing may be missed, invented or doubled."""
    async with aiohttp.ClientSession() as session:
        shop = CrashShop(session, hooks, order=order, pay=pay)
        selling: asyncio.Task[None] | None = None
        for _ in range(size.kills):
            async with process(env, session) as scanner:
                shop.url = scanner.api.url
                selling = selling or asyncio.create_task(shop.sell(size.payments))
                await asyncio.sleep(chance.uniform(0.0, 1.2))  # the moment of the kill is what is random here
                await scanner.kill()
        assert selling is not None
        async with process(env, session) as scanner:
            shop.url = scanner.api.url
            await selling
            await bury()
            await hooks.wait_until(lambda: len(confirmed(hooks)) >= size.payments, 60)
            await settled_for_good(folder)
            assert await scanner.terminate() == 0
    reckon(folder, hooks, shop.paid)


def reckon(folder: Path, hooks: Receiver, paid: dict[str, str]) -> None:
    """Compare what was reported and what is stored with what was paid."""
    count = len(paid)
    assert confirmed(hooks) == paid
    assert all(d.verified(SECRET) for d in hooks.distinct.values())
    assert rows(folder, "SELECT count(*) FROM intents WHERE status = 'confirmed'") == [(count,)]
    assert rows(folder, "SELECT count(*), sum(counted), sum(settled) FROM transfers") == [(count,) * 3]
    per_intent = Counter(d.json["intentId"] for d in hooks.distinct.values())
    assert set(per_intent.values()) == {1}


def confirmed(hooks: Receiver) -> dict[str, str]:
    return {d.json["intentId"]: d.json["txHash"] for d in hooks.distinct.values()}


async def settled_for_good(folder: Path) -> None:
    """Wait until every delivery is written down."""
    async with asyncio.timeout(60):
        while rows(folder, "SELECT count(*) FROM events WHERE status != 'delivered'") != [(0,)]:  # noqa: ASYNC110
            await asyncio.sleep(0.05)  # another process writes it


class Killed(BaseException):
    """The process ends here, as far as the store can tell."""


class CrashInjector:
    """Ends the daemon at its n-th write, before or after the commit."""

    def __init__(self, at: int, *, after_commit: bool) -> None:
        self.writes = 0
        self._at = at
        self._after = after_commit
        self._write = SqliteDatabase.write

    def install(self, patch: pytest.MonkeyPatch) -> None:
        injector = self

        @asynccontextmanager
        async def write(database: SqliteDatabase) -> AsyncIterator[Any]:
            injector.writes += 1
            fatal = injector.writes == injector._at
            async with injector._write(database) as tx:
                yield tx
                if fatal and not injector._after:
                    raise Killed
            if fatal:
                raise Killed

        patch.setattr(SqliteDatabase, "write", write)


async def is_killed(story: Awaitable[None]) -> bool:
    """Run a story; say whether it was cut short."""
    try:
        await story
    except BaseException as exc:
        if isinstance(exc, AssertionError | TimeoutError | aiohttp.ClientError) or _has(exc, Killed):
            return True
        raise
    return False


def _has(exc: BaseException, kind: type[BaseException]) -> bool:
    if isinstance(exc, BaseExceptionGroup):
        return any(_has(inner, kind) for inner in exc.exceptions)
    return isinstance(exc, kind)
