"""`python -m bench [names]`: run measurements and print one table."""

from __future__ import annotations

import asyncio
import logging
import sys

from bench import api, direct, idle, memory, scan, watches, webhooks
from bench.table import Row, show
from devnet import toolchain
from scanner.collector import calm_collector

ALL = {
    "scan": scan.run,
    "api": api.run,
    "webhooks": webhooks.run,
    "watches": watches.run,
    "direct": direct.run,
    "memory": memory.run,
    "idle": idle.run,
}


async def main(names: list[str]) -> None:
    rows: list[Row] = []
    for name in names or list(ALL):
        print(f"measuring {name} …", flush=True)
        rows += await ALL[name]()
    show(rows)


if __name__ == "__main__":
    logging.basicConfig(level=logging.CRITICAL)
    toolchain.setup()
    calm_collector()  # as the daemon does
    asyncio.run(main(sys.argv[1:]))
