"""TON sent where a jetton was asked for is stored with its reason, in one question for many addresses."""

from __future__ import annotations

from pathlib import Path

import pytest

from devnet.receiver import receiver
from tests.e2e.ton_shop import CHAIN_ID, fresh_address, run_ton_shop


@pytest.mark.parametrize("waiting", [1, 40])
async def test_coin_at_a_direct_destination_is_stored_as_the_wrong_asset(tmp_path: Path, waiting: int) -> None:
    async with receiver() as hooks, run_ton_shop(tmp_path, hooks) as shop:
        made = [await shop.checkout(destination=(to := fresh_address())) for _ in range(waiting)]
        notice = shop.scanner.daemon.notices[CHAIN_ID]
        await notice.check()
        shop.ledger.coins[to] = 7_000_000_000
        shop.ledger.advance(5)
        for _ in range(2):
            await notice.check()
        rows = [row for row in await shop.api.unmatched(chainId=CHAIN_ID) if row["intentId"] == made[-1]["intentId"]]
        assert [(row["reason"], row["amount"], row["txHash"]) for row in rows] == [("wrong_asset", "7000000000", None)]
        assert (await shop.api.intent(made[-1]["intentId"]))["status"] == "pending"
