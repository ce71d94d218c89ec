"""`copy` moves a stopped file to a database, or nothing at all; `check` and `backup` say what they can of one."""

from __future__ import annotations

import asyncio
import sqlite3
from collections.abc import Mapping
from contextlib import closing
from pathlib import Path

import asyncpg
import pytest

from kernel.store.lock import exclusive_store_lock
from marketplace.__main__ import main
from marketplace.store.maintenance import COPIED
from marketplace.store.migrate import SCHEMA
from tests import postgres
from tests.harness import FakeClock
from tests.marketplace.accepted_purchase import accept_purchase
from tests.marketplace.conftest import OwnClock
from tests.marketplace.fake_scanner import FakeScanner
from tests.marketplace.harness import PASSWORD, empty_database, environment, login, on_postgresql, running

TABLES = [table.name for table in COPIED.metadata.sorted_tables if table.name not in COPIED.not_copied]


async def asked(env: Mapping[str, str], command: str, *more: str) -> int:
    with pytest.MonkeyPatch.context() as patch:
        for name, value in env.items():
            patch.setenv(name, value)
        return await asyncio.to_thread(main, (command, *more))


def rows_of_file(path: Path) -> dict[str, list[tuple[object, ...]]]:
    with closing(sqlite3.connect(path)) as store:
        return {table: sorted(store.execute(f"SELECT * FROM {table}"), key=repr) for table in TABLES}  # noqa: S608


async def rows_of_database(url: str) -> dict[str, list[tuple[object, ...]]]:
    link = await asyncpg.connect(url, server_settings={"search_path": SCHEMA})
    try:
        found = {table: await link.fetch(f"SELECT * FROM {table}") for table in TABLES}  # noqa: S608
    finally:
        await link.close()
    return {
        table: sorted((tuple(int(v) if v in (True, False) else v for v in row) for row in rows), key=repr)
        for table, rows in found.items()
    }


async def test_a_file_is_copied_whole_and_the_database_goes_on_from_there(
    tmp_path: Path, fake_scanner: FakeScanner, postgresql: postgres.Server, capsys: pytest.CaptureFixture[str]
) -> None:
    clock = FakeClock()
    there = environment(tmp_path, fake_scanner.url)
    async with running(there, clock=clock) as market:
        purchase = await accept_purchase(market, fake_scanner, clock)
        await purchase.fund()
        await market.settled_down()
        [(email,)] = market_rows(market.db_path, "SELECT email FROM users WHERE role = 'buyer'")
        before = (purchase.entries(), await purchase.payment())
    async with empty_database(postgresql) as url:
        here = on_postgresql(url)
        assert await asked({**there, **here}, "copy") == 0
        said = capsys.readouterr().out
        assert "funds_ledger_entries: 2" in said.splitlines()
        sent, arrived = rows_of_file(market.db_path), await rows_of_database(url)
        for table in TABLES:
            if table != "key_proof":  # sealed anew
                assert arrived[table] == sent[table], table

        only = environment(tmp_path, fake_scanner.url, **here)
        assert await asked(only, "check") == 0
        assert await asked(only, "backup", str(tmp_path / "copy")) == 2
        assert "pg_dump" in capsys.readouterr().err
        assert await asked({**there, **here}, "copy") == 1  # it is not empty any more
        assert "not empty" in capsys.readouterr().err
        async with running(only, clock=OwnClock()) as moved:
            purchase.market, purchase.buyer = moved, await login(moved.nobody, email, PASSWORD)
            assert (purchase.entries(), await purchase.payment()) == before
            again = await accept_purchase(moved, fake_scanner, OwnClock())  # numbers go on after the last one
            await again.fund()
            assert await again.findings() == []


def market_rows(path: Path, sql: str) -> list[tuple[str]]:
    with closing(sqlite3.connect(path)) as store:
        return store.execute(sql).fetchall()


async def test_what_cannot_be_copied_is_told(
    tmp_path: Path, postgresql: postgres.Server, capsys: pytest.CaptureFixture[str]
) -> None:
    there = environment(tmp_path)
    assert await asked(there, "copy") == 1
    assert capsys.readouterr().err.startswith("MARKETPLACE_DATABASE_URL and MARKETPLACE_SECRET_KEY: must be set")
    async with empty_database(postgresql) as url:
        both = {**there, **on_postgresql(url)}
        assert await asked(both, "copy") == 1
        assert "there is no such file" in capsys.readouterr().err
        async with running(there) as market:
            assert await asked(both, "copy") == 1
            assert "is in use by another marketplace" in capsys.readouterr().err
        async with running(environment(tmp_path, **on_postgresql(url))):
            assert await asked(both, "copy") == 1
            assert "is in use, or was a moment ago" in capsys.readouterr().err
    with exclusive_store_lock(market.db_path, service="marketplace", setting="MARKETPLACE_DB_PATH"):
        pass  # and nothing holds it


async def test_a_check_finds_a_line_that_is_missing(
    tmp_path: Path, fake_scanner: FakeScanner, postgresql: postgres.Server, capsys: pytest.CaptureFixture[str]
) -> None:
    clock = OwnClock()
    async with empty_database(postgresql) as url:
        env = environment(tmp_path, fake_scanner.url, **on_postgresql(url))
        async with running(env, clock=clock) as market:
            await (await accept_purchase(market, fake_scanner, clock)).fund()
            with market.opened() as store:
                store.execute("ALTER TABLE funds_ledger_entries DISABLE TRIGGER USER")
                store.execute("DELETE FROM funds_ledger_entries WHERE entry_type = 'hold'")
        assert await asked(env, "check") == 1
        assert "PROBLEM completed payments without a hold: 1" in capsys.readouterr().out
        other = {**env, "MARKETPLACE_SECRET_KEY": "MDEyMzQ1Njc4OTAxMjM0NTY3ODkwMTIzNDU2Nzg5MDE="}
        assert await asked(other, "check") == 2
