"""Starts the daemon again whenever it ends, as the laboratory's supervisor does, inside one loop."""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import io
import random
import sqlite3
import traceback
from collections.abc import AsyncIterator, Callable, Mapping
from contextlib import AbstractAsyncContextManager, asynccontextmanager, suppress
from contextvars import copy_context
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import aiohttp

from config.settings import load_settings
from kernel.errors import ConfigError, StoreError
from kernel.process import EXIT_FIX, EXIT_RESTART, maintain, refused
from scanner.app import open_daemon
from scanner.store import maintenance
from tests.harness import Api
from tests.simulation.loop import PROCESS, SimLoop, SimProcess
from tests.simulation.machine import Disk

PAUSE_S = 0.3
SPARE_PAGES = 2
DEATH_STEPS = 400  # a process dies within so many steps of the moment that was drawn
KILLED = -9
DOUBT = "either this host's clock or the endpoint is wrong"  # as the scanner says it


@dataclass(frozen=True, slots=True)
class Program:
    """What runs as a process: a service, from the environment it is given."""

    name: str
    opened: Callable[[Mapping[str, str]], AbstractAsyncContextManager[Any]]
    maintained: Callable[[Mapping[str, str]], tuple[Any, Path, Any]]  # kind and file of its store, and its keys
    bugs: tuple[str, ...]  # what it says of its own
    port: str | None = None  # the variable that names it, when every start is to listen where the first one did
    described: bool = True


def _store_of_scanner(env: Mapping[str, str]) -> tuple[Any, Path, Any]:
    settings = load_settings(env)
    return maintenance.KIND, settings.store.path, settings.sealing


SCANNER = Program(
    "scanner", lambda env: open_daemon(load_settings(env)), _store_of_scanner, ("poll failed", "Traceback")
)


class NotedApi(Api):
    """The daemon's API, as a backend sees it; what was asked and answered is noted."""

    async def call(self, method: str, path: str, body: Any = None, **more: Any) -> tuple[int, Any]:
        status, answer = await super().call(method, path, body, **more)
        if method != "GET":
            about = body.get("intentId", "") if isinstance(body, dict) else ""
            asyncio.get_running_loop().note(f"{method} {path} {about}: {status}")  # type: ignore[attr-defined]
        return status, answer


class Instance:
    """One life of the daemon."""

    def __init__(self, process: SimProcess) -> None:
        self.process = process
        self.stop = asyncio.Event()
        self.ended: asyncio.Future[int] = asyncio.get_running_loop().create_future()
        self.daemon: Any = None
        self.url: str | None = None
        process.on_death.append(self._killed)

    def _killed(self) -> None:
        if not self.ended.done():
            self.ended.set_result(KILLED)


class SimSupervisor:
    """Open with `supervised`."""

    def __init__(
        self,
        folder: Path,
        env: Mapping[str, str],
        session: aiohttp.ClientSession,
        seed: object,
        program: Program = SCANNER,
    ) -> None:
        self.unexpected_exits: list[str] = []
        self.anomalies: list[str] = []
        self.output: list[str] = []
        self.program = program
        self.name = program.name
        self.store = folder / f"{program.name}.db"
        self.lives = 0
        self.disk = Disk()
        self.current: Instance | None = None
        self._env = dict(env)
        self._session = session
        self._expected = False
        self._closing = False
        self._full = 0
        self._held = 0  # by how many others the store's write lock is held
        self._skew_s = 0
        self._passed_s = 0
        self._rng = random.Random(
            f"deaths of {seed}" if program.name == "scanner" else f"deaths of {program.name} {seed}"
        )

    @property
    def loop(self) -> SimLoop:
        loop = asyncio.get_running_loop()
        if not isinstance(loop, SimLoop):
            raise TypeError("this runs in a simulation alone")
        return loop

    @property
    def api(self) -> Api | None:
        running = self.current
        if running is None or running.url is None:
            return None
        return NotedApi(running.url, self._session, described=self.program.described)

    @property
    def hears(self) -> bool:
        """Whether every chain's time is known, and what was registered without it is dated anew."""
        running = self.current
        if running is None or running.url is None or running.daemon is None:
            return False
        workers = running.daemon.workers.values()
        return all(worker._chain_time() is not None and not worker._asked_blind for worker in workers)

    @property
    def doubts_time(self) -> bool:
        """
        Say whether a chain waits because its time is far ahead of the host's clock, and nobody else bears it out.

        Every expiry moves a chain's time by a minute here, and the other endpoint may be left alone for an hour for
        a lie: what is said then is what docs/rules.md promises, and nothing expires meanwhile.
        """
        if self.current is None or self.current.daemon is None:
            return False
        workers = self.current.daemon.workers.values()
        return any(said.startswith(DOUBT) for worker in workers for said in worker.condition().problems)

    async def keep(self) -> None:
        """Run the daemon until `stop`."""
        while not self._closing:
            self.lives += 1
            self._expected = False
            running = self.current = self._started(f"{self.name} {self.lives}")
            code = await running.ended
            self.current = None
            self._note(running, code)
            await asyncio.sleep(PAUSE_S)

    def _started(self, name: str) -> Instance:
        process = SimProcess(name)
        self._prepare(process)
        running = Instance(process)
        context = copy_context()
        context.run(PROCESS.set, process)
        self.loop.note(f"{name} starts")
        process.task = self.loop.create_task(self._run(running), name=name, context=context)  # type: ignore[attr-defined]
        return running

    def _prepare(self, process: SimProcess) -> None:
        process.disk, process.skew_s, process.passed_s = self.disk, self._skew_s, self._passed_s

    async def _run(self, running: Instance) -> None:
        code = 0
        try:
            async with self.program.opened(self._env) as daemon:
                running.daemon = daemon
                daemon.listening.add_done_callback(lambda listening: self._listens(running, listening.result()))
                await daemon.run(running.stop)
        except BaseException as exc:  # noqa: BLE001 - the end of a process, whatever it was
            code, said = end_of(exc)
            running.process.output.append(said)
        if not running.ended.done():
            running.ended.set_result(code)
        running.process.alive = False
        for undo in running.process.on_death:  # as the system does with what an ended process held
            undo()
        self.loop.network.forget(running.process)

    def _listens(self, running: Instance, url: str) -> None:
        running.url = url
        if self.program.port is not None:
            self._env[self.program.port] = url.rpartition(":")[2]

    def _note(self, ended: Instance, code: int) -> None:
        self.loop.note(f"{ended.process.name} ended with {code}")
        self.output += ended.process.output
        excused = (code == EXIT_FIX and self._full) or (code == EXIT_RESTART and self._held and ended.url is None)
        if not self._expected and not excused:
            self.unexpected_exits.append(f"ended with {code}: {''.join(ended.process.output[-1:])}")
        bugs = [line for line in ended.process.output if any(words in line for words in self.program.bugs)]
        self.anomalies += [f"a bug, in its own words: {line}" for line in bugs]

    def kill(self) -> None:
        """Let it die within the next steps it takes."""
        if self.current is not None:
            self._expected = True
            self.current.process.dies_in = self._rng.randrange(DEATH_STEPS)

    def terminate(self) -> None:
        if self.current is not None:
            self._expected = True
            self.current.stop.set()

    async def stop(self) -> None:
        self._closing = True
        running = self.current
        if running is None:
            self.anomalies.append(f"at the end no {self.program.name} was running")
            return
        self.terminate()
        async with asyncio.timeout(60):
            code = await running.ended
        if code != 0:
            self.anomalies.append(
                f"the last {self.program.name} ended with {code}: {''.join(running.process.output[-1:])}"
            )

    async def start_second(self) -> None:
        """Start another one on the same store: it has to refuse while the first one lives."""
        first = self.current
        if first is None or first.daemon is None:
            return
        second = self._started(f"second {self.program.name}")
        await asyncio.wait([second.ended, first.ended], timeout=60, return_when=asyncio.FIRST_COMPLETED)
        if not second.ended.done():
            self.loop.kill(second.process)
        said, code = "".join(second.process.output), await second.ended
        undisturbed = first is self.current and not first.ended.done() and first.process.alive
        if undisturbed and (code != EXIT_FIX or f"is in use by another {self.program.name}" not in said):
            self.anomalies.append(f"a second {self.program.name} ended with {code}: {said[-300:]}")

    async def inject(self, kind: str, seconds: float, size: int = 0) -> None:
        self.loop.note(f"fault of the process: {kind} for {seconds:.1f} s")
        match kind:
            case "kill":
                self.kill()
            case "terminate":
                self.terminate()
            case "second":
                await self.start_second()
            case "locked":
                async with self._locked():
                    await asyncio.sleep(seconds)
            case "disk_full":
                await self._fill(seconds)
            case _:
                raise ValueError(f"a process has no fault called {kind}")

    @asynccontextmanager
    async def _locked(self) -> AsyncIterator[None]:
        with contextlib.closing(sqlite3.connect(self.store, isolation_level=None)) as other:
            held = False
            with suppress(sqlite3.OperationalError):
                other.execute("BEGIN IMMEDIATE")
                held = True
                self._held += 1
            yield
            if held:
                other.execute("ROLLBACK")
                self._held -= 1

    async def _fill(self, seconds: float) -> None:
        self._full += 1
        self.disk.fill(spare_pages=SPARE_PAGES)
        await asyncio.sleep(seconds)
        self._full -= 1
        if not self._full:
            self.disk.clear()

    def skew(self, seconds: int) -> None:
        self.loop.note(f"the clock is off by {seconds} s")
        self._skew_s = seconds
        if self.current is not None:
            self.current.process.skew_s = seconds

    async def advance_clocks(self, seconds: int) -> None:
        """Let so much time pass at once, by every clock of the process: what it waits for goes on as it is."""
        self.loop.note(f"{seconds} s pass for the {self.program.name}")
        self._passed_s += seconds
        if self.current is not None:
            self.current.process.passed_s = self._passed_s

    async def check(self) -> None:
        """Look whether the store is whole, as the program's own `check` does."""
        asked = argparse.Namespace(command="check", path=None)
        said = io.StringIO()
        with contextlib.redirect_stdout(said), contextlib.redirect_stderr(said):
            code = maintain(asked, *self.program.maintained(self._env))
        if code != 0:
            self.anomalies.append(f"the store is not whole: {said.getvalue()}")


def end_of(exc: BaseException) -> tuple[int, str]:
    """Return with which code a process ends that serves, and what it says."""
    if isinstance(exc, ConfigError | StoreError):
        said = io.StringIO()
        with contextlib.redirect_stderr(said):
            code = refused(exc, serving=True)
        return code, said.getvalue()
    return EXIT_RESTART, f"ended with {exc!r}\n{_innermost(exc)}\n"


def _innermost(exc: BaseException) -> str:
    while isinstance(exc, BaseExceptionGroup):
        exc = exc.exceptions[0]
    return "".join(traceback.format_exception(exc)[-4:])


@asynccontextmanager
async def supervised(
    folder: Path, env: Mapping[str, str], session: aiohttp.ClientSession, seed: int, program: Program = SCANNER
) -> AsyncIterator[Any]:
    """Keep a daemon running until the block ends."""
    supervisor = SimSupervisor(folder, env, session, seed, program)
    keeping = asyncio.create_task(supervisor.keep(), name=f"supervisor of the {program.name}")
    try:
        yield supervisor
    finally:
        if not keeping.done():
            keeping.cancel()
        await asyncio.wait([keeping])
