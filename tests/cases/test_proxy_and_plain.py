"""A payment through the proxy is the token's movement it is: it counts where it is right, and once."""

from __future__ import annotations

from typing import Any

import pytest

from devnet.evm.anvil import Anvil
from devnet.receiver import Receiver
from tests.harness import USDC, USDT, Running

pytestmark = pytest.mark.anvil

NOBODYS = "0x" + "5a" * 8  # a reference nobody issued


def address(number: int) -> str:
    return f"0x7{number:039x}"


async def intent(scanner: Running, hooks: Receiver, number: int, **fields: Any) -> dict[str, Any]:
    return await scanner.api.create(destination=address(number), callbackUrl=hooks.url(), **fields)


async def of_intent(scanner: Running, intent_id: str) -> list[str]:
    return [row["reason"] for row in await scanner.api.unmatched() if row["intentId"] == intent_id]


async def of_nobody(scanner: Running) -> list[tuple[str, str, str]]:
    rows = [row for row in await scanner.api.unmatched() if row["intentId"] is None]
    return sorted((row["reason"], row["destination"].lower(), row["amount"]) for row in rows)


@pytest.mark.parametrize("parts", [[1000], [400, 600], [1200]])
async def test_a_direct_address_is_paid_by_whoever_uses_the_proxy(
    chain: Anvil, hooks: Receiver, scanner: Running, parts: list[int]
) -> None:
    created = await intent(scanner, hooks, 1, rail="direct")
    for part in parts:
        await chain.pay(USDT, address(1), part, NOBODYS)
    await chain.mine(6)
    seen = await scanner.api.status_is(created["intentId"], "confirmed")
    assert seen["amountReceived"] == str(sum(parts))
    assert "no_transfer_log" not in await scanner.api.reasons()


async def test_a_direct_address_is_not_paid_by_another_token_through_the_proxy(
    chain: Anvil, hooks: Receiver, scanner: Running
) -> None:
    created = await intent(scanner, hooks, 1, rail="direct")
    await chain.pay(USDC, address(1), 1000, NOBODYS)
    await chain.mine(6)
    await scanner.worker.poll()
    await scanner.worker.poll()
    assert (await scanner.api.intent(created["intentId"]))["status"] == "pending"
    assert await of_intent(scanner, created["intentId"]) == ["wrong_token"]


async def test_one_movement_settles_the_intent_its_reference_names_and_no_second_one(
    chain: Anvil, hooks: Receiver, scanner: Running
) -> None:
    plain = await intent(scanner, hooks, 1, rail="direct")
    named = await intent(scanner, hooks, 1, rail="proxy")
    await chain.pay(USDT, address(1), 1000, named["paymentReference"])
    await chain.mine(6)
    await scanner.api.status_is(named["intentId"], "confirmed")
    await scanner.worker.poll()
    seen = await scanner.api.intent(plain["intentId"])
    assert (seen["status"], seen["amountReceived"]) == ("pending", "0")


async def test_a_payment_sent_to_the_wrong_address_settles_nobody_there(
    chain: Anvil, hooks: Receiver, scanner: Running
) -> None:
    plain = await intent(scanner, hooks, 1, rail="direct")
    named = await intent(scanner, hooks, 2, rail="proxy")
    await chain.pay(USDT, address(1), 1000, named["paymentReference"])
    await chain.mine(6)
    await scanner.api.until(named["intentId"], lambda seen: bool(seen["transfers"]))
    await scanner.worker.poll()
    await scanner.worker.poll()
    assert {(await scanner.api.intent(each["intentId"]))["status"] for each in (plain, named)} == {"pending"}
    assert await of_intent(scanner, named["intentId"]) == ["wrong_destination"]


async def test_a_plain_transfer_to_a_proxy_destination_is_shown_and_counts_for_nothing(
    chain: Anvil, hooks: Receiver, scanner: Running
) -> None:
    created = await intent(scanner, hooks, 3, rail="proxy")
    await scanner.worker.poll()
    await chain.transfer(USDT, address(3), 700)
    await chain.mine(6)
    await scanner.worker.poll()
    assert (await scanner.api.intent(created["intentId"]))["status"] == "pending"
    assert await of_nobody(scanner) == [("unknown_reference", address(3), "700")]


async def test_so_is_one_that_comes_when_its_intent_is_over(chain: Anvil, hooks: Receiver, scanner: Running) -> None:
    created = await intent(scanner, hooks, 4, rail="proxy")
    await chain.pay(USDT, address(4), 1000, created["paymentReference"])
    await chain.mine(6)
    await scanner.api.status_is(created["intentId"], "confirmed")
    scanner.worker.forget_targets()  # as after a start, or an hour
    await chain.transfer(USDT, address(4), 700)
    await chain.mine(6)
    await scanner.worker.poll()
    await scanner.worker.poll()
    assert await of_nobody(scanner) == [("unknown_reference", address(4), "700")]


async def test_what_moves_behind_a_payment_through_the_proxy_is_nothing_unapplied(
    chain: Anvil, hooks: Receiver, scanner: Running
) -> None:
    created = await intent(scanner, hooks, 3, rail="proxy")
    await scanner.worker.poll()
    await chain.pay(USDT, address(3), 1000, created["paymentReference"])
    await chain.mine(6)
    await scanner.api.status_is(created["intentId"], "confirmed")
    await scanner.worker.poll()
    assert await of_nobody(scanner) == []


async def test_what_a_token_with_a_fee_moves_behind_a_payment_is_nothing_unapplied_either(
    chain: Anvil, hooks: Receiver, scanner: Running
) -> None:
    fee_token = await chain.token("FEE", 6, kind="FeeToken")
    created = await intent(scanner, hooks, 3, rail="proxy", token=None, tokenAddress=fee_token)
    await scanner.worker.poll()
    await chain.pay(fee_token, address(3), 1000, created["paymentReference"])
    await chain.mine(6)
    await scanner.worker.poll()
    await scanner.worker.poll()
    assert await of_intent(scanner, created["intentId"]) == ["fee_on_transfer"]
    assert await of_nobody(scanner) == []


async def test_a_recheck_follows_the_same_rules(chain: Anvil, hooks: Receiver, scanner: Running) -> None:
    plain = await intent(scanner, hooks, 1, rail="direct")
    named = await intent(scanner, hooks, 3, rail="proxy")
    unapplied_event = await chain.transfer(USDT, address(3), 700)
    through = await chain.pay(USDT, address(1), 1000, NOBODYS)
    await chain.mine(6)
    for each, tx_hash, reasons in (
        (plain, through, [None, "unknown_reference"]),
        (named, unapplied_event, ["unknown_reference"]),
    ):
        status, reported = await scanner.api.call("POST", f"/intents/{each['intentId']}/recheck", {"txHash": tx_hash})
        assert status == 200, reported
        assert sorted((seen["reason"] for seen in reported["seen"]), key=str) == reasons
    await scanner.api.status_is(plain["intentId"], "confirmed")
    assert ("unknown_reference", address(3), "700") in await of_nobody(scanner)
    assert (await scanner.api.intent(named["intentId"]))["status"] == "pending"
