"""What tests build on: the real daemon, in this process or as one of its own, and a clock they own."""

from __future__ import annotations

import asyncio
import functools
import itertools
import signal
import tempfile
import time
from collections.abc import AsyncIterator, Callable, Mapping
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import aiohttp
import orjson

from config.settings import load_settings
from devnet.evm.anvil import CHAIN_ID, Anvil
from kernel.store.database import Database
from kernel.store.postgresql import PostgresDatabase, PostgresSettings, open_postgresql
from protocol.wire import rfc3339
from scanner.app import Daemon, open_daemon
from scanner.store.migrate import SCHEMA, migrate, migrate_postgresql
from tests import postgres
from tests.described import check_described
from tests.processes import ROOT, AnyProcess, start

USDT = "0x109F54Dab34426D5477986b0460aE5dFBA65f022"
USDC = "0x64544969ed7EBf5f083679233325356EbE738930"
MULTICALL = "0xcA11bde05977b3631167028862bE2a173976CA11"
SECRET = "a shared secret"
MERCHANT = "0x70e36f6BF80a52b3B46b3aF8e106CC0ed743E8e4"
SHORTEST_PAUSE_S, LONGEST_PAUSE_S = 0.01, 0.2  # between two questions: who asks all the time slows down who works
_ids = itertools.count(1)


class FakeClock:
    """A wall clock that moves when told to; it starts at the chain's time, which is the machine's."""

    def __init__(self, now_ms: int | None = None) -> None:
        self._now = int(time.time() * 1000) if now_ms is None else now_ms
        self._ahead = 0  # of the wall clock, since it was set
        self._elapsed = 0
        self._sleepers: list[tuple[int, asyncio.Event]] = []

    def now_ms(self) -> int:
        return self._now

    def wall_ms(self) -> int:
        return self._now + self._ahead

    def elapsed_ms(self) -> int:
        return self._elapsed

    def follow(self, step_ms: int) -> None:
        self._now += step_ms
        self._ahead -= step_ms

    def set(self, seconds: float) -> None:
        """Set the wall clock forward by so much, or back; what is slept goes on as it was."""
        self._ahead += round(seconds * 1000)

    def advance(self, seconds: float) -> None:
        self._now += round(seconds * 1000)
        self._elapsed += round(seconds * 1000)
        for until, event in self._sleepers:
            if until <= self._elapsed:
                event.set()

    async def sleep(self, seconds: float) -> None:
        event = asyncio.Event()
        self._sleepers.append((self._elapsed + round(seconds * 1000), event))
        await event.wait()


class Api:
    """The daemon's API as a backend sees it."""

    def __init__(
        self, url: str, session: aiohttp.ClientSession, key: str | None = None, *, described: bool = True
    ) -> None:
        """Without `described` answers are not compared with the description: it is not the scanner's API."""
        self.url = url
        self._described = described
        self._session = session
        self._headers = {"Authorization": f"Bearer {key}"} if key else {}

    async def call(self, method: str, path: str, body: Any = None, **more: Any) -> tuple[int, Any]:
        """Return the status and the JSON (or text) of an answer."""
        if body is not None:
            more["data"] = body if isinstance(body, bytes) else orjson.dumps(body)
        headers = self._headers | more.pop("headers", {})
        async with self._session.request(method, self.url + path, headers=headers, **more) as response:
            raw = await response.read()
            is_json = response.content_type == "application/json"
            if is_json and self._described:
                check_described(method, path, response.status, raw)
            return response.status, orjson.loads(raw) if is_json else raw.decode()

    async def get(self, path: str) -> Any:
        status, body = await self.call("GET", path)
        assert status == 200, body
        return body

    async def create(self, **fields: Any) -> dict[str, Any]:
        """Register an intent; everything that is not said is sensible."""
        status, body = await self.call("POST", "/intents", intent_body(**fields))
        assert status == 200, body
        return dict(body)

    async def intent(self, intent_id: str) -> dict[str, Any]:
        return dict((await self.get(f"/intents/{intent_id}"))["intent"])

    async def until(
        self, intent_id: str, condition: Callable[[dict[str, Any]], bool], timeout_s: float = 20
    ) -> dict[str, Any]:
        """Poll an intent over HTTP, as a backend would, until a condition holds."""
        intent: dict[str, Any] = {}
        pause = SHORTEST_PAUSE_S
        try:
            async with asyncio.timeout(timeout_s):
                while not condition(intent := await self.intent(intent_id)):
                    await asyncio.sleep(pause)  # a backend has no event to wait on either
                    pause = min(LONGEST_PAUSE_S, pause * 1.2)
        except TimeoutError:
            raise AssertionError(f"never happened; the intent is {intent}") from None
        return intent

    async def status_is(self, intent_id: str, status: str, timeout_s: float = 20) -> dict[str, Any]:
        return await self.until(intent_id, lambda intent: intent["status"] == status, timeout_s)

    async def unmatched(self, **query: Any) -> list[dict[str, Any]]:
        text = "&".join(f"{name}={value}" for name, value in query.items())
        return list((await self.get(f"/unmatched?{text}"))["unmatched"])

    async def reasons(self, intent_id: str | None = None) -> list[str]:
        """Return the reasons of unmatched transfers, of one intent if one is named."""
        rows = await self.unmatched()
        return sorted(row["reason"] for row in rows if intent_id is None or row["intentId"] == intent_id)

    async def chain(self, chain_id: int = CHAIN_ID) -> dict[str, Any]:
        chains = (await self.get("/scanner/status"))["chains"]
        return dict(next(chain for chain in chains if chain["chainId"] == chain_id))


def in_seconds(seconds: float) -> str:
    """Return a moment of the machine's time as the API reads it."""
    return rfc3339(int((time.time() + seconds) * 1000))


def intent_body(**fields: Any) -> dict[str, Any]:
    """Return a body that is accepted; `callbackUrl` has to be given by tests that read webhooks."""
    body = {
        "intentId": f"order-{next(_ids)}",
        "chainId": CHAIN_ID,
        "token": "USDT",
        "destination": MERCHANT,
        "amount": "1000",
        "callbackUrl": "http://127.0.0.1:9/hook",
        "callbackSecret": SECRET,
        **fields,
    }
    return {name: value for name, value in body.items() if value is not None}


def environment(folder: Path, rpc_url: str, **more: str) -> dict[str, str]:
    """Return the environment of a scanner for the local chain."""
    return {
        "DB_PATH": str(folder / "scanner.db"),
        "CHAINS_JSON_PATH": str(ROOT / "supported-chains.json"),
        "TOKENS_JSON_PATH": str(ROOT / "tokens.json"),
        "RPC_BSC_TESTNET": rpc_url,
        "SCANNER_ENABLED_CHAINS": str(CHAIN_ID),
        "PORT": "0",
        "POLL_INTERVAL_SEC": "0.05",
        "RPC_TIMEOUT_SEC": "5",
        "WEBHOOK_RETRY_DELAYS_SEC": "0.1,0.2,0.4",
        "SCANNER_NODE_ID": "node-1",
        **more,
    }


@dataclass(slots=True)
class Running:
    """A daemon that runs in this process."""

    daemon: Daemon
    api: Api
    stop: asyncio.Event

    @property
    def database(self) -> Database:
        return self.daemon.database

    @property
    def worker(self) -> Any:
        return next(iter(self.daemon.workers.values()))


@functools.cache
def empty_store() -> bytes:
    """Return a store of this version with nothing in it: the migrations take longer than most tests."""
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "scanner.db"
        migrate(path)
        return path.read_bytes()


@asynccontextmanager
async def empty_database(server: postgres.Server) -> AsyncIterator[PostgresDatabase]:
    """Open a store of this version on PostgreSQL, with nothing in it."""
    template = await server.template("scanner", _migrated)
    async with server.database(template) as url, open_postgresql(database_at(url)) as opened:
        yield opened


def database_at(url: str) -> PostgresSettings:
    return PostgresSettings(url=url, schema=SCHEMA, setting="DATABASE_URL")


async def _migrated(url: str) -> None:
    await migrate_postgresql(database_at(url))


@asynccontextmanager
async def running(env: Mapping[str, str], *, clock: Any = None) -> AsyncIterator[Running]:
    """Run the daemon in this process until the block ends."""
    settings = load_settings(env)
    if settings.store.url is None and not settings.store.path.exists():
        settings.store.path.write_bytes(await asyncio.to_thread(empty_store))
    stop = asyncio.Event()
    async with open_daemon(settings, clock=clock) as daemon:
        task = asyncio.create_task(daemon.run(stop))
        try:
            await asyncio.wait([task, daemon.listening], return_when=asyncio.FIRST_COMPLETED)
            if task.done():
                task.result()
            async with aiohttp.ClientSession() as session:
                key = settings.http.api_keys[0].get_secret_value() if settings.http.api_keys else None
                yield Running(daemon, Api(daemon.listening.result(), session, key), stop)
        finally:
            stop.set()
            await task


@dataclass(slots=True)
class Process:
    """A daemon that runs as a process of its own, to be killed."""

    process: AnyProcess
    api: Api
    output: list[str] = field(default_factory=list)

    async def kill(self) -> None:
        """End it without a chance to do anything about it."""
        with suppress(ProcessLookupError):
            self.process.send_signal(signal.SIGKILL)
        await self.process.wait()

    async def terminate(self) -> int:
        """Ask it to stop and return its exit code."""
        with suppress(ProcessLookupError):
            self.process.send_signal(signal.SIGTERM)
        return await self.process.wait()


@asynccontextmanager
async def process(
    env: Mapping[str, str],
    session: aiohttp.ClientSession,
    module: str = "scanner",
    *arguments: str,
    descriptors: int | None = None,
    afresh: bool = False,
) -> AsyncIterator[Process]:
    """Start `python -m <module>` and wait until it listens; it is gone when the block ends."""
    started = await start(module, *arguments, env=env, descriptors=descriptors, afresh=afresh)
    async with listening(started, session, described=module == "scanner") as found:
        yield found


@asynccontextmanager
async def listening(
    started: AnyProcess, session: aiohttp.ClientSession, *, described: bool = True
) -> AsyncIterator[Process]:
    """Wait until a process says where it listens; it is gone when the block ends."""
    reader: asyncio.Task[None] | None = None
    try:
        lines: list[str] = []
        url = await _url_of(started, lines)
        found = Process(started, Api(url, session, described=described), lines)
        reader = asyncio.create_task(_drain(started, lines))
        yield found
    finally:
        with suppress(ProcessLookupError):
            started.kill()
        await started.wait()
        if reader is not None:
            await reader


async def _url_of(started: AnyProcess, lines: list[str]) -> str:
    assert started.stdout is not None
    async with asyncio.timeout(60):
        async for raw in started.stdout:
            line = raw.decode()
            lines.append(line)
            if "listening on" in line:
                return line.split("listening on ")[1].split()[0]
    raise AssertionError(f"the daemon did not start: {''.join(lines)}")


async def _drain(started: AnyProcess, lines: list[str]) -> None:
    assert started.stdout is not None
    while raw := await started.stdout.readline():
        lines.append(raw.decode())


async def prepared(chain: Anvil) -> Anvil:
    """Give the local chain the registry's tokens."""
    await chain.token("USDT", 18, at=USDT)
    await chain.token("USDC", 18, at=USDC)
    await chain.place("Multicall3", MULTICALL)
    await chain.fund(USDT, chain.accounts[1])
    await chain.mine(20)
    return chain
