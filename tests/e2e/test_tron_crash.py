"""
The crash tests of the EVM rail, on Tron: SIGKILL at any moment, and a cut at every write.

`CRASH_KILLS` and `CRASH_PAYMENTS` set the size of the long run; `CRASH_SEED` repeats a run.
"""

from __future__ import annotations

import asyncio
import random
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from devnet.receiver import Receiver
from devnet.tron.ledger import CHAIN_ID, account
from devnet.tron.trongrid import TronGrid
from tests.e2e.crashes import SEED, CrashInjector, Size, is_killed, kill_at_random, of_size, rows
from tests.e2e.tron_shop import chain_of_today, environment, fresh_address, opened

# The simulator kills between any two steps; here real processes die on a real disk.
pytestmark = pytest.mark.long
BLOCK_S = 0.3
# Blocks come ten times as fast as the clock goes: from less than ten minutes behind it (who registers before the
# first head was read is dated by the clock) to less than two ahead (no block comes from the future).
AGO_S = 450


@pytest.fixture
async def grid() -> AsyncIterator[TronGrid]:
    async with TronGrid(chain_of_today(ago_s=AGO_S)) as found:
        yield found


@of_size(Size(kills=5, payments=30))
@pytest.mark.process
@pytest.mark.timeout(3600)
async def test_killed_at_random_moments_nothing_is_missed_invented_or_doubled(
    grid: TronGrid, hooks: Receiver, tmp_path: Path, size: Size
) -> None:
    chance = random.Random(SEED)

    async def pay(i: int, answer: dict) -> str:
        tx = grid.ledger.transfer(answer["checkoutBlock"]["destination"], 1000 + i)
        if chance.random() < 0.5:
            await asyncio.sleep(BLOCK_S)  # as often as not into another block
        return tx

    async def bury() -> None:
        grid.ledger.settle()

    producing = asyncio.create_task(grid.ledger.produce(BLOCK_S))
    try:
        await kill_at_random(
            tmp_path,
            environment(tmp_path, grid, WEBHOOK_RETRY_DELAYS_SEC="0.1,0.2,0.4,0.8,1.6"),
            hooks,
            size,
            chance=chance,
            order=lambda i: {"chainId": CHAIN_ID, "destination": account(f"stall {i}"), "amount": str(1000 + i)},
            pay=pay,
            bury=bury,
        )
    finally:
        producing.cancel()
        await asyncio.wait([producing])


async def story(grid: TronGrid, hooks: Receiver, folder: Path, to: str) -> None:
    """Register, pay, confirm, deliver; what was done before is found done."""
    async with opened(folder, grid, hooks) as tron:
        await tron.sell(intentId="order-1", destination=to)
        if not any(to in {move.to for move in tx.moves} for tx in grid.ledger.by_id.values()):
            grid.ledger.transfer(to, 1000)
            grid.ledger.settle()
        await tron.api.until("order-1", lambda intent: intent["webhookDeliveredAt"] is not None, 10)


@pytest.mark.parametrize("after_commit", [False, True], ids=["before the commit", "after the commit"])
@pytest.mark.parametrize("at", range(1, 7))
async def test_killed_at_a_write_the_story_ends_the_same(
    grid: TronGrid, hooks: Receiver, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, at: int, after_commit: bool
) -> None:
    to = fresh_address()
    with monkeypatch.context() as patch:
        CrashInjector(at, after_commit=after_commit).install(patch)
        assert await is_killed(story(grid, hooks, tmp_path, to))
    await story(grid, hooks, tmp_path, to)

    (delivery,) = hooks.distinct.values()
    assert delivery.json["intentId"] == "order-1"
    assert rows(tmp_path, "SELECT status, amount_received FROM intents") == [("confirmed", "1000")]
    assert rows(tmp_path, "SELECT counted, settled, reason FROM transfers") == [(1, 1, None)]
    assert rows(tmp_path, "SELECT status FROM events") == [("delivered",)]
