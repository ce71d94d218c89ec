"""Native coin sent where a token was asked for settles nothing and is not hidden."""

from __future__ import annotations

import asyncio
from pathlib import Path
from typing import Any

import pytest

from chains.errors import ChainError
from devnet.evm.anvil import CHAIN_ID, Anvil
from devnet.evm.faulty_rpc import FaultyRpc
from devnet.receiver import Receiver
from scanner.native_deposits import NativeDepositDetector
from tests.harness import Running, environment, running

pytestmark = pytest.mark.anvil

SHOP = f"0x3{7:039x}"
ETHER = 10**18


async def direct(scanner: Running, hooks: Receiver, **fields: Any) -> str:
    body = {"rail": "direct", "destination": SHOP, "amount": "1000", "callbackUrl": hooks.url(), **fields}
    created: str = (await scanner.api.create(**body))["intentId"]
    return created


async def hold(chain: Anvil, amount: int) -> None:
    """Let the shop hold so much coin, deep below the head."""
    await chain.rpc("anvil_setBalance", [SHOP, hex(amount)])
    await chain.mine(10)


async def wrong_assets(scanner: Running) -> list[dict[str, Any]]:
    return await scanner.api.unmatched(reason="wrong_asset")


async def test_coin_sent_instead_of_the_token_is_stored_reported_and_settles_nothing(
    chain: Anvil, hooks: Receiver, scanner: Running
) -> None:
    intent_id = await direct(scanner, hooks, events=["payment.anomaly"])
    await hold(chain, 3 * ETHER)

    await scanner.daemon.notices[CHAIN_ID].check()

    (seen,) = await wrong_assets(scanner)
    assert (seen["intentId"], seen["destination"], seen["amount"]) == (intent_id, SHOP, str(3 * ETHER))
    assert (seen["token"], seen["txHash"]) == ("native", None)
    (reported,) = await hooks.wait_for(1)
    assert (reported.json["eventType"], reported.json["reason"]) == ("payment.anomaly", "wrong_asset")
    assert reported.json["transfers"][0]["txHash"] is None
    intent = await scanner.api.intent(intent_id)
    assert (intent["status"], intent["amountReceived"]) == ("pending", "0")


async def test_the_same_coin_is_stored_once_and_only_what_rises_is_news(
    chain: Anvil, hooks: Receiver, scanner: Running
) -> None:
    await direct(scanner, hooks)
    notice = scanner.daemon.notices[CHAIN_ID]
    for balance in (5, 5, 2, 2, 9):
        await hold(chain, balance)
        await notice.check()
        await notice.check()

    assert [row["amount"] for row in await wrong_assets(scanner)] == ["5", "7"]


async def test_a_balance_that_cannot_be_read_is_neither_zero_nor_remembered(
    chain: Anvil, hooks: Receiver, tmp_path: Path
) -> None:
    async with FaultyRpc(chain.url) as node, running(environment(tmp_path, node.url)) as scanner:
        await direct(scanner, hooks)
        await hold(chain, 5)
        notice = scanner.daemon.notices[CHAIN_ID]
        await notice.check()
        node.fail(status=503)
        with pytest.raises(ChainError):
            await notice.check()
        node.heal()

        await until_checked(notice)

        assert [row["amount"] for row in await wrong_assets(scanner)] == ["5"]


async def test_an_endpoint_that_is_behind_does_not_make_old_coin_new(
    chain: Anvil, hooks: Receiver, tmp_path: Path
) -> None:
    async with FaultyRpc(chain.url) as node:
        async with running(environment(tmp_path, node.url)) as scanner:
            await direct(scanner, hooks)
            before = await chain.height()
            await hold(chain, 5)
            await scanner.daemon.notices[CHAIN_ID].check()

        # Started again, it remembers how far it has seen.
        async with running(environment(tmp_path, node.url)) as scanner:
            node.stale_at = before
            await until_checked(scanner.daemon.notices[CHAIN_ID])
            node.heal()
            await chain.mine(1)
            await until_checked(scanner.daemon.notices[CHAIN_ID])

            assert [row["amount"] for row in await wrong_assets(scanner)] == ["5"]


async def until_checked(notice: NativeDepositDetector) -> None:
    while not await checked(notice):  # noqa: ASYNC110 - only time ends a cool-down
        await asyncio.sleep(0.1)  # the endpoint is left alone for a moment, for a poll may have failed as well


async def checked(notice: NativeDepositDetector) -> bool:
    try:
        await notice.check()
    except ChainError:
        return False
    return True


async def test_without_direct_intents_no_coin_is_asked_for(chain: Anvil, tmp_path: Path) -> None:
    async with (
        FaultyRpc(chain.url) as node,
        running(environment(tmp_path, node.url, POLL_INTERVAL_SEC="3600")) as scanner,
    ):
        await scanner.worker.poll()
        before = node.requests

        await scanner.daemon.notices[CHAIN_ID].check()

        assert node.requests == before
