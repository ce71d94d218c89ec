"""The house is as it is drawn: modules import alone, nothing of a machine is in it, migrations make the tables."""

from __future__ import annotations

import importlib
import json
import re
import sqlite3
import subprocess
from pathlib import Path

import pytest
from alembic.autogenerate import compare_metadata
from alembic.runtime.migration import MigrationContext
from sqlalchemy import create_engine

from scanner.store.errors import StoreError
from scanner.store.migrate import migrate
from scanner.store.tables import metadata
from tests.harness import ROOT

PACKAGES = ["kernel", "addresses", "config", "chains", "scanner", "webhooks", "api", "marketplace", "devnet", "bench"]
MODULES = [
    ".".join(path.relative_to(ROOT).with_suffix("").parts)
    for package in PACKAGES
    for path in sorted((ROOT / package).rglob("*.py"))
    if not any(part.startswith(".") for part in path.relative_to(ROOT).parts)  # the peer's environment of a benchmark
    if "migrations" not in path.parts
]
FOREIGN = re.compile(r"(?<![\w.])/(?:work|root|home)/|pypi\.org|pythonhosted|registry\.npmjs")


@pytest.mark.parametrize("name", MODULES)
def test_every_module_imports(name: str) -> None:
    assert importlib.import_module(name).__doc__


def test_nothing_of_a_machine_or_a_registry_is_in_the_project() -> None:
    listed = subprocess.run(["git", "ls-files"], cwd=ROOT, capture_output=True, text=True, check=True).stdout.split()
    texts = {name: (ROOT / name).read_text() for name in listed if name != "tests/repo/test_layout.py"}

    assert {"README.md", "pyproject.toml", "scanner/__main__.py", "package-lock.json"} <= texts.keys()
    assert [name for name, text in texts.items() if FOREIGN.search(text)] == []
    packages = json.loads((ROOT / "package-lock.json").read_text())["packages"]
    assert not any("resolved" in package for package in packages.values())


def test_migrations_make_exactly_the_tables(tmp_path: Path) -> None:
    path = tmp_path / "scanner.db"
    migrate(path)
    with create_engine(f"sqlite:///{path}").connect() as connection:
        context = MigrationContext.configure(connection, opts={"compare_type": False})
        assert compare_metadata(context, metadata) == []


def test_a_newer_store_is_refused_with_a_sentence(tmp_path: Path) -> None:
    path = tmp_path / "scanner.db"
    migrate(path)
    with sqlite3.connect(path) as store:
        store.execute("UPDATE alembic_version SET version_num = '9999'")

    with pytest.raises(StoreError, match="newer version"):
        migrate(path)


def test_what_is_no_database_is_refused_with_a_sentence(tmp_path: Path) -> None:
    (tmp_path / "scanner.db").write_bytes(b"not a database at all, but long enough to be read as one" * 100)

    with pytest.raises(StoreError, match="DB_PATH"):
        migrate(tmp_path / "scanner.db")
    with pytest.raises(StoreError, match="does not exist"):
        migrate(tmp_path / "nowhere" / "scanner.db")
