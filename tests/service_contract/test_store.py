"""Lock, migrations and connections are the same for both services."""

from __future__ import annotations

import os
import sqlite3
from contextlib import closing
from pathlib import Path

import pytest

from kernel.errors import StoreError
from kernel.store.lock import exclusive_store_lock
from tests.service_contract.services import BOTH, ServiceUnderTest


@BOTH
def test_a_store_in_use_names_the_service_the_setting_and_the_process(
    service: ServiceUnderTest, tmp_path: Path
) -> None:
    store = service.store(tmp_path)

    def lock() -> object:
        return exclusive_store_lock(store, service=service.kind.service, setting=service.kind.setting)

    with lock(), pytest.raises(StoreError) as refused, lock():  # type: ignore[attr-defined]
        pass
    assert str(refused.value).startswith(f"{service.kind.setting}: {store} is in use by another {service.name}")
    assert f"process {os.getpid()}" in str(refused.value)


@BOTH
def test_a_folder_that_is_missing_and_a_file_that_is_no_store_are_named(
    service: ServiceUnderTest, tmp_path: Path
) -> None:
    with pytest.raises(StoreError, match=f"{service.kind.setting}: folder .* does not exist"):
        service.kind.migrate(tmp_path / "nowhere" / "a.db")
    (tmp_path / "a.db").write_bytes(b"not a database at all, but long enough to be read as one" * 100)
    with pytest.raises(StoreError, match=f"{service.kind.setting}: cannot open"):
        service.kind.migrate(tmp_path / "a.db")


@BOTH
def test_a_newer_store_is_refused_with_a_sentence(service: ServiceUnderTest, tmp_path: Path) -> None:
    store = service.store(tmp_path)
    service.kind.migrate(store)
    with closing(sqlite3.connect(store)) as link, link:
        link.execute("UPDATE alembic_version SET version_num = '9999'")
    with pytest.raises(StoreError, match="newer version"):
        service.kind.migrate(store)


@BOTH
async def test_the_first_write_on_a_fresh_store_waits_for_no_reader(service: ServiceUnderTest, tmp_path: Path) -> None:
    """Changing the journal to WAL needs the store for itself: it is done before anybody reads."""
    store = service.store(tmp_path)
    service.kind.migrate(store)
    async with service.open_database(store) as database, database.read() as reading:
        await reading.exec_driver_sql(service.read)
        async with database.write() as tx:
            await tx.exec_driver_sql(service.insert)
            mode = (await tx.exec_driver_sql("PRAGMA journal_mode")).scalar_one()
    assert mode == "wal"


@BOTH
async def test_a_failure_of_the_driver_is_an_error_of_the_store(service: ServiceUnderTest, tmp_path: Path) -> None:
    store = service.store(tmp_path)
    service.kind.migrate(store)
    async with service.open_database(store) as database:
        for one in (database.read, database.write):
            with pytest.raises(StoreError, match="no such table"):
                async with one() as tx:
                    await tx.exec_driver_sql("SELECT * FROM nothing_of_ours")
