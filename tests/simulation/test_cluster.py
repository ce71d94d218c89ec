"""Several daemons on one database: what a simulation stands in for, and what it finds out about who leads."""

from __future__ import annotations

import asyncio
import sqlite3
from pathlib import Path
from typing import Any

import pytest

from kernel.store import sqlite_driver
from kernel.store.database import SqliteDatabase, open_database
from kernel.store.postgresql import ConnectionLost
from kernel.store.sqlite_driver import RollingBack
from tests.chaos.schedule import LEADER
from tests.simulation.cluster import Fence, end_transactions
from tests.simulation.loop import PROCESS, SimLoop, SimProcess
from tests.simulation.machine import UNHEARD, PatientConnection, _patient
from tests.simulation.plans import LEASE_S, NODES, Asked, sim_plans
from tests.simulation.shared_store import SharedDatabase, Way, in_sqlite

TABLES = """
    CREATE TABLE checkpoints (chain_id, rail, last_scanned_block);
    CREATE TABLE leases (name, holder);
    INSERT INTO checkpoints VALUES (97, 'direct', 1);
    INSERT INTO leases VALUES ('chain:97', 'first');
"""


def connected(path: Path, kind: type[sqlite3.Connection] = sqlite3.Connection) -> PatientConnection:
    opened = sqlite3.connect(path, isolation_level=None, factory=_patient(kind), check_same_thread=False)
    assert isinstance(opened, PatientConnection)
    return opened


def test_what_the_server_ended_is_undone_and_not_gone_on_with(tmp_path: Path) -> None:
    process, one = SimProcess("one"), connected(tmp_path / "store")
    process.connections = [one]
    one.execute("CREATE TABLE rows (value)")
    one.execute("BEGIN IMMEDIATE")
    one.execute("INSERT INTO rows VALUES (1)")
    end_transactions(process)
    insert = "INSERT INTO rows VALUES (2)"
    for go_on in (lambda: one.execute(insert), lambda: one.cursor().execute(insert), one.commit):
        with pytest.raises(sqlite3.OperationalError, match=UNHEARD):
            go_on()
    one.execute("BEGIN IMMEDIATE")
    one.execute("INSERT INTO rows VALUES (4)")
    one.commit()

    assert one.execute("SELECT value FROM rows").fetchall() == [(4,)]
    one.close()
    end_transactions(process)  # of a connection that is closed there is nothing to end


INSERT = "INSERT INTO rows VALUES (1)"


async def write(db: SharedDatabase, *statements: str, ended: SimProcess | None = None) -> None:
    async with db.write() as tx:
        await tx.exec_driver_sql(INSERT)
        if ended is not None:
            end_transactions(ended)
        for statement in statements:
            await tx.exec_driver_sql(statement)


@pytest.mark.parametrize("after", [(), (INSERT,)])
async def test_what_the_server_ended_is_a_lost_connection_to_the_scanner(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, after: tuple[str, ...]
) -> None:
    """A daemon waits for its database; the file's own driver called it a disk that failed, for which one ends."""
    process = SimProcess("one")
    file = connected(tmp_path / "store", RollingBack)
    file.execute("CREATE TABLE rows (value)")
    file.close()

    def opened(path: Path, _timeout_s: float) -> sqlite3.Connection:
        process.connections.append(connected(path, RollingBack))
        return process.connections[-1]

    monkeypatch.setattr(sqlite_driver, "_open", opened)
    async with open_database(tmp_path / "store") as store:
        assert isinstance(store, SqliteDatabase)
        db = SharedDatabase(store._writer, store._reader, Way())
        with pytest.raises(ConnectionLost, match=UNHEARD):
            await write(db, *after, ended=process)
        await write(db)
        async with db.read() as tx:
            kept = (await tx.exec_driver_sql("SELECT value FROM rows")).scalars().all()

    assert kept == [1]


def test_a_stopped_process_takes_no_step_and_then_all_of_them_in_order() -> None:
    loop, process, seen = SimLoop(1), SimProcess("one"), []

    async def count() -> None:
        PROCESS.set(process)
        for number in range(4):
            await asyncio.sleep(1)
            seen.append((number, loop.time()))

    async def world() -> None:
        counting = loop.create_task(count())
        await asyncio.sleep(1.5)
        loop.pause(process)
        await asyncio.sleep(10)
        assert [number for number, _ in seen] == [0]
        loop.resume(process)
        await counting

    loop.run_until_complete(world())
    loop.close()

    assert [number for number, _ in seen] == [0, 1, 2, 3]
    assert seen[1][1] == pytest.approx(1011.5, abs=0.01)
    assert seen[2][1] == pytest.approx(1012.5, abs=0.01)


@pytest.mark.parametrize(
    ("said", "meant"),
    [
        ("SELECT term FROM leases WHERE name = ? FOR UPDATE", "SELECT term FROM leases WHERE name = ?"),
        (
            "SELECT name FROM leases WHERE name = ANY (CAST(? AS text[])) AND holder = ? ORDER BY name FOR SHARE",
            "SELECT name FROM leases WHERE name IN (SELECT value FROM json_each(?)) AND holder = ? ORDER BY name",
        ),
        (
            "SELECT CASE WHEN is_called THEN last_value ELSE 0 END FROM intents_number_seq",
            "SELECT coalesce(max(number), 0) FROM intents",
        ),
        ("UPDATE leases SET holder = ? WHERE name = ?", "UPDATE leases SET holder = ? WHERE name = ?"),
    ],
)
def test_what_is_said_to_the_server_is_said_to_a_file(said: str, meant: str) -> None:
    assert in_sqlite(said) == meant


class Cluster:
    def incarnation(self, process: SimProcess) -> str:
        return process.name


class Said:
    def __init__(self) -> None:
        self.found: list[str] = []

    def say(self, sentence: str) -> None:
        self.found.append(sentence)


@pytest.mark.parametrize(("who", "found"), [("first", []), ("second", ["second moved the direct rail"])])
def test_whoever_moves_a_checkpoint_leads_its_chain(tmp_path: Path, who: str, found: list[str]) -> None:
    store, said = sqlite3.connect(tmp_path / "store"), Said()
    store.executescript(TABLES)
    cluster: Any = Cluster()
    fence = Fence(cluster, tmp_path / "store", said)  # type: ignore[arg-type]
    fence()  # as it was at first, nobody moved it
    store.execute("UPDATE checkpoints SET last_scanned_block = 2")
    store.commit()
    token = PROCESS.set(SimProcess(who))
    fence()
    PROCESS.reset(token)

    assert [sentence.partition(" of chain")[0] for sentence in said.found] == found


def test_in_every_run_the_leader_is_stopped_for_longer_than_its_lease() -> None:
    for seed in range(30):
        first, second = sim_plans(Asked(seed, family="cluster"))
        stops = [f for f in first.faults if f.kind == "node_stop" and f.size == LEADER and f.seconds > LEASE_S]

        assert stops
        assert sorted(f.size % NODES for f in first.faults if f.kind == "node_clock") == list(range(NODES))
        assert not [f for plan in (first, second) for f in plan.faults if f.area == "process" and f.kind != "terminate"]
