"""Plain transfers to an address used for one intent alone are settled by the token's own logs."""

from __future__ import annotations

import asyncio
from pathlib import Path
from typing import Any

import pytest

from devnet.evm.anvil import Anvil
from devnet.evm.faulty_rpc import FaultyRpc
from devnet.receiver import Receiver
from tests.harness import USDC, USDT, Running, environment, running

pytestmark = pytest.mark.anvil


def fresh(number: int = 1) -> str:
    return f"0x2{number:039x}"


async def direct(scanner: Running, hooks: Receiver, **fields: Any) -> dict[str, Any]:
    return await scanner.api.create(
        **{"rail": "direct", "destination": fresh(), "amount": "1000", "callbackUrl": hooks.url(), **fields}
    )


async def pay(chain: Anvil, amount: int, *, token: str = USDT, to: str | None = None) -> str:
    return await chain.transfer(token, to or fresh(), amount)


async def test_an_exact_transfer_settles(chain: Anvil, hooks: Receiver, scanner: Running) -> None:
    created = await direct(scanner, hooks)
    block = created["checkoutBlock"]
    assert block["paymentUri"] == f"ethereum:{USDT}@97/transfer?address={fresh()}&uint256=1000"
    assert (block["proxyAddress"], block["calldata"]) == (None, None)

    tx = await pay(chain, 1000)
    await chain.mine(5)
    (delivery,) = await hooks.wait_for(1)

    assert (delivery.json["txHash"], delivery.json["rail"]) == (tx, "direct")
    assert delivery.json["sender"] == chain.accounts[1]
    assert await scanner.api.reasons() == []


async def test_two_partial_transfers_add_up(chain: Anvil, hooks: Receiver, scanner: Running) -> None:
    created = await direct(scanner, hooks)

    await pay(chain, 400)
    seen = await scanner.api.until(created["intentId"], lambda intent: intent["amountReceived"] == "400")
    assert seen["status"] == "pending"
    await pay(chain, 600)
    await chain.mine(5)
    (delivery,) = await hooks.wait_for(1)

    assert (delivery.json["amountReceived"], delivery.json["transferCount"]) == ("1000", 2)


async def test_more_than_the_amount_settles_and_shows_the_surplus(
    chain: Anvil, hooks: Receiver, scanner: Running
) -> None:
    created = await direct(scanner, hooks)

    await pay(chain, 1003)
    await chain.mine(5)
    await scanner.api.status_is(created["intentId"], "confirmed")

    (row,) = await scanner.api.unmatched()
    assert (row["reason"], row["amount"], row["transferAmount"]) == ("overpaid_surplus", "3", "1003")


async def test_another_token_to_our_address_is_stored(chain: Anvil, hooks: Receiver, scanner: Running) -> None:
    created = await direct(scanner, hooks)
    fake = await chain.token("USDT", 18)

    await pay(chain, 1000, token=USDC)
    await pay(chain, 1000, token=fake)
    await chain.mine(6)
    async with asyncio.timeout(10):
        while len(rows := await scanner.api.unmatched()) < 2:
            await scanner.worker.poll()

    assert {(row["reason"], row["token"], row["intentId"]) for row in rows} == {
        ("wrong_token", USDC.lower(), created["intentId"]),
        ("wrong_token", fake.lower(), created["intentId"]),
    }
    assert (await scanner.api.intent(created["intentId"]))["status"] == "pending"


async def test_a_transfer_of_nothing_counts_for_nothing(chain: Anvil, hooks: Receiver, scanner: Running) -> None:
    created = await direct(scanner, hooks)

    await pay(chain, 0)
    await chain.mine(6)
    await scanner.api.until(created["intentId"], lambda intent: len(intent["transfers"]) == 1)

    assert await scanner.api.reasons(created["intentId"]) == ["zero_amount"]


async def test_a_transfer_after_settling_is_a_duplicate_and_after_cancelling_is_cancelled(
    chain: Anvil, hooks: Receiver, scanner: Running
) -> None:
    first = await direct(scanner, hooks)
    second = await direct(scanner, hooks, destination=fresh(2))
    await pay(chain, 1000)
    await chain.mine(5)
    await scanner.api.status_is(first["intentId"], "confirmed")
    await scanner.api.call("DELETE", f"/intents/{second['intentId']}")

    await pay(chain, 1000)
    await pay(chain, 1000, to=fresh(2))
    await scanner.api.until(second["intentId"], lambda intent: len(intent["transfers"]) == 1)
    await scanner.api.until(first["intentId"], lambda intent: len(intent["transfers"]) == 2)

    assert await scanner.api.reasons(first["intentId"]) == ["duplicate"]
    assert await scanner.api.reasons(second["intentId"]) == ["cancelled"]


async def test_a_live_destination_is_reserved_for_its_intent(chain: Anvil, hooks: Receiver, scanner: Running) -> None:
    first = await direct(scanner, hooks)
    body = {
        "intentId": "other",
        "chainId": 97,
        "rail": "direct",
        "destination": fresh().upper().replace("0X", "0x"),
        "amount": "5",
        "callbackUrl": hooks.url(),
        "callbackSecret": "s",
    }

    status, answer = await scanner.api.call("POST", "/intents", {**body, "token": "USDT"})
    assert status == 409
    assert answer["details"] == {"field": "destination"}
    status, _ = await scanner.api.call("POST", "/intents", {**body, "intentId": "third", "token": "USDC"})
    assert status == 200
    await scanner.api.call("DELETE", f"/intents/{first['intentId']}")
    status, _ = await scanner.api.call("POST", "/intents", {**body, "token": "USDT"})
    assert status == 200


async def test_of_many_at_once_one_takes_the_destination(hooks: Receiver, scanner: Running) -> None:
    bodies = [
        {
            "intentId": f"racer-{i}",
            "chainId": 97,
            "token": "USDT",
            "rail": "direct",
            "destination": fresh(),
            "amount": "5",
            "callbackUrl": hooks.url(),
            "callbackSecret": "s",
        }
        for i in range(30)
    ]
    answers = await asyncio.gather(*(scanner.api.call("POST", "/intents", body) for body in bodies))

    assert sorted(status for status, _ in answers) == [200] + [409] * 29


async def test_a_reorganisation_takes_a_direct_payment_back_and_it_may_return(
    chain: Anvil, hooks: Receiver, scanner: Running
) -> None:
    created = await direct(scanner, hooks)
    tx = await pay(chain, 1000)
    raw = await chain.raw(tx)
    await scanner.api.status_is(created["intentId"], "confirming")

    await chain.reorg(1)
    await chain.mine(1)
    await scanner.api.status_is(created["intentId"], "pending")
    assert await scanner.api.reasons(created["intentId"]) == ["reorged"]
    await chain.rpc("eth_sendRawTransaction", [raw])
    await chain.mine(5)
    await hooks.wait_for(1)

    assert (await scanner.api.intent(created["intentId"]))["status"] == "confirmed"
    assert await scanner.api.reasons() == []


async def test_a_recheck_finds_a_transfer_an_endpoint_kept_from_us(
    chain: Anvil, hooks: Receiver, tmp_path: Path
) -> None:
    async with FaultyRpc(chain.url) as rpc:
        rpc.loses = lambda log: True
        async with running(environment(tmp_path, rpc.url)) as scanner:
            created = await direct(scanner, hooks)
            tx = await pay(chain, 1000)
            await chain.mine(6)
            await scanner.worker.poll()
            assert (await scanner.api.intent(created["intentId"]))["transfers"] == []

            status, answer = await scanner.api.call("POST", f"/intents/{created['intentId']}/recheck", {"txHash": tx})

            assert status == 200
            assert (answer["settled"], [seen["counts"] for seen in answer["seen"]]) == (True, [True])
            await hooks.wait_for(1)


@pytest.mark.long
async def test_five_thousand_waiting_intents_are_found_in_one_poll(
    chain: Anvil, hooks: Receiver, tmp_path: Path
) -> None:
    async with (
        FaultyRpc(chain.url) as rpc,
        running(environment(tmp_path, rpc.url, POLL_INTERVAL_SEC="3600")) as scanner,
    ):
        await scanner.worker.poll()
        await asyncio.gather(
            *(direct(scanner, hooks, intentId=f"d-{i}", destination=fresh(i + 1)) for i in range(5_000))
        )
        await pay(chain, 1000, to=fresh(4_321))
        before = rpc.calls["eth_getLogs"]

        await scanner.worker.poll()

        assert (await scanner.api.intent("d-4320"))["status"] == "confirming"
        # The proxy's events and five questions for all; and once five for the minutes before the new ones began.
        assert rpc.calls["eth_getLogs"] - before == 1 + 5 + 5


async def test_without_direct_intents_no_transfers_are_asked_for(chain: Anvil, tmp_path: Path) -> None:
    async with (
        FaultyRpc(chain.url) as rpc,
        running(environment(tmp_path, rpc.url, POLL_INTERVAL_SEC="3600")) as scanner,
    ):
        await scanner.worker.poll()
        before = rpc.calls["eth_getLogs"]
        await chain.mine(1)

        await scanner.worker.poll()
        await scanner.worker.poll()  # nobody waits: the block is read by the poll after the one that hears of it

        assert rpc.calls["eth_getLogs"] - before == 1
