"""A look at the health of a store on PostgreSQL; copies of it are made with PostgreSQL's own tools."""

from __future__ import annotations

from collections.abc import Sequence

from kernel.errors import WrongKey
from kernel.sealing.secret_cipher import SecretCipher
from kernel.store.maintenance import Health, StoreKind
from kernel.store.postgresql import PostgresDatabase, PostgresSettings, open_postgresql

LONG_S = 600.0  # it reads whole tables


async def check_database(kind: StoreKind, settings: PostgresSettings, keys: Sequence[str]) -> Health:
    """
    Look for rows that belong to nothing, and for what no key at hand opens; daemons may be running.

    Damage of pages is for PostgreSQL's own tools to find (pg_amcheck, data checksums).

    Raises:
        StoreError: the database cannot be used.
    """
    async with open_postgresql(settings, statement_s=LONG_S) as db:
        problems = []
        for what, question in kind.orphans.items():
            found = await _number(db, question)
            problems += [f"{what}: {found}"] if found else []
        counts = {table: await _number(db, f"SELECT count(*) FROM {table}") for table in kind.counted}  # noqa: S608
        try:
            await _open_sealed(kind, db, keys)
        except WrongKey as exc:
            return Health(tuple(problems), counts, f"no key at hand opens the database: {exc}")
    return Health(tuple(problems), counts)


async def _number(db: PostgresDatabase, question: str) -> int:
    async with db.read(statement_s=LONG_S) as tx:
        return int((await tx.exec_driver_sql(question)).scalar_one())


async def _open_sealed(kind: StoreKind, db: PostgresDatabase, keys: Sequence[str]) -> None:
    cipher = SecretCipher(keys, setting=kind.key_setting)
    async with db.read(statement_s=LONG_S) as tx:
        sealed = list((await tx.exec_driver_sql(kind.sealed)).scalars())
    for text in sealed:
        cipher.decrypt(text)
