"""What the simulated machine below a run notices."""

from __future__ import annotations

import asyncio
import sqlite3
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

from tests.harness import ROOT
from tests.simulation.loop import SimLoop
from tests.simulation.machine import InlineQueue

COMMITS = """
import sys
from pathlib import Path
from tests.simulation import machine
machine.install()
from sqlalchemy import text
from kernel.store.database import open_database
from tests.simulation.loop import SimLoop

machine.begin(1)
loop = SimLoop(1)
seen = []

async def main():
    async with open_database(Path(sys.argv[1]) / "store.db") as db:
        async with db.write() as tx:
            await tx.execute(text("CREATE TABLE a (b)"))
        loop.on_commit.append(lambda: seen.append("commit"))
        async with db.write() as tx:
            await tx.execute(text("INSERT INTO a VALUES (1)"))
            await tx.execute(text("UPDATE a SET b = 2"))
            assert not seen
        assert seen == ["commit"], seen
        try:
            async with db.write() as tx:
                await tx.execute(text("UPDATE a SET b = 3"))
                raise KeyError
        except KeyError:
            assert seen == ["commit"], seen

loop.run_until_complete(main())
"""


def test_every_commit_is_looked_at(tmp_path: Path) -> None:
    """The promises are looked at when a transaction ends: a driver that ended it by another name was looked at late."""
    done = subprocess.run(
        [sys.executable, "-c", COMMITS, str(tmp_path)], cwd=ROOT, capture_output=True, text=True, check=False
    )

    assert (done.returncode, done.stderr) == (0, ""), done.stderr[-2000:]


def asked(queue: InlineQueue, function: Callable[[], Any]) -> asyncio.Future[Any]:
    future = asyncio.get_running_loop().create_future()
    queue.put_nowait((future, function))
    return future


def test_what_is_asked_for_behind_a_statement_that_waits_for_a_lock_waits_too() -> None:
    """Else it was done inside the transaction that the other one began, and undone with it after it was answered."""
    done: list[str] = []
    refusals = [3, 2]

    def patient(name: str, place: int) -> Callable[[], Any]:
        def step() -> None:
            if refusals[place]:
                refusals[place] -= 1
                raise sqlite3.OperationalError("database is locked")
            done.append(name)

        return step

    async def ask() -> None:
        queue = InlineQueue()
        answers = [
            asked(queue, patient("given up", 0)),
            asked(queue, lambda: done.append("undo")),
            asked(queue, patient("another", 1)),
            asked(queue, lambda: done.append("its end")),
        ]
        answers[0].cancel()
        await asyncio.wait(answers)
        await asked(queue, lambda: done.append("later"))

    loop = SimLoop(1)
    try:
        loop.run_until_complete(ask())
    finally:
        loop.close()

    assert done == ["given up", "undo", "another", "its end", "later"]
    assert refusals == [0, 0]
