"""Direct payments that come too late, and several in one transaction."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from eth_abi.abi import encode

from chains.evm.fee_proxy import payment_calldata
from devnet.evm.anvil import PROXY, ZERO, Anvil
from devnet.evm.local_node import call_data
from devnet.receiver import Receiver
from tests.harness import MERCHANT, MULTICALL, USDT, Running, environment, in_seconds, running

pytestmark = pytest.mark.anvil


def fresh(number: int = 1) -> str:
    return f"0x2{number:039x}"


async def direct(scanner: Running, hooks: Receiver, number: int = 1, **fields: Any) -> str:
    created = await scanner.api.create(
        **{"rail": "direct", "destination": fresh(number), "amount": "1000", "callbackUrl": hooks.url(), **fields}
    )
    return str(created["intentId"])


async def pay_several(chain: Anvil, *payments: tuple[str, int]) -> str:
    """Send plain transfers to several addresses in one transaction, out of a contract's own purse."""
    await chain.mined(await chain.send(USDT, call_data("mint(address,uint256)", MULTICALL, 10**30)))
    calls = [
        (USDT, False, bytes.fromhex(call_data("transfer(address,uint256)", to, amount)[2:])) for to, amount in payments
    ]
    kind = "(address,bool,bytes)[]"
    return await chain.send(MULTICALL, call_data(f"aggregate3({kind})") + encode([kind], [calls]).hex())


async def test_a_transfer_after_the_expiry_is_late_is_reported_and_does_not_settle(
    chain: Anvil, hooks: Receiver, tmp_path: Path
) -> None:
    async with running(environment(tmp_path, chain.url)) as scanner:
        intent_id = await direct(scanner, hooks, events=["payment.late"], expiresAt=in_seconds(1))
        await chain.pass_time(63)
        await scanner.api.status_is(intent_id, "expired")

        tx = await chain.transfer(USDT, fresh(), 1000)
        await chain.mine(6)
        after = await scanner.api.until(intent_id, lambda intent: len(intent["transfers"]) == 1)

        assert (after["status"], after["amountReceived"], after["txHash"]) == ("expired", "0", None)
        (row,) = await scanner.api.unmatched(reason="late")
        assert (row["txHash"], row["intentId"], row["amount"]) == (tx, intent_id, "1000")
        (delivery,) = await hooks.wait_for(1)
        assert (delivery.json["eventType"], delivery.json["reason"]) == ("payment.late", "late")


async def test_after_the_late_hours_nobody_looks_at_the_address_any_more(
    chain: Anvil, hooks: Receiver, tmp_path: Path
) -> None:
    env = environment(tmp_path, chain.url, LATE_WATCH_HOURS="0.01")
    async with running(env) as scanner:
        forgotten = await direct(scanner, hooks, expiresAt=in_seconds(1))
        await chain.pass_time(63)
        await scanner.api.status_is(forgotten, "expired")
        await chain.pass_time(38)
        watched = await direct(scanner, hooks, 2)

        await chain.transfer(USDT, fresh(), 1000)
        await chain.transfer(USDT, fresh(2), 10)
        await scanner.api.until(watched, lambda intent: len(intent["transfers"]) == 1)

        assert (await scanner.api.intent(forgotten))["transfers"] == []


async def test_the_address_of_an_expired_intent_serves_the_next_one(
    chain: Anvil, hooks: Receiver, tmp_path: Path
) -> None:
    async with running(environment(tmp_path, chain.url)) as scanner:
        old = await direct(scanner, hooks, expiresAt=in_seconds(1))
        await chain.pass_time(63)
        await scanner.api.status_is(old, "expired")
        new = await direct(scanner, hooks)
        await chain.transfer(USDT, fresh(), 1000)
        await chain.mine(5)
        (delivery,) = await hooks.wait_for(1)

        assert delivery.json["intentId"] == new
        assert (await scanner.api.intent(old))["transfers"] == []


async def test_two_intents_paid_in_one_transaction_are_both_settled_by_their_own_log(
    chain: Anvil, hooks: Receiver, scanner: Running
) -> None:
    first = await direct(scanner, hooks)
    second = await direct(scanner, hooks, 2, amount="2000")

    tx = await pay_several(chain, (fresh(), 1000), (fresh(2), 2000))
    await chain.mine(5)
    deliveries = await hooks.wait_for(2)

    reported = {
        d.json["intentId"]: (d.json["txHash"], d.json["amountReceived"], d.json["transferCount"]) for d in deliveries
    }
    assert reported == {first: (tx, "1000", 1), second: (tx, "2000", 1)}
    (one,) = (await scanner.api.intent(first))["transfers"]
    (two,) = (await scanner.api.intent(second))["transfers"]
    assert one["eventKey"] != two["eventKey"]


async def test_two_transfers_of_one_transaction_add_up_for_one_intent(
    chain: Anvil, hooks: Receiver, scanner: Running
) -> None:
    intent_id = await direct(scanner, hooks)

    await pay_several(chain, (fresh(), 400), (fresh(), 600), (MERCHANT, 50))
    await chain.mine(5)
    (delivery,) = await hooks.wait_for(1)

    assert (delivery.json["intentId"], delivery.json["amountReceived"]) == (intent_id, "1000")
    assert delivery.json["transferCount"] == 2


async def test_a_payment_through_the_proxy_does_not_settle_a_direct_intent_as_well(
    chain: Anvil, hooks: Receiver, scanner: Running
) -> None:
    """Its `Transfer` log arrives at the address that is used directly, and yet it is one payment and not two."""
    plain = await direct(scanner, hooks)
    through = await scanner.api.create(destination=fresh(), amount="1000", callbackUrl=hooks.url())

    await chain.pay(USDT, fresh(), 1000, through["paymentReference"])
    await chain.mine(6)
    await scanner.api.status_is(through["intentId"], "confirmed")
    await scanner.worker.poll()

    waiting = await scanner.api.intent(plain)
    assert (waiting["status"], waiting["amountReceived"]) == ("pending", "0")
    assert await scanner.api.reasons(plain) == ["no_transfer_log"]
    await chain.transfer(USDT, fresh(), 1000)
    await chain.mine(6)
    await scanner.api.status_is(plain, "confirmed")


async def test_a_plain_transfer_beside_a_proxy_payment_in_one_transaction_settles_its_own_intent(
    chain: Anvil, hooks: Receiver, scanner: Running
) -> None:
    plain = await direct(scanner, hooks)
    through = await scanner.api.create(destination=fresh(), amount="1000", callbackUrl=hooks.url())
    await chain.mined(await chain.send(USDT, call_data("mint(address,uint256)", MULTICALL, 10**30)))
    pays = payment_calldata(
        token=USDT,
        destination=fresh(),
        amount=1000,
        reference=through["paymentReference"],
        fee_amount=0,
        fee_address=ZERO,
    )
    calls = [
        (USDT, False, bytes.fromhex(call_data("approve(address,uint256)", PROXY, 1000)[2:])),
        (USDT, False, bytes.fromhex(call_data("transfer(address,uint256)", fresh(), 1000)[2:])),
        (PROXY, False, bytes.fromhex(pays[2:])),
    ]
    kind = "(address,bool,bytes)[]"
    data = call_data(f"aggregate3({kind})") + encode([kind], [calls]).hex()

    tx = await chain.send(MULTICALL, data, gas=hex(2_000_000))
    await chain.mine(6)
    deliveries = await hooks.wait_for(2)

    assert {d.json["intentId"]: d.json["txHash"] for d in deliveries} == {plain: tx, through["intentId"]: tx}
    assert await scanner.api.reasons(plain) == ["no_transfer_log"]  # not to be sent back: it paid the other intent
