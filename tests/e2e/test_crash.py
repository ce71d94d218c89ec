"""
SIGKILL at any moment: the set of delivered events equals the set of payments, each settled once.

`CRASH_KILLS` and `CRASH_PAYMENTS` set the size of the long run; `CRASH_SEED` repeats a run.
"""

from __future__ import annotations

import random
from pathlib import Path
from typing import Any

import pytest

from devnet.evm.anvil import Anvil
from devnet.receiver import Receiver
from tests.e2e.crashes import SEED, CrashInjector, Size, is_killed, kill_at_random, of_size, rows
from tests.harness import MERCHANT, USDT, environment, intent_body, running

# The simulator kills between any two steps; here real processes die on a real disk.
pytestmark = [pytest.mark.anvil, pytest.mark.process, pytest.mark.long]


@of_size(Size(kills=12, payments=100))
@pytest.mark.timeout(3600)
async def test_killed_at_random_moments_nothing_is_missed_invented_or_doubled(
    chain: Anvil, hooks: Receiver, tmp_path: Path, size: Size
) -> None:
    chance = random.Random(SEED)

    async def pay(i: int, answer: dict[str, Any]) -> str:
        tx = await chain.pay(USDT, MERCHANT, 1000 + i, answer["paymentReference"])
        if chance.random() < 0.5:
            await chain.mine(1)
        return tx

    async def bury() -> None:
        await chain.mine(6)

    await kill_at_random(
        tmp_path,
        environment(tmp_path, chain.url),
        hooks,
        size,
        chance=chance,
        order=lambda i: {"amount": str(1000 + i)},
        pay=pay,
        bury=bury,
    )


async def story(chain: Anvil, hooks: Receiver, env: dict[str, str]) -> None:
    """Register, pay, confirm, deliver; what was done before is found done."""
    async with running(env) as scanner:
        status, answer = await scanner.api.call(
            "POST", "/intents", intent_body(intentId="order-1", callbackUrl=hooks.url())
        )
        assert status == 200, answer
        view = await scanner.api.intent("order-1")
        if not view["transfers"] and not getattr(chain, "was_paid", False):
            await chain.pay(USDT, MERCHANT, 1000, answer["paymentReference"])
            chain.was_paid = True  # type: ignore[attr-defined]
            await chain.mine(5)
        await scanner.api.until("order-1", lambda intent: intent["webhookDeliveredAt"] is not None, 10)


@pytest.mark.parametrize("after_commit", [False, True], ids=["before the commit", "after the commit"])
@pytest.mark.parametrize("at", range(1, 9))
async def test_killed_at_a_write_the_story_ends_the_same(
    chain: Anvil, hooks: Receiver, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, at: int, after_commit: bool
) -> None:
    env = environment(tmp_path, chain.url)
    with monkeypatch.context() as patch:
        CrashInjector(at, after_commit=after_commit).install(patch)
        await is_killed(story(chain, hooks, env))
    await story(chain, hooks, env)

    (delivery,) = hooks.distinct.values()
    assert delivery.json["intentId"] == "order-1"
    assert rows(tmp_path, "SELECT status, amount_received FROM intents") == [("confirmed", "1000")]
    assert rows(tmp_path, "SELECT counted, settled, reason FROM transfers") == [(1, 1, None)]
    assert rows(tmp_path, "SELECT status FROM events") == [("delivered",)]
