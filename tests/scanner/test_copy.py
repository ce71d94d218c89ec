"""`copy` moves a stopped file to a database, or nothing at all."""

from __future__ import annotations

import asyncio
import sqlite3
from contextlib import closing
from pathlib import Path

import pytest

from kernel.clock import SystemClock
from kernel.sealing.keys import make_key
from kernel.sealing.secret_cipher import SecretCipher
from kernel.store.database import open_database
from kernel.store.leases import Leases
from kernel.store.lock import exclusive_store_lock
from kernel.store.postgresql import PostgresDatabase
from scanner import events
from scanner.__main__ import main
from scanner.model import Intent, IntentStatus, Reason
from scanner.reading.folding import Judged
from scanner.store import intent_search, intents, outbox, transfers
from scanner.store.intent_search import IntentFilter
from tests.harness import empty_store
from tests.scanner.facts import NOW, a_hash, a_transfer, an_intent

KEY = "MDEyMzQ1Njc4OTAxMjM0NTY3ODkwMTIzNDU2Nzg5MDE="
AMOUNTS = [10**30 + 1, 7, 1000]


@pytest.fixture
async def given(pg: PostgresDatabase, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A store that is sealed with the key beside it, and where it is to be copied to."""
    path = tmp_path / "scanner.db"
    path.write_bytes(empty_store())
    beside = SecretCipher([make_key(path)])
    async with open_database(path) as db, db.write() as tx:
        await intents.add_many(
            tx,
            [
                an_intent(f"o-{n}", amount=n_amount, callback_secret=beside.encrypt(f"secret {n}"), token_symbol="U\0S")
                for n, n_amount in enumerate(AMOUNTS)
            ],
        )
        paid = a_transfer(an_intent("o-2"), tx_hash=a_hash("tx"), amount=1000)
        wrong = a_transfer(an_intent("o-2"), tx_hash=a_hash("wrong"), amount=5, block_number=1)
        # The one that settles nothing comes first: triggers that look at one row after the other would refuse it.
        await transfers.add_many(tx, [Judged(wrong, "o-2", Reason.DUPLICATE), Judged(paid, "o-2", None)], now=NOW)
        confirmed = an_intent("o-2")._replace(status=IntentStatus.CONFIRMED, tx_hash=paid.tx_hash, confirmed_at=NOW)
        await intents.follow_many(tx, [(an_intent("o-2"), confirmed._replace(status=IntentStatus.CONFIRMING))], NOW)
        await intents.confirm_many(tx, [confirmed], NOW)
        held = (await transfers.of_intents(tx, ["o-2"]))["o-2"]
        await transfers.mark_settled(tx, [row.id for row in held if row.counted])
        await outbox.add(tx, [events.confirmed(confirmed, held, NOW)])
    monkeypatch.setenv("DB_PATH", str(path))
    monkeypatch.setenv("DATABASE_URL", pg.settings.url)
    monkeypatch.setenv("SCANNER_SECRET_KEY", KEY)
    return path


async def copy() -> int:
    return await asyncio.to_thread(main, ("copy",))


async def everything(db: PostgresDatabase) -> dict[str, Intent]:
    async with db.read() as tx:
        return await intents.get_many(tx, [f"o-{n}" for n in range(len(AMOUNTS))])


async def test_everything_arrives_sealed_with_the_key_of_all_processes(
    pg: PostgresDatabase, given: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    before = given.read_bytes()  # noqa: ASYNC240 - a test
    assert await copy() == 0
    assert {"intents: 3", "transfers: 2", "events: 1"} <= set(capsys.readouterr().out.splitlines())

    found = await everything(pg)
    opens = SecretCipher([KEY]).decrypt
    assert [(found[f"o-{n}"].amount, opens(found[f"o-{n}"].callback_secret)) for n in range(3)] == [
        (amount, f"secret {n}") for n, amount in enumerate(AMOUNTS)
    ]
    assert found["o-2"].status is IntentStatus.CONFIRMED
    assert given.read_bytes() == before  # noqa: ASYNC240
    monkeypatch.delenv("DB_PATH")
    assert await asyncio.to_thread(main, ("check",)) == 0
    async with pg.write() as tx:  # numbers go on where they ended
        await intents.add_many(tx, [an_intent("next")])
        page = await intent_search.page(tx, IntentFilter(), after="o-2", limit=5)
    assert [intent.intent_id for intent in page.intents] == ["next"]


async def test_what_was_settled_is_kept_there_as_well(pg: PostgresDatabase, given: Path) -> None:
    assert await copy() == 0
    with pytest.raises(Exception, match="stays settled"):
        async with pg.write() as tx:
            await tx.exec_driver_sql("UPDATE intents SET status = 'pending' WHERE intent_id = 'o-2'")


@pytest.mark.parametrize("trouble", ["rows", "a process", "a daemon", "an orphan"])
async def test_where_anything_is_wrong_nothing_is_copied(
    pg: PostgresDatabase, given: Path, capsys: pytest.CaptureFixture[str], trouble: str
) -> None:
    lock = exclusive_store_lock(given, service="scanner", setting="DB_PATH")
    match trouble:
        case "rows":
            async with pg.write() as tx:
                await tx.exec_driver_sql("INSERT INTO unread_logs VALUES (1, 'direct', 1, '', 'why', 1)")
        case "a process":
            await Leases(pg, SystemClock(), node_id="n", version="1", lease_s=6, names=[]).join()
        case "a daemon":
            lock.__enter__()
        case "an orphan":
            with closing(sqlite3.connect(given)) as link, link:
                link.execute("PRAGMA foreign_keys = OFF")
                link.execute("UPDATE transfers SET intent_id = 'nobody' WHERE tx_hash <> ?", (a_hash("tx"),))
    try:
        assert await copy() == 1
    finally:
        if trouble == "a daemon":
            lock.__exit__(None, None, None)
    assert capsys.readouterr().err.strip()
    assert await everything(pg) == {}
