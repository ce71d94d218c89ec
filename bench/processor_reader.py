"""A peer in an environment of its own: `@subsquid/evm-processor` reading the same logs, decoding and storing none."""

from __future__ import annotations

import asyncio

from bench.peers import ROOT, run
from chains.evm.fee_proxy import EVENT_TOPIC
from devnet.evm.anvil import PROXY
from devnet.toolchain import setup_folder

HOME = ROOT / "bench" / "evm_processor"
BLOCKS, LOGS = 5_000, 100_000


async def processor_reader(url: str) -> float:
    """
    Return seconds for 100,000 logs.

    It asks for the header of each block and for every log of ten blocks at a time, and picks what was wanted itself.
    """
    node = await asyncio.to_thread(setup_folder, HOME)
    said = await run(str(node), str(HOME / "reader.cjs"), url, PROXY.lower(), EVENT_TOPIC, str(BLOCKS))
    found, seconds = said.split()[-2:]
    if int(found) != LOGS:
        raise RuntimeError(f"evm-processor found {found} logs")
    return float(seconds)
