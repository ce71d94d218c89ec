"""The migrations of both services make the tables that are declared, for SQLite and for PostgreSQL."""

from __future__ import annotations

import importlib
import io
import re
import sqlite3
import subprocess
import sys
from contextlib import closing
from pathlib import Path
from types import ModuleType

import asyncpg
import pytest
from alembic.autogenerate import compare_metadata
from alembic.operations import Operations
from alembic.runtime.migration import MigrationContext
from sqlalchemy import MetaData, create_engine
from sqlalchemy.dialects import postgresql, sqlite
from sqlalchemy.schema import CreateIndex, CreateTable

from kernel.errors import StoreBusy, StoreError
from kernel.store import database
from kernel.store.migrate import newest_in
from tests import postgres
from tests.processes import ROOT
from tests.service_contract.services import BOTH, ServiceUnderTest

DIALECTS = {"sqlite": sqlite.dialect(), "postgresql": postgresql.dialect()}
LITE_ONLY = re.compile(r"GLOB|RAISE\(|ROWID|IS [01]\b|\b(?:counted|settled|verified) (?:=|<>)|DATETIME|\bINTEGER\b")


def metadata(service: ServiceUnderTest) -> MetaData:
    return importlib.import_module(f"{service.name}.store.tables").metadata


def migrations(service: ServiceUnderTest) -> list[ModuleType]:
    folder = Path(importlib.import_module(f"{service.name}.store.migrate").MIGRATIONS) / "versions"
    names = sorted(path.stem for path in folder.glob("[0-9]*.py"))
    return [importlib.import_module(f"{service.name}.store.migrations.versions.{name}") for name in names]


def script(service: ServiceUnderTest, dialect: str) -> str:
    """Return what the migrations say to a database of a kind."""
    said = io.StringIO()
    context = MigrationContext.configure(dialect_name=dialect, opts={"as_sql": True, "output_buffer": said})
    with Operations.context(context):
        for migration in migrations(service):
            migration.upgrade()
    return said.getvalue()


def declared(service: ServiceUnderTest, dialect: str) -> set[str]:
    """Return what the declared tables are for a database of a kind, a statement each."""
    found = set()
    for table in metadata(service).sorted_tables:
        found.add(statement(str(CreateTable(table).compile(dialect=DIALECTS[dialect]))))
        found |= {statement(str(CreateIndex(index).compile(dialect=DIALECTS[dialect]))) for index in table.indexes}
    return found


def statement(sql: str) -> str:
    """Return a statement in one spelling: the order in which constraints are reported says nothing."""
    lines = [" ".join(line.split()).rstrip(",") for line in sql.strip().rstrip(";").splitlines()]
    constraints = sorted(line for line in lines if re.match("CONSTRAINT|UNIQUE|FOREIGN|PRIMARY", line))
    return "\n".join([line for line in lines if line and line not in constraints] + constraints)


def made(sql: str) -> set[str]:
    """Return the statements of a script that make tables and indexes."""
    found = re.findall(r"^CREATE (?:TABLE|INDEX|UNIQUE INDEX) .*?;$", sql, re.DOTALL | re.MULTILINE)
    return {statement(each) for each in found}


@BOTH
@pytest.mark.parametrize("dialect", DIALECTS)
def test_migrations_make_exactly_the_tables_that_are_declared(service: ServiceUnderTest, dialect: str) -> None:
    assert made(script(service, dialect)) == declared(service, dialect)


@BOTH
def test_a_migrated_store_has_nothing_else(service: ServiceUnderTest, tmp_path: Path) -> None:
    store = service.store(tmp_path)
    service.kind.migrate(store)
    with create_engine(f"sqlite:///{store}").connect() as connection:
        context = MigrationContext.configure(connection, opts={"compare_type": False})
        assert compare_metadata(context, metadata(service)) == []


@BOTH
def test_postgresql_is_sent_nothing_in_the_words_of_sqlite(service: ServiceUnderTest) -> None:
    reported = script(service, "postgresql")

    assert LITE_ONLY.findall(reported) == []
    assert LITE_ONLY.search(script(service, "sqlite"))


@BOTH
def test_each_trigger_of_one_is_a_trigger_of_the_other(service: ServiceUnderTest) -> None:
    scripts = {dialect: script(service, dialect) for dialect in DIALECTS}
    spelt = {
        dialect: set(re.findall(r"CREATE TRIGGER (\w+) (.*?) FOR EACH ROW", text)) for dialect, text in scripts.items()
    }
    # What PostgreSQL counts once a statement names no columns; SQLite has no such trigger, and none of TRUNCATE.
    named = {
        dialect: set(
            re.findall(r"CREATE TRIGGER (\w+) (BEFORE|AFTER) ((?!TRUNCATE)\w+)(?: OF [\w, ]+)? ON (\w+)", text)
        )
        for dialect, text in scripts.items()
    }

    assert spelt["postgresql"] <= spelt["sqlite"]
    assert named["sqlite"] == named["postgresql"] != set()


@BOTH
def test_a_store_that_is_up_to_date_is_left_as_it_is(service: ServiceUnderTest, tmp_path: Path) -> None:
    store = service.store(tmp_path)
    reached = service.kind.migrate(store)
    with closing(sqlite3.connect(store)) as link:
        before = "\n".join(link.iterdump())

    assert service.kind.migrate(store) == reached == migrations(service)[-1].revision
    with closing(sqlite3.connect(store)) as link:
        assert "\n".join(link.iterdump()) == before


# -- a real PostgreSQL, where there is one -------------------------------------------------------------

INTENT = (
    "INSERT INTO intents (intent_id, chain_id, chain_type, rail, token_address, token_key, destination,"
    " destination_key, amount, fee_amount, fee_address, payment_reference, topic_ref, salt, status, callback_url,"
    " callback_secret, receiver, events, request, confirmations_required, tx_hash, confirmed_at, created_at,"
    " chain_created_at, updated_at) VALUES ('{0}', 97, 'evm', 'proxy', 't', 't', 'd', 'd', '{2}', '0', 'f', 'r{0}',"
    " 'r{0}', 's', '{1}', 'u', 's', 'r', '[]', '{{}}', 5, 'x', 1790000000000, 1790000000000, 1790000000000, 1)"
)
TRANSFER = (
    "INSERT INTO transfers (chain_id, tx_hash, event_key, block_number, token, destination, amount, fee_amount,"
    " intent_id, counted, settled, verified, seen_at) VALUES (97, '{0}', '0', 1, 't', 'd', '1', '0', {1}, {2}, {3},"
    " true, 1790000000000)"
)
SCANNER_ROWS = [
    INTENT.format("a", "confirmed", "1000"),
    INTENT.format("b", "pending", "1000"),
    TRANSFER.format("x", "'a'", "true", "true"),
    TRANSFER.format("y", "'b'", "true", "false"),
]
REFUSED = {
    "scanner": [
        ("UPDATE transfers SET settled = false WHERE tx_hash = 'x'", "never changes its intent"),
        ("UPDATE transfers SET intent_id = 'b' WHERE tx_hash = 'x'", "never changes its intent"),
        ("UPDATE transfers SET intent_id = NULL WHERE tx_hash = 'x'", "never changes its intent"),
        ("DELETE FROM transfers WHERE tx_hash = 'x'", "kept as long as its intent"),
        (TRANSFER.format("x", "'b'", "true", "false"), "settles one intent only"),
        (TRANSFER.format("x", "NULL", "true", "false"), "settles one intent only"),
        ("UPDATE transfers SET tx_hash = 'x' WHERE tx_hash = 'y'", "is not replaced"),
        ("UPDATE intents SET status = 'pending' WHERE intent_id = 'a'", "stays settled"),
        ("UPDATE intents SET intent_id = 'c' WHERE intent_id = 'a'", "keeps its name"),
        (INTENT.format("a", "pending", "1000"), "a settled intent is not replaced"),
        (INTENT.format("c", "pending", "0"), "intents_amount_positive"),
        (INTENT.format("c", "pending", "-1"), "intents_amount_positive"),
        (INTENT.format("c", "unheard of", "1"), "intents_status_known"),
        (TRANSFER.format("z", "'b'", "false", "false"), "transfers_counted_or_reason"),
        (TRANSFER.format("z", "NULL", "true", "false"), "transfers_counted_has_intent"),
    ],
    "marketplace": [
        (f"{change} threshold_history{what}", "threshold_history is append-only")
        for change, what in (("UPDATE", " SET confirmations = 9"), ("DELETE FROM", ""))
    ],
}
ROWS = {
    "scanner": SCANNER_ROWS,
    "marketplace": [
        "INSERT INTO users (id, email, name, role, password_hash, created_at) VALUES ('u', 'e', 'n', 'admin', 'h', 1)",
        "INSERT INTO threshold_history (chain_id, confirmations, set_by, created_at) VALUES (97, 5, 'u', 1)",
    ],
}
ALLOWED = {
    "scanner": [
        "UPDATE transfers SET verified = true, block_number = 2 WHERE tx_hash = 'x'",
        "UPDATE intents SET status = 'webhook_failed' WHERE intent_id = 'a'",
        "UPDATE intents SET status = 'confirming' WHERE intent_id = 'b'",
        "DELETE FROM transfers WHERE tx_hash = 'y'",
    ],
    "marketplace": [
        "INSERT INTO threshold_history (chain_id, confirmations, set_by, created_at) VALUES (97, 6, 'u', 2)"
    ],
}

LEFT = {
    "scanner": ("SELECT count(*) FROM transfers", 1),
    "marketplace": ("SELECT count(*) FROM threshold_history", 2),
}


@BOTH
def test_sqlite_refuses_what_must_not_be(service: ServiceUnderTest, tmp_path: Path) -> None:
    store = service.store(tmp_path)
    service.kind.migrate(store)
    with closing(sqlite3.connect(store, isolation_level=None)) as link:
        for row in ROWS[service.name]:
            link.execute(row)
        for sql, why in REFUSED[service.name]:
            with pytest.raises(sqlite3.IntegrityError, match=why):
                link.execute(sql)
        for sql in ALLOWED[service.name]:
            link.execute(sql)
        question, count = LEFT[service.name]
        assert link.execute(question).fetchone() == (count,)


@postgres.needed
async def test_postgresql_runs_them_and_refuses_the_same(postgresql: postgres.Server) -> None:
    for name in ("scanner", "marketplace"):
        service = next(mark.values[0] for mark in BOTH.args[1] if mark.id == name)
        async with postgresql.database() as url:
            link = await asyncpg.connect(url)
            await link.execute(script(service, "postgresql"))
            for row in ROWS[name]:
                await link.execute(row)
            for sql, why in REFUSED[name]:
                with pytest.raises(asyncpg.IntegrityConstraintViolationError, match=why):
                    await link.execute(sql)
            for sql in ALLOWED[name]:
                await link.execute(sql)
            question, count = LEFT[name]
            assert await link.fetchval(question) == count
            await link.close()


@BOTH
def test_each_migration_is_named_by_its_revision(service: ServiceUnderTest) -> None:
    found = migrations(service)
    assert [each.__name__.rpartition(".")[2].partition("_")[0] for each in found] == [each.revision for each in found]
    folder = Path(importlib.import_module(f"{service.name}.store.migrate").MIGRATIONS)
    assert newest_in(folder) == found[-1].revision


@BOTH
def test_what_makes_tables_is_loaded_for_a_store_that_has_none_alone(service: ServiceUnderTest, tmp_path: Path) -> None:
    program = (
        "import sys, pathlib, "
        f"{service.name}.store.migrate as store; print(store.migrate(pathlib.Path({str(tmp_path / 'store.db')!r})), "
        "'alembic' in sys.modules)"
    )
    said = [
        subprocess.run([sys.executable, "-c", program], cwd=ROOT, capture_output=True, text=True, check=True).stdout
        for _ in range(2)
    ]
    assert [line.split()[1] for line in said] == ["True", "False"]
    assert len({line.split()[0] for line in said}) == 1


def test_an_installation_without_migrations_says_so(tmp_path: Path) -> None:
    with pytest.raises(StoreError, match="no migrations"):
        newest_in(tmp_path)


@BOTH
def test_a_store_that_another_program_holds_is_busy_and_not_broken(
    service: ServiceUnderTest, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(database, "BUSY_TIMEOUT_MS", 20)
    with closing(sqlite3.connect(tmp_path / "some.db", isolation_level=None)) as other:
        other.execute("BEGIN EXCLUSIVE")
        with pytest.raises(StoreBusy, match="database is locked"):
            importlib.import_module(f"{service.name}.store.migrate").migrate(tmp_path / "some.db")
