"""What the simulated machine below a run notices."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

from tests.harness import ROOT

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
