"""Backups: taken while the scanner works, and put back after a disaster without losing or doubling a payment."""

from __future__ import annotations

import asyncio
import shutil
import sqlite3
from contextlib import closing
from pathlib import Path

import aiohttp
import pytest

import scanner.store.migrate
from devnet.evm.anvil import Anvil
from devnet.receiver import Receiver
from scanner.store import maintenance
from scanner.store.errors import StoreError
from scanner.store.migrate import MIGRATIONS, migrate
from tests.harness import MERCHANT, SECRET, USDT, Process, empty_store, environment, process
from tests.processes import start

pytestmark = [pytest.mark.anvil, pytest.mark.process]


async def command(env: dict[str, str], *arguments: str | Path) -> tuple[int, str]:
    """Run one of the scanner's commands; return its exit code and all it said."""
    running = await start("scanner", *arguments, env=env)
    async with asyncio.timeout(60):
        said, _ = await running.communicate()
    return running.returncode or 0, said.decode()


async def pay(scanner: Process, chain: Anvil, hooks: Receiver, intent_id: str, reference: str) -> str:
    """Pay an intent and wait until its backend was notified; return the transaction."""
    tx = await chain.pay(USDT, MERCHANT, 1000, reference)
    await chain.mine(6)
    await scanner.api.until(intent_id, lambda intent: intent["webhookDeliveredAt"] is not None, 30)
    return tx


async def register(scanner: Process, hooks: Receiver, intent_id: str) -> str:
    created = await scanner.api.create(intentId=intent_id, callbackUrl=hooks.url())
    return str(created["paymentReference"])


async def test_after_an_old_backup_is_restored_the_chain_is_read_again_and_every_payment_is_reported_once(
    chain: Anvil, hooks: Receiver, tmp_path: Path
) -> None:
    env = environment(tmp_path, chain.url)
    copy = tmp_path / "backup.db"
    async with aiohttp.ClientSession() as session:
        async with process(env, session) as scanner:
            references = {name: await register(scanner, hooks, name) for name in ("before", "after", "never")}
            paid = {"before": await pay(scanner, chain, hooks, "before", references["before"])}
            code, said = await command(env, "backup", copy)
            assert (code, said.splitlines()[0]) == (0, f"{copy}: a whole copy of {tmp_path / 'scanner.db'}")
            paid["after"] = await pay(scanner, chain, hooks, "after", references["after"])
            reported = set(hooks.distinct)
            code, said = await command(env, "restore", copy)
            assert (code, "is in use by another scanner" in said) == (1, True)
            await scanner.kill()

        code, said = await command(env, "restore", copy)
        assert code == 0, said
        assert "before-restore" in said
        async with process(env, session) as scanner:
            intent = await scanner.api.until("after", lambda intent: intent["webhookDeliveredAt"] is not None, 30)
            assert intent["txHash"] == paid["after"]
            assert (await scanner.api.intent("before"))["status"] == "confirmed"
            assert (await scanner.api.intent("never"))["status"] == "pending"
            assert await scanner.terminate() == 0

    assert set(hooks.distinct) == reported  # told again under the same ids: a receiver takes each once
    assert {d.json["intentId"]: d.json["txHash"] for d in hooks.distinct.values()} == paid
    assert all(d.verified(SECRET) for d in hooks.distinct.values())
    code, said = await command(env, "check")
    assert (code, said.splitlines()[-1]) == (0, "ok")
    assert "intents: 3" in said


@pytest.fixture
def store(tmp_path: Path) -> Path:
    path = tmp_path / "scanner.db"
    path.write_bytes(empty_store())
    return path


def test_a_backup_is_one_file_that_checks_out_and_overwrites_nothing(store: Path, tmp_path: Path) -> None:
    copy = tmp_path / "copy.db"
    maintenance.backup(store, copy)
    assert maintenance.check(copy).problems == ()
    assert {path.name for path in tmp_path.iterdir()} == {"scanner.db", "copy.db"}
    with pytest.raises(StoreError, match="never overwrites"):
        maintenance.backup(store, copy)


def test_what_is_no_whole_store_is_not_restored(store: Path, tmp_path: Path) -> None:
    other = tmp_path / "other.db"
    with sqlite3.connect(other) as link:
        link.execute("CREATE TABLE t (a)")
    torn = tmp_path / "torn.db"
    maintenance.backup(store, torn)
    torn.write_bytes(torn.read_bytes()[:20_000])
    newer = tmp_path / "newer.db"
    maintenance.backup(store, newer)
    with sqlite3.connect(newer) as link:
        link.execute("UPDATE alembic_version SET version_num = '9999'")
    before, there = store.read_bytes(), set(tmp_path.iterdir())
    for bad in (other, torn, newer, tmp_path / "nothing.db"):
        with pytest.raises(StoreError):
            maintenance.restore(bad, store)
    assert store.read_bytes() == before
    assert set(tmp_path.iterdir()) - there <= {tmp_path / "scanner.db.lock"}


NEXT = """
import sqlalchemy as sa
from alembic import op

revision, down_revision = "9998", "0001"


def upgrade():
    op.add_column("heartbeats", sa.Column("why", sa.Text))
"""


def test_a_backup_of_an_older_version_is_restored_as_one_of_this(
    store: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    older = tmp_path / "older.db"
    maintenance.backup(store, older)
    newer = Path(shutil.copytree(MIGRATIONS, tmp_path / "migrations"))
    (newer / "versions" / "9998_next.py").write_text(NEXT)
    monkeypatch.setattr(scanner.store.migrate, "MIGRATIONS", newer)
    assert migrate(store) == "9998"

    maintenance.restore(older, store)

    assert maintenance.check(store).problems == ()
    with closing(sqlite3.connect(store)) as link:
        assert link.execute("SELECT version_num FROM alembic_version").fetchone() == ("9998",)
        assert "why" in {row[1] for row in link.execute("PRAGMA table_info(heartbeats)")}


def test_a_restore_keeps_the_former_store_whatever_was_kept_before(store: Path, tmp_path: Path) -> None:
    copy = tmp_path / "copy.db"
    maintenance.backup(store, copy)
    assert maintenance.restore(copy, store) == tmp_path / "scanner.db.before-restore"
    assert maintenance.restore(copy, store) == tmp_path / "scanner.db.before-restore.1"
    store.unlink()
    assert maintenance.restore(copy, store) is None
    assert maintenance.check(store).problems == ()


@pytest.mark.parametrize(
    ("wound", "said"),
    [
        (
            (
                "INSERT INTO events (event_id, subject_kind, subject_id, event_type, chain_id, body, receiver, status, round,"
                " attempts, next_attempt_at, created_at) VALUES ('e', 'intent', 'x', 'y', 1, '', 'r', 'pending', 1, 0, 0, 0)"
            ),
            "webhooks of nothing: 1",
        ),
        (
            (
                "INSERT INTO attempts (event_id, round, number, at, ok, latency_ms, response)"
                " VALUES ('gone', 1, 1, 0, 0, 0, '')"
            ),
            "attempts of no webhook: 1",
        ),
    ],
)
def test_rows_that_belong_to_nothing_are_reported(store: Path, wound: str, said: str) -> None:
    with sqlite3.connect(store) as link:
        link.execute(wound)
    assert said in maintenance.check(store).problems


def test_damage_is_reported(store: Path) -> None:
    content = bytearray(store.read_bytes())
    page = 4096
    content[3 * page : 3 * page + 200] = b"\xff" * 200
    store.write_bytes(content)
    try:
        problems = maintenance.check(store).problems
    except StoreError as exc:
        problems = (str(exc),)
    assert problems


def test_rows_that_break_the_stores_own_rules_are_reported_and_not_restored(store: Path, tmp_path: Path) -> None:
    broken = tmp_path / "broken.db"
    maintenance.backup(store, broken)
    with closing(sqlite3.connect(broken)) as link:
        link.execute("PRAGMA ignore_check_constraints = ON")
        link.execute(
            "INSERT INTO transfers (chain_id, tx_hash, event_key, block_number, token, destination, amount, fee_amount,"
            " counted, settled, verified, seen_at) VALUES (1, 'x', '0', 1, 't', 'd', '1', '0', 0, 0, 0, 0)"
        )
        link.commit()

    assert maintenance.check(broken).problems == ("CHECK constraint failed in transfers",)
    with pytest.raises(StoreError, match="CHECK constraint failed in transfers"):
        maintenance.restore(broken, store)
