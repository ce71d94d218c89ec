"""Payments on a real EVM chain end as the specification says."""

from __future__ import annotations

import pytest

from devnet.anvil import Anvil
from devnet.receiver import Receiver
from tests.harness import MERCHANT, SECRET, USDT, Running

pytestmark = pytest.mark.anvil


async def test_a_payment_is_detected_confirmed_and_reported_once(
    chain: Anvil, hooks: Receiver, scanner: Running
) -> None:
    created = await scanner.api.create(callbackUrl=hooks.url(), amount="5000")

    tx = await chain.pay(USDT, MERCHANT, 5000, created["paymentReference"])
    seen = await scanner.api.status_is(created["intentId"], "confirming")
    assert seen["confirmations"] < 5
    await chain.mine(5)
    (delivery,) = await hooks.wait_for(1)

    assert delivery.verified(SECRET)
    body = delivery.json
    receipt = await chain.mined(tx)
    assert {
        "intentId": created["intentId"],
        "paymentReference": created["paymentReference"],
        "txHash": tx,
        "blockNumber": int(receipt["blockNumber"], 16),
        "confirmations": 5,
        "amount": "5000",
        "token": USDT,
        "chainId": 97,
        "status": "confirmed",
        "eventType": "payment.confirmed",
        "amountReceived": "5000",
        "sender": chain.accounts[1],
        "rail": "proxy",
        "transferCount": 1,
    }.items() <= body.items()
    done = await scanner.api.until(created["intentId"], lambda intent: intent["webhookDeliveredAt"] is not None)
    assert done["status"] == "confirmed"
    assert await scanner.api.reasons() == []
