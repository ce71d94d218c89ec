"""A primary with a synchronous standby that takes over when the primary dies, and is followed by a new one."""

from __future__ import annotations

import asyncio
import shutil
import signal
import tempfile
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, nullcontext
from pathlib import Path

import asyncpg

from tests import postgres
from tests.chaos.tcp_proxy import TcpProxy
from tests.postgres import USER, Server

SETTINGS = {"synchronous_commit": "on", "wal_keep_size": "128MB"}
NOTICED_S = 1.0  # until somebody has noticed that the primary is gone
PAUSE_S = 0.05
BECOMES_S = 30.0


class DatabasePair:
    """Open with `database_pair`. One thing happens to it at a time."""

    def __init__(self, primary: Server, database: str) -> None:
        self.primary = primary
        self.replication = TcpProxy(lambda: self.socket)  # the standby's way to the primary; to be opened
        self.standby: Server | None = None
        self.database = database
        self.takeovers: list[float] = []  # seconds in which there was no primary
        self._lock = asyncio.Lock()

    @property
    def socket(self) -> Path:
        """Where the primary listens now."""
        return self.primary.folder / ".s.PGSQL.5432"

    @property
    def url(self) -> str:
        """The URL of the primary that is there now, past every proxy."""
        return self.primary.url(self.database)

    async def follow(self) -> None:
        """Make a standby of the primary, and have every commit wait for it from now on."""
        folder = Path(tempfile.mkdtemp(prefix="pg"))
        user = postgres.other_user()
        if user is not None:
            shutil.chown(folder, user)
        copying = await asyncio.create_subprocess_exec(
            *(postgres.program("pg_basebackup"), "-h", "127.0.0.1", "-p", str(self.replication.port), "-U", USER),
            *("-D", folder / "data", "-R", "-X", "stream", "-c", "fast", "--no-sync"),
            user=user,
            cwd=folder,
            stderr=asyncio.subprocess.PIPE,
        )
        _, errors = await copying.communicate()
        if copying.returncode:
            raise RuntimeError(f"no standby could be made: {errors.decode()}")
        self.standby = Server.again(folder, SETTINGS)
        await self._until("SELECT count(*) FROM pg_stat_replication WHERE state = 'streaming'", 1)
        await self.primary.run("ALTER SYSTEM SET synchronous_standby_names = 'ANY 1 (*)'", "SELECT pg_reload_conf()")
        await self._until("SELECT count(*) FROM pg_stat_replication WHERE sync_state = 'quorum'", 1)

    async def promote(self, *, behind_s: float = 0.0) -> None:
        """
        Kill the primary, promote the standby and give it a new one.

        With `behind_s` the standby hears nothing for so long before, and never hears of what was written meanwhile.
        """
        async with self._lock:
            old, new = self.primary, self.standby
            assert new is not None
            loop = asyncio.get_running_loop()
            async with self.replication.hole() if behind_s else nullcontext():
                await asyncio.sleep(behind_s)
                died = loop.time()
                old.process.send_signal(signal.SIGQUIT)  # every process of it ends where it is
                await asyncio.to_thread(old.process.wait)
                self.replication.cut()
            await asyncio.sleep(NOTICED_S)
            await new.run("SELECT pg_promote()")
            self.primary, self.standby = new, None
            await self._until("SELECT pg_is_in_recovery()::int", 0)
            self.takeovers.append(loop.time() - died)
            old.stop()
            await self.follow()

    async def stall(self, seconds: float) -> None:
        """Let the standby hear nothing for a while: nobody's commit is answered meanwhile."""
        async with self._lock, self.replication.hole():
            await asyncio.sleep(seconds)

    async def _until(self, question: str, answer: int) -> None:
        async with asyncio.timeout(BECOMES_S):
            link = await asyncpg.connect(self.primary.url("postgres"))
            try:
                while await link.fetchval(question) != answer:  # noqa: ASYNC110 - the server has no event for it
                    await asyncio.sleep(PAUSE_S)
            finally:
                await link.close()

    def stop(self) -> None:
        """Stop both and remove everything."""
        for server in (self.standby, self.primary):
            if server is not None:
                server.stop()


@asynccontextmanager
async def database_pair(database: str) -> AsyncIterator[DatabasePair]:
    """Start a primary with an empty database and a synchronous standby; nothing of them is left behind."""
    pair = DatabasePair(Server.start(SETTINGS), database)
    try:
        async with pair.replication:
            await pair.primary.run(f"CREATE DATABASE {database}")
            await pair.follow()
            yield pair
    finally:
        pair.stop()
