"""Starts the services as processes of their own: forked from one that has imported them, where the system can."""

from __future__ import annotations

import asyncio
import json
import os
import signal
import socket
import subprocess
import sys
import threading
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

ROOT = Path(__file__).parent.parent
MOST_READ = 1 << 26  # of what nobody reads, before the process has to wait


class Pipe(asyncio.StreamReaderProtocol):
    """The reading end of a pipe."""

    def __init__(self) -> None:
        self.reader = asyncio.StreamReader(MOST_READ)
        self.closed = asyncio.Event()
        super().__init__(self.reader)

    def connection_lost(self, exc: Exception | None) -> None:
        super().connection_lost(exc)
        self.closed.set()

    @classmethod
    async def of(cls, descriptor: int) -> Pipe:
        """Take over a descriptor."""
        file = os.fdopen(descriptor, "rb", buffering=0)
        _, pipe = await asyncio.get_running_loop().connect_read_pipe(cls, file)
        return pipe


class Started:
    """A process that was forked for us, as `asyncio.subprocess.Process` shows one that is our child."""

    def __init__(self, pid: int, report: Pipe, out: Pipe, err: Pipe | None) -> None:
        self.pid = pid
        self.stdout = out.reader
        self.stderr = None if err is None else err.reader
        self.returncode: int | None = None
        self._end = asyncio.create_task(self._ended(report, [report, out, *([] if err is None else [err])]))

    async def _ended(self, report: Pipe, pipes: list[Pipe]) -> int:
        said = await report.reader.readline()
        assert said, "the fork server is gone"
        self.returncode = int(said)
        for pipe in pipes:
            await pipe.closed.wait()
        return self.returncode

    async def wait(self) -> int:
        return await asyncio.shield(self._end)

    def send_signal(self, number: int) -> None:
        if self.returncode is not None:
            raise ProcessLookupError
        os.kill(self.pid, number)

    def kill(self) -> None:
        self.send_signal(signal.SIGKILL)

    def terminate(self) -> None:
        self.send_signal(signal.SIGTERM)

    async def communicate(self) -> tuple[bytes, bytes | None]:
        """Read all it says, and wait for its end."""
        out, err, _ = await asyncio.gather(
            self.stdout.read(), self.stderr.read() if self.stderr else asyncio.sleep(0), self.wait()
        )
        return out, err


AnyProcess = asyncio.subprocess.Process | Started


async def start(
    module: str,
    *arguments: str | Path,
    env: Mapping[str, str],
    folder: Path = ROOT,
    errors_apart: bool = False,
    descriptors: int | None = None,
    afresh: bool = False,
) -> AnyProcess:
    """
    Start `python -m <module>` with this environment alone, its output and errors (together or apart) in pipes.

    With `afresh` a new interpreter does it, also where a fork would.
    """
    environment = {"PATH": os.environ["PATH"], "PYTHONPATH": str(ROOT), **env}
    reported = list(map(str, arguments))
    forks = hasattr(os, "pidfd_open") and environment["PYTHONPATH"] == str(ROOT)
    if forks and not afresh:
        return await _forked(module, reported, environment, folder, errors_apart=errors_apart, descriptors=descriptors)
    bounded = [] if descriptors is None else ["sh", "-c", f'ulimit -n {descriptors} && exec "$@"', "sh"]
    return await asyncio.create_subprocess_exec(
        *(*bounded, sys.executable, "-m", module, *reported),
        cwd=folder,
        env=environment,
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.PIPE if errors_apart else asyncio.subprocess.STDOUT,
    )


async def _forked(
    module: str,
    arguments: list[str],
    environment: dict[str, str],
    folder: Path,
    *,
    errors_apart: bool,
    descriptors: int | None,
) -> Started:
    umask = os.umask(0o077)  # the only way to learn it
    os.umask(umask)
    order = {
        "module": module,
        "arguments": arguments,
        "environment": environment,
        "folder": str(folder),
        "umask": umask,
        "descriptors": descriptors,
    }
    out, told_out = os.pipe()
    err, told_err = os.pipe() if errors_apart else (-1, os.dup(told_out))
    report, told_report = os.pipe()
    try:
        server = await asyncio.to_thread(fork_server.started)
        socket.send_fds(server, [json.dumps(order).encode()], [told_out, told_err, told_report])
    finally:
        for descriptor in (told_out, told_err, told_report):
            os.close(descriptor)
    fate = await Pipe.of(report)
    said = await fate.reader.readline()
    assert said, "the fork server is gone"
    return Started(int(said), fate, await Pipe.of(out), await Pipe.of(err) if errors_apart else None)


@dataclass
class ForkServer:
    """The one of this process, started when somebody needs it; it ends, and ends its children, when this process does."""

    orders: socket.socket | None = None
    process: subprocess.Popen[bytes] | None = None
    lock: threading.Lock = field(default_factory=threading.Lock)

    def started(self) -> socket.socket:
        """Return where to order."""
        with self.lock:
            if self.orders is None:
                self.orders, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
                with theirs:
                    self.process = subprocess.Popen(
                        [sys.executable, "-m", "tests.fork_server", str(theirs.fileno())],
                        cwd=ROOT,
                        env={"PATH": os.environ["PATH"], "PYTHONPATH": str(ROOT)},
                        pass_fds=[theirs.fileno()],
                        stdin=subprocess.DEVNULL,
                        stdout=subprocess.DEVNULL,
                    )
            return self.orders

    def stop(self) -> None:
        """Wait until it and its children are gone."""
        with self.lock:
            if self.orders is not None and self.process is not None:
                self.orders.close()
                self.process.wait()
                self.orders = self.process = None


fork_server = ForkServer()
