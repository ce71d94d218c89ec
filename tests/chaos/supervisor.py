"""A supervisor of a daemon, and the faults of its process, its store and its clock."""

from __future__ import annotations

import asyncio
import resource
import signal
import sqlite3
import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, closing, suppress
from pathlib import Path
from typing import Any, Protocol

import aiohttp

from tests.harness import ROOT, Api, Process, process

PAUSE_S = 0.3  # before a start
REFUSAL_S = 60  # a start is slow where much is going on
GROWTH_BYTES = 8192  # what a full disk still takes


class Marketplace(Protocol):
    """What the laboratory does with whatever keeps marketplaces running."""

    unexpected_exits: list[str]
    anomalies: list[str]
    output: list[str]

    @property
    def api(self) -> Api | None:
        """Where one answers now; None while none does."""

    def terminate(self) -> None:
        """Ask what runs to end, as an operator does; it is started again."""

    async def stop(self) -> None:
        """End what runs for good; it has to be clean."""

    async def inject(self, kind: str, seconds: float, size: int = 0) -> None:
        """Inject a fault; one that lasts is over after so many seconds."""

    async def advance_clocks(self, seconds: int) -> None:
        """Let so much time pass at once, by every clock."""


class Supervision(Protocol):
    """What the laboratory does with whatever keeps scanners running."""

    unexpected_exits: list[str]
    anomalies: list[str]
    output: list[str]

    @property
    def api(self) -> Api | None:
        """Where a scanner answers now; None while none does."""

    def terminate(self) -> None:
        """Ask what runs to end, as an operator does; it is started again."""

    async def stop(self) -> None:
        """End what runs for good; it has to be clean."""

    async def check(self) -> None:
        """Look whether the store is whole."""

    def skew(self, seconds: int) -> None:
        """Put a scanner's wall clock off by so much, at once."""

    async def inject(self, kind: str, seconds: float, size: int = 0) -> None:
        """Inject a fault; one that lasts is over after so many seconds."""


class Supervisor:
    """Starts the scanner (or the daemon of another module) again whenever it ends. Open with `kept`."""

    def __init__(
        self,
        folder: Path,
        env: dict[str, str],
        session: aiohttp.ClientSession,
        *,
        module: str = "scanner",
        port: str | None = None,  # the variable that names it, when every start is to listen where the first one did
        bugs: tuple[str, ...] = ("poll failed",),
    ) -> None:
        self.unexpected_exits: list[str] = []  # ends nobody asked for, with the last words
        self.anomalies: list[str] = []
        self.output: list[str] = []  # everything the scanners logged
        self.store = folder / f"{module}.db"
        self._module = module
        self._port = port
        self._bugs = bugs
        self._clock = folder / f"{module}.clock"
        self._env = {
            **env,
            "CHAOS_CLOCK": str(self._clock),
            "PYTHONPATH": f"{ROOT / 'tests' / 'chaos' / 'skew'}:{ROOT}",
        }
        self._session = session
        self._current: Process | None = None
        self._expected = False  # the next end is our doing
        self._closing = False
        self._full = 0
        self._set_by = 0  # seconds, of the wall clock
        self._passed = 0  # seconds that no clock has seen but the daemon's own
        self.skew(0)

    @property
    def api(self) -> Api | None:
        return None if self._current is None else self._current.api

    async def keep(self) -> None:
        """Run the scanner until `stop`."""
        while not self._closing:
            try:
                async with process(self._env, self._session, self._module) as running:
                    self._expected, self._current = False, running
                    if self._port is not None:
                        self._env[self._port] = running.api.url.rpartition(":")[2]
                    if self._full:
                        self._limit(running)
                    await running.process.wait()
                self._note(running)
            except (AssertionError, TimeoutError) as exc:  # it ended, or never listened
                self.unexpected_exits.append(str(exc)[-800:] or "it did not start in time")
            finally:
                self._current = None
            await asyncio.sleep(PAUSE_S)

    def _note(self, ended: Process) -> None:
        self.output += ended.output
        if not self._expected:
            self.unexpected_exits.append(f"ended with {ended.process.returncode}: {''.join(ended.output[-12:])}")
        bugs = [line for line in ended.output if any(words in line for words in self._bugs)]
        self.anomalies += [f"a bug, in its own words: {line}" for line in bugs]

    def kill(self) -> None:
        """End it without a chance to do anything about it."""
        self._signal(signal.SIGKILL)

    def terminate(self) -> None:
        """Ask it to end, as an operator does."""
        self._signal(signal.SIGTERM)

    def _signal(self, number: signal.Signals) -> None:
        if self._current is not None:
            self._expected = True
            with suppress(ProcessLookupError):
                self._current.process.send_signal(number)

    async def stop(self) -> None:
        """End it for good; it has to be clean."""
        self._closing = True
        running = self._current
        if running is None:
            self.anomalies.append(f"at the end no {self._module} was running")
            return
        self.terminate()
        async with asyncio.timeout(60):
            code = await running.process.wait()
        if code != 0:
            self.anomalies.append(f"the last {self._module} ended with {code}: {''.join(running.output[-12:])}")

    async def start_second(self) -> None:
        """Start another one on the same store: it has to refuse while the first one lives."""
        first = self._current
        if first is None:
            return
        null, pipe = asyncio.subprocess.DEVNULL, asyncio.subprocess.PIPE
        another = await asyncio.create_subprocess_exec(
            sys.executable, "-m", self._module, cwd=ROOT, env=self._env, stdout=null, stderr=pipe
        )
        refusal = asyncio.create_task(another.communicate())
        death = asyncio.create_task(first.process.wait())  # then the store is free, and the second one may have it
        await asyncio.wait([refusal, death], timeout=REFUSAL_S, return_when=asyncio.FIRST_COMPLETED)
        if not refusal.done():
            another.kill()
        _, errors = await refusal
        death.cancel()
        undisturbed = first is self._current and first.process.returncode is None
        sentence = f"is in use by another {self._module}"
        if undisturbed and (another.returncode != 1 or sentence not in errors.decode()):
            self.anomalies.append(f"a second {self._module} ended with {another.returncode}: {errors.decode()[-300:]}")

    @asynccontextmanager
    async def locked(self) -> AsyncIterator[None]:
        """Hold the store's write lock from another connection until the block ends."""
        held = False
        with closing(sqlite3.connect(self.store, timeout=0.2, isolation_level=None)) as other:
            with suppress(sqlite3.OperationalError):  # the scanner was writing: then it is not locked this time
                other.execute("BEGIN IMMEDIATE")
                held = True
            yield
            if held:
                other.execute("ROLLBACK")

    @asynccontextmanager
    async def full_disk(self) -> AsyncIterator[None]:
        """Let no file of the scanner grow until the block ends."""
        self._full += 1
        if self._current is not None:
            self._limit(self._current)
        try:
            yield
        finally:
            self._full -= 1
            if self._current is not None and not self._full:
                self._set_limit(self._current, resource.RLIM_INFINITY)

    def _limit(self, running: Process) -> None:
        sizes = [file.stat().st_size for file in self.store.parent.glob(f"{self.store.name}*")]
        self._set_limit(running, max(sizes, default=0) + GROWTH_BYTES)

    def _set_limit(self, running: Process, most: int) -> None:
        with suppress(ProcessLookupError):
            resource.prlimit(running.process.pid, resource.RLIMIT_FSIZE, (most, resource.RLIM_INFINITY))

    async def inject(self, kind: str, seconds: float, size: int = 0) -> None:
        """Inject a fault of the process or its store; one that lasts is over after so many seconds."""
        match kind:
            case "kill":
                self.kill()
            case "terminate":
                self.terminate()
            case "second":
                await self.start_second()
            case "locked":
                async with self.locked():
                    await asyncio.sleep(seconds)
            case "disk_full":
                async with self.full_disk():
                    await asyncio.sleep(seconds)
            case _:
                raise ValueError(f"a process has no fault called {kind}")

    def skew(self, seconds: int) -> None:
        """Put the scanner's wall clock off by so much, at once."""
        self._set_by = seconds
        self._set_clocks()

    async def advance_clocks(self, seconds: int) -> None:
        """Let so much time pass at once, by every clock of the daemon."""
        self._passed += seconds
        self._set_clocks()

    def _set_clocks(self) -> None:
        draft = self._clock.with_suffix(".new")
        draft.write_text(f"{self._set_by} {self._passed}")
        draft.replace(self._clock)

    async def check(self) -> None:
        """Run `python -m scanner check` on the store."""
        checking = await asyncio.create_subprocess_exec(
            sys.executable, "-m", "scanner", "check", cwd=ROOT, env=self._env, stdout=asyncio.subprocess.PIPE
        )
        text, _ = await checking.communicate()
        if checking.returncode != 0:
            self.anomalies.append(f"the store is not whole: {text.decode()}")


@asynccontextmanager
async def supervised(
    folder: Path, env: dict[str, str], session: aiohttp.ClientSession, **more: Any
) -> AsyncIterator[Supervisor]:
    """Keep a daemon running until the block ends; `more` as for `Supervisor`."""
    supervisor = Supervisor(folder, env, session, **more)
    supervision = asyncio.create_task(supervisor.keep())
    try:
        yield supervisor
    finally:
        if not supervision.done():
            supervision.cancel()
        await asyncio.wait([supervision])
