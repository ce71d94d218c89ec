"""`check` on PostgreSQL finds what it finds in a file; copies are made with the engine's own tools."""

from __future__ import annotations

import asyncio
from typing import Any

import asyncpg
import pytest

from kernel.sealing.secret_cipher import SecretCipher
from kernel.store.postgresql import PostgresDatabase
from scanner.__main__ import main
from scanner.store import intents
from tests.scanner.facts import an_intent

KEY = "MDEyMzQ1Njc4OTAxMjM0NTY3ODkwMTIzNDU2Nzg5MDE="
OTHER = "QUFBQUFBQUFBQUFBQUFBQUFBQUFBQUFBQUFBQUFBQUE="


@pytest.fixture
def given(pg: PostgresDatabase, monkeypatch: pytest.MonkeyPatch) -> pytest.MonkeyPatch:
    monkeypatch.setenv("DATABASE_URL", pg.settings.url)
    monkeypatch.setenv("SCANNER_SECRET_KEY", KEY)
    monkeypatch.delenv("DB_PATH", raising=False)
    return monkeypatch


async def run(*arguments: str) -> int:
    """Run a command as the shell would: it has a loop of its own."""
    return await asyncio.to_thread(main, arguments)


async def store(pg: PostgresDatabase, *new: Any) -> None:
    async with pg.write() as tx:
        await intents.add_many(tx, new)


async def test_a_whole_store_is_ok(pg: PostgresDatabase, given: Any, capsys: pytest.CaptureFixture[str]) -> None:
    await store(pg, an_intent(callback_secret=SecretCipher([KEY]).encrypt("s")))

    assert await run("check") == 0
    assert capsys.readouterr().out.splitlines()[0::6] == ["intents: 1", "ok"]


async def test_rows_that_belong_to_nothing_are_told(
    pg: PostgresDatabase, given: Any, capsys: pytest.CaptureFixture[str]
) -> None:
    await store(pg, an_intent(callback_secret=SecretCipher([KEY]).encrypt("s")))
    link = await asyncpg.connect(pg.settings.url)
    await link.execute("UPDATE amn_scanner.intents SET status = 'confirmed', tx_hash = 'x', confirmed_at = 1")
    await link.close()

    assert await run("check") == 1
    assert "PROBLEM confirmed intents without a payment: 1" in capsys.readouterr().out


async def test_another_key_is_told(
    pg: PostgresDatabase, given: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    await store(pg, an_intent(callback_secret=SecretCipher([KEY]).encrypt("s")))
    given.setenv("SCANNER_SECRET_KEY", OTHER)

    assert await run("check") == 2
    assert "no key at hand opens the database" in capsys.readouterr().err


@pytest.mark.parametrize("command", ["backup", "restore"])
async def test_copies_are_for_the_engines_own_tools(
    given: Any, capsys: pytest.CaptureFixture[str], command: str
) -> None:
    assert await run(command, "a-file") == 2
    assert "pg_dump" in capsys.readouterr().err
