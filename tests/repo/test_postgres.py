"""The tests' own PostgreSQL: databases of their own, and nothing left behind."""

from __future__ import annotations

import os
import select
import shutil
import subprocess
import sys
from pathlib import Path

import asyncpg

from tests import postgres

STARTS = """
import time
from tests import postgres
server = postgres.Server.start()
print(server.folder, server.process.pid, flush=True)
time.sleep(600)
"""


@postgres.needed
async def test_each_test_has_a_database_of_its_own(postgresql: postgres.Server) -> None:
    async with postgresql.database() as one, postgresql.database() as other:
        for url in (one, other):
            link = await asyncpg.connect(url)
            await link.execute("CREATE TABLE t (n int)")  # the second would be refused in the first's
            await link.close()
    link = await asyncpg.connect(postgresql.url("postgres"))
    assert await link.fetchval("SELECT count(*) FROM pg_database WHERE datname LIKE 'test_%'") == 0
    await link.close()


@postgres.needed
def test_a_server_is_gone_when_it_is_stopped() -> None:
    server = postgres.Server.start()

    server.stop()

    assert server.process.returncode is not None
    assert not server.folder.exists()


@postgres.needed
def test_a_server_ends_with_tests_that_are_killed() -> None:
    with subprocess.Popen([sys.executable, "-c", STARTS], stdout=subprocess.PIPE, text=True) as tests:
        assert tests.stdout is not None
        folder, pid = tests.stdout.readline().split()
        watched = os.pidfd_open(int(pid))
        tests.kill()
    try:
        ended, _, _ = select.select([watched], [], [], 30)
        assert ended
        postgres.Server.start().stop()  # the next one removes what was left
        assert not Path(folder).exists()
    finally:
        os.close(watched)
        shutil.rmtree(folder, ignore_errors=True)
