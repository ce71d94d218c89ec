"""The checks that a person runs against the real services pass against the stand-ins: they are code like any other."""

from __future__ import annotations

import asyncio
import os
import sys

import pytest

from devnet.ton.toncenter import TonCenter
from devnet.tron.trongrid import TronGrid
from tests.e2e import ton_shop, tron_shop
from tests.harness import ROOT

BUSY = "0:" + "AB" * 32


async def checked(file: str, **environment: str) -> str:
    """Run the live checks of a file; return what pytest says last."""
    process = await asyncio.create_subprocess_exec(
        sys.executable, "-m", "pytest", "-q", "-n", "0", "-m", "live", file,
        cwd=ROOT, env={**os.environ, **environment}, stdout=asyncio.subprocess.PIPE, stderr=asyncio.subprocess.STDOUT,
    )  # fmt: skip
    output, _ = await process.communicate()
    return output.decode().strip().splitlines()[-1]


@pytest.mark.long
async def test_what_is_checked_against_trongrid():
    async with TronGrid(tron_shop.chain_of_today()) as grid:
        said = await checked("tests/chains/tron/test_live.py", TRONGRID_URL=grid.url, TRONGRID_API_KEY="a-key")
        assert said.startswith("4 passed"), said
        assert grid.requests <= 60


@pytest.mark.long
async def test_what_is_checked_against_toncenter():
    ledger = ton_shop.chain_of_today()
    for _ in range(30):
        ledger.pay(BUSY, 5, master=ton_shop.MASTER)
    ledger.advance(30)
    async with TonCenter(ledger) as center:
        said = await checked(
            "tests/chains/ton/test_live.py", TONCENTER_URL=center.url, TONCENTER_API_KEY="k", BUSY_TON_WALLET=BUSY
        )
        assert said.startswith("6 passed"), said
