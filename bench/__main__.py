"""`python -m bench [names]`: run measurements and print one table."""

from __future__ import annotations

import asyncio
import dataclasses
import json
import logging
import sys

from bench import (
    api,
    attack,
    direct,
    families,
    idle,
    listener,
    memory,
    proofs,
    push,
    scale,
    scan,
    store,
    watches,
    webhooks,
)
from bench.table import TableRow, show
from devnet import toolchain
from kernel.tasks.gc import tune_gc

ALL = {
    "scan": scan.run,
    "api": api.run,
    "listener": listener.run,
    "webhooks": webhooks.run,
    "watches": watches.run,
    "direct": direct.run,
    "families": families.run,
    "memory": memory.run,
    "idle": idle.run,
    "proofs": proofs.run,
    "push": push.run,
    "attack": attack.run,
    "scale": scale.run,
    "store": store.run,
}


async def measure(name: str) -> list[TableRow]:
    """Run one measurement in a process of its own: none inherits what another left in memory."""
    command = (sys.executable, "-m", "bench", "--rows", name)
    process = await asyncio.create_subprocess_exec(*command, stdout=asyncio.subprocess.PIPE)
    out, _ = await process.communicate()
    if process.returncode:
        raise SystemExit(f"measuring {name} failed")
    return [TableRow(**row) for row in json.loads(out.splitlines()[-1])]


async def main(names: list[str]) -> None:
    rows: list[TableRow] = []
    for name in names or list(ALL):
        print(f"measuring {name} …", flush=True)
        rows += await measure(name)
    show(rows)


async def one(name: str) -> None:
    print(json.dumps([dataclasses.asdict(row) for row in await ALL[name]()]))


if __name__ == "__main__":
    logging.basicConfig(level=logging.CRITICAL)
    if sys.argv[1:2] == ["--rows"]:
        tune_gc()  # as the daemon does
        asyncio.run(one(sys.argv[2]))
    else:
        toolchain.setup()
        asyncio.run(main(sys.argv[1:]))
