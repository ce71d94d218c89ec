"""
An event loop whose time is virtual and whose order is a seed's.

When nothing is ready the clock jumps to the next timer. Whenever several tasks could go on, the seed says which:
asyncio's own order, or another that a slower machine would have made. Callbacks that are no task's keep their order,
which asyncio promises. Every step belongs to a simulated process, or to the world around them; steps of a process
that has died are never taken, so that a death runs no `finally`, as a real one runs none.
"""

from __future__ import annotations

import asyncio
import heapq
import itertools
import random
import zlib
from collections import deque
from collections.abc import Callable
from contextvars import Context, ContextVar
from typing import Any

from tests.simulation.network import Network

STEP_S = 0.000_02  # what a step takes: work is never free, and what only waits for the clock gets on
MOST_STEPS = 60_000_000
REORDERED = 0.25  # of the steps at which more than one could be taken
NOTES = 50
LONGEST_S = 7200.0
START_S = 1000.0  # by the stopwatch


class Stuck(Exception):
    """Nothing is ready and nothing is due: what is awaited never happens."""


class Endless(Exception):
    """A run took more steps than any run should."""


class SimProcess:
    """What runs as one process: it can die between any two steps."""

    def __init__(self, name: str) -> None:
        self.name = name
        self.alive = True
        self.skew_s = 0.0  # of its wall clock
        self.passed_s = 0.0  # by all its clocks, while nothing of it ran
        self.output: list[str] = []
        self.dies_in: int | None = None  # steps
        self.steps = 0
        self.on_death: list[Callable[[], object]] = []  # what the machine does about what it held
        self.disk: Any = None  # what its store is on (see `machine`)
        self.way: Any = None  # to the database that it shares with others (see `shared_store`)
        self.connections: list[Any] = []  # to any store
        self.paused = False  # it does nothing, and goes on later as if nothing had been
        self.stops: asyncio.Event | None = None  # set when it is paused in place of a death
        self.held: list[asyncio.Handle] = []  # what it would do meanwhile

    def __repr__(self) -> str:
        return self.name


PROCESS: ContextVar[SimProcess | None] = ContextVar("process", default=None)


class SimFuture(asyncio.Future):  # type: ignore[type-arg]
    """One whose place in a set does not follow from its address."""

    _number = 0  # given when it is asked for: few are ever in a set

    def __hash__(self) -> int:
        if not self._number:
            self._number = next(self.get_loop().numbers)  # type: ignore[attr-defined]
        return self._number


class SimTask(asyncio.Task):  # type: ignore[type-arg]
    """One whose place in a set does not follow from its address, and that knows its process."""

    _number = 0

    def __init__(self, *args: Any, context: Context | None = None, **kw: Any) -> None:
        self.process = PROCESS.get() if context is None else context.get(PROCESS)
        super().__init__(*args, context=context, **kw)
        coro = self.get_coro()
        self.mark = zlib.crc32(getattr(coro, "__qualname__", type(coro).__name__).encode())

    __hash__ = SimFuture.__hash__


class SimLoop(asyncio.BaseEventLoop):
    """One run's loop; `rng` is the chance of everything below the processes."""

    def __init__(self, seed: int) -> None:
        super().__init__()
        self.rng = random.Random(f"loop of {seed}")
        self.network = Network(self)
        self.steps = 0
        self.trace = 0  # of every step so far
        self.notes: deque[str] = deque(maxlen=NOTES)  # the newest of what people would want to know of the run
        self.folder = "/dev/null"  # where the run's files are
        self.said: Callable[[str], object] | None = None  # who wants to hear all of them
        self.checks: list[Callable[[], None]] = []  # made whenever the clock jumps
        self.on_commit: list[Callable[[], None]] = []  # made whenever a transaction was committed
        self.numbers = itertools.count(1)  # of tasks and futures
        self._known: dict[str, int] = {}
        self._timers: list[tuple[float, int, asyncio.TimerHandle]] = []  # those of one moment in order
        self._timer_numbers = itertools.count()
        self.longest_s = LONGEST_S
        self._now = START_S
        self._dead: list[Any] = []  # what dead processes leave: dropped, it would run its `finally`s
        self.set_task_factory(lambda loop, coro, **kw: SimTask(coro, loop=loop, **kw))

    def time(self) -> float:
        return self._now

    def create_future(self) -> SimFuture:
        return SimFuture(loop=self)

    def note(self, text: str) -> None:
        """Remember what happened, for whoever looks for the cause of a failure."""
        owner = PROCESS.get()
        line = f"{self._now - START_S:12.6f}  {'world' if owner is None else owner.name:<12} {text}"
        line = line.replace(self.folder, "RUN")  # which has another name each time
        self.trace ^= zlib.crc32(line.encode())
        self.notes.append(line)
        if self.said is not None:
            self.said(line)

    def kill(self, process: SimProcess) -> None:
        """Let a process die where it is."""
        if not process.alive:
            return
        process.alive = False
        self._dead += process.held
        self._dead += [task for task in asyncio.all_tasks(self) if getattr(task, "process", None) is process]
        self.note(f"{process.name} dies after {process.steps} steps")
        for undo in process.on_death:
            undo()
        self.network.forget(process)

    def pause(self, process: SimProcess) -> None:
        """Let a process take no step, whatever comes in, until it is resumed."""
        process.paused = True
        self.note(f"{process.name} is stopped after {process.steps} steps")
        if process.stops is not None:
            process.stops.set()
            process.dies_in = process.stops = None

    def resume(self, process: SimProcess) -> None:
        process.paused = False
        self.note(f"{process.name} goes on")
        held, process.held = process.held, []
        self._ready.extend(held)  # type: ignore[attr-defined]

    def call_at(  # type: ignore[override]
        self, when: float, callback: Callable[..., object], *args: Any, context: Context | None = None
    ) -> asyncio.TimerHandle:
        timer = asyncio.TimerHandle(when, callback, args, self, context)
        heapq.heappush(self._timers, (when, next(self._timer_numbers), timer))
        return timer

    def _run_once(self) -> None:
        """Take steps until somebody stops the loop."""
        ready, timers = self._ready, self._timers  # type: ignore[attr-defined]
        while not self._stopping:  # type: ignore[attr-defined]
            while timers and timers[0][0] <= self._now:
                timer = heapq.heappop(timers)[2]
                if not timer._cancelled:
                    ready.append(timer)
            if not ready:
                self._jump()
                continue
            handle = self._another() if len(ready) > 1 and self.rng.random() < REORDERED else ready.popleft()
            if handle._cancelled:
                continue
            context = handle._context
            owner = context.get(PROCESS)
            if owner is not None and not self._lets(owner):
                (owner.held if owner.alive else self._dead).append(handle)
                continue
            self._record(handle, owner)
            self._now += STEP_S
            try:
                context.run(handle._callback, *handle._args)
            except (SystemExit, KeyboardInterrupt):
                raise
            except BaseException as exc:  # noqa: BLE001 - as the loop of asyncio does
                self.call_exception_handler({"message": f"{handle!r} failed", "exception": exc, "handle": handle})

    def _another(self) -> asyncio.Handle:
        """Take another step than asyncio would, if it is a task's."""
        ready = self._ready  # type: ignore[attr-defined]
        place = self.rng.randrange(len(ready))
        handle: asyncio.Handle = ready[place]
        if place and isinstance(getattr(handle._callback, "__self__", None), SimTask):  # type: ignore[attr-defined]
            del ready[place]
            return handle
        return ready.popleft()  # type: ignore[no-any-return]

    def _lets(self, owner: SimProcess) -> bool:
        if owner.paused:
            return False
        if owner.alive and owner.dies_in is not None:
            owner.dies_in -= 1
            if owner.dies_in < 0 and owner.stops is not None:
                self.pause(owner)
                return False
            if owner.dies_in < 0:
                self.kill(owner)
        if owner.alive:
            owner.steps += 1
        return owner.alive

    def _record(self, handle: asyncio.Handle, owner: SimProcess | None) -> None:
        """Let the step count in the trace: when it is, whose it is and what goes on."""
        self.steps += 1
        if self.steps > MOST_STEPS:
            raise Endless(f"more than {MOST_STEPS} steps")
        callback = handle._callback  # type: ignore[attr-defined]
        task = getattr(callback, "__self__", None)
        if isinstance(task, SimTask):
            known = task.mark
        else:
            what = getattr(callback, "__qualname__", "")
            known = self._known.get(what, 0)
            if not known:
                known = self._known[what] = zlib.crc32(what.encode())
        mixed = self.trace ^ known ^ (0 if owner is None else owner.steps)
        self.trace = (mixed * 0x100000001B3 + int(self._now * 1e9)) & 0xFFFFFFFFFFFFFFFF

    def _jump(self) -> None:
        """Let time pass until something is due."""
        timers = self._timers
        while timers and timers[0][2]._cancelled:  # type: ignore[attr-defined]
            heapq.heappop(timers)
        if not timers:
            raise Stuck("nothing is ready, and nothing is due")
        if self._now - START_S > self.longest_s:
            raise Endless(f"it does not end within {self.longest_s:.0f} s of virtual time")
        for check in self.checks:
            check()
        self._now = max(self._now, timers[0][0])

    def _timer_handle_cancelled(self, handle: asyncio.TimerHandle) -> None:
        """Do nothing: it is dropped when its time comes."""

    # What the loop is asked for by libraries.

    def run_in_executor(self, executor: Any, func: Callable[..., Any], *args: Any) -> Any:
        """Call it on this thread, a moment later."""
        future = self.create_future()

        def call() -> None:
            try:
                result = func(*args)
            except BaseException as exc:  # noqa: BLE001 - whoever waits gets it
                if not future.done():
                    future.set_exception(exc)
            else:
                if not future.done():
                    future.set_result(result)

        self.call_later(self.rng.uniform(0.0001, 0.003), call)
        return future

    def call_soon_threadsafe(self, callback: Any, *args: Any, context: Context | None = None) -> asyncio.Handle:
        """Do as `call_soon`: there is one thread."""
        return self.call_soon(callback, *args, context=context)

    async def shutdown_default_executor(self) -> None:
        """There is none."""

    async def getaddrinfo(self, host: Any, port: Any, **how: Any) -> Any:
        return self.network.addresses(host, port, **how)

    async def sock_connect(self, sock: Any, address: Any) -> None:
        await self.network.connect(sock, address)

    async def create_connection(self, factory: Any, *_: Any, sock: Any, **__: Any) -> Any:  # type: ignore[override]
        return self.network.open(factory, sock)

    async def connect_accepted_socket(self, factory: Any, sock: Any, **_: Any) -> Any:
        return self.network.open(factory, sock)

    async def create_server(self, factory: Any, host: Any = None, port: Any = None, **_: Any) -> Any:  # type: ignore[override]
        return self.network.serve(factory, host, port)

    def add_reader(self, fd: Any, callback: Any, *args: Any) -> None:
        self.network.watch(fd, callback, *args)

    def remove_reader(self, fd: Any) -> bool:
        return self.network.unwatch(fd)
