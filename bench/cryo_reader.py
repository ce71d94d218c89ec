"""A peer in an environment of its own: `cryo`, which is written in Rust, reading the same logs and decoding none."""

from __future__ import annotations

from bench.peers import python_with, run
from devnet.evm.anvil import PROXY

BLOCKS, CHUNK = 5_000, 100

SCRIPT = """
import sys, time
import cryo

url, proxy, last, chunk = sys.argv[1], sys.argv[2], int(sys.argv[3]), int(sys.argv[4])
started = time.perf_counter()
found = cryo.collect("logs", blocks=[f"1:{last + 1}"], contract=[proxy], rpc=url, inner_request_size=chunk)
assert len(found) == 100_000, len(found)
print(time.perf_counter() - started)
"""


async def cryo_reader(url: str) -> float:
    """Return seconds for 100,000 logs, as they come, in a table in memory."""
    python = await python_with("cryo", "bench-cryo.txt")
    said = await run(str(python), "-c", SCRIPT, url, PROXY, str(BLOCKS), str(CHUNK))
    return float(said.split()[-1])
