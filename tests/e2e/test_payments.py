"""Payments on a real EVM chain end as the specification says."""

from __future__ import annotations

import asyncio
import json
from collections import Counter
from pathlib import Path
from typing import Any

import pytest

from devnet.evm.anvil import Anvil, ProxyPayment, anvil
from devnet.receiver import Receiver
from tests.harness import (
    MERCHANT,
    ROOT,
    SECRET,
    USDC,
    USDT,
    FakeClock,
    Running,
    environment,
    in_seconds,
    prepared,
    running,
)

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


async def settled(chain: Anvil, scanner: Running, intent_id: str) -> dict[str, Any]:
    await chain.mine(5)
    return await scanner.api.status_is(intent_id, "confirmed")


async def seen(scanner: Running, intent_id: str, transfers: int = 1) -> dict[str, Any]:
    return await scanner.api.until(intent_id, lambda intent: len(intent["transfers"]) == transfers)


async def looked_at(chain: Anvil, scanner: Running) -> None:
    """Let everything become deep and be looked at again."""
    await chain.mine(6)
    await scanner.worker.poll()
    await scanner.worker.poll()  # on which nobody waits, a block is read by the poll after the one that hears of it


async def test_two_payments_in_one_transaction_settle_two_intents(
    chain: Anvil, hooks: Receiver, scanner: Running
) -> None:
    first = await scanner.api.create(callbackUrl=hooks.url(), amount="1000")
    second = await scanner.api.create(callbackUrl=hooks.url(), amount="2000")

    tx = await chain.pay_together(
        [
            ProxyPayment(USDT, MERCHANT, 1000, first["paymentReference"]),
            ProxyPayment(USDT, MERCHANT, 2000, second["paymentReference"]),
        ]
    )
    await chain.mine(5)
    deliveries = await hooks.wait_for(2)

    assert {d.json["intentId"]: (d.json["txHash"], d.json["amountReceived"]) for d in deliveries} == {
        first["intentId"]: (tx, "1000"),
        second["intentId"]: (tx, "2000"),
    }
    assert await scanner.api.reasons() == []


async def test_one_reference_twice_in_one_transaction_adds_up(chain: Anvil, hooks: Receiver, scanner: Running) -> None:
    created = await scanner.api.create(callbackUrl=hooks.url(), amount="1000")

    half = ProxyPayment(USDT, MERCHANT, 500, created["paymentReference"])
    await chain.pay_together([half, half])
    await chain.mine(5)
    (delivery,) = await hooks.wait_for(1)

    assert (delivery.json["amountReceived"], delivery.json["transferCount"]) == ("1000", 2)


async def test_two_partial_payments_add_up(chain: Anvil, hooks: Receiver, scanner: Running) -> None:
    created = await scanner.api.create(callbackUrl=hooks.url(), amount="1000")
    intent_id = created["intentId"]

    await chain.pay(USDT, MERCHANT, 300, created["paymentReference"])
    waiting = await scanner.api.until(intent_id, lambda intent: intent["amountReceived"] == "300")
    assert waiting["status"] == "pending"
    assert await scanner.api.reasons(intent_id) == ["underpaid"]
    await chain.pay(USDT, MERCHANT, 700, created["paymentReference"])
    done = await settled(chain, scanner, intent_id)

    assert done["amountReceived"] == "1000"
    assert await scanner.api.reasons() == []
    assert len((await hooks.wait_for(1))[0].json["transfers"]) == 2


async def test_too_little_never_settles_and_is_visible(chain: Anvil, hooks: Receiver, scanner: Running) -> None:
    created = await scanner.api.create(callbackUrl=hooks.url(), amount="1000")

    await chain.pay(USDT, MERCHANT, 999, created["paymentReference"])
    await looked_at(chain, scanner)

    intent = await scanner.api.intent(created["intentId"])
    assert (intent["status"], intent["amountReceived"]) == ("pending", "999")
    (row,) = await scanner.api.unmatched(reason="underpaid")
    assert (row["amount"], row["sender"]) == ("999", chain.accounts[1])
    assert hooks.deliveries == []


async def test_too_much_settles_and_shows_the_surplus(chain: Anvil, hooks: Receiver, scanner: Running) -> None:
    created = await scanner.api.create(callbackUrl=hooks.url(), amount="1000", events=["payment.overpaid"])

    await chain.pay(USDT, MERCHANT, 1500, created["paymentReference"])
    done = await settled(chain, scanner, created["intentId"])

    assert done["amountReceived"] == "1500"
    (row,) = await scanner.api.unmatched()
    assert (row["reason"], row["amount"], row["transferAmount"]) == ("overpaid_surplus", "500", "1500")
    assert {d.json["eventType"] for d in await hooks.wait_for(2)} == {"payment.confirmed", "payment.overpaid"}


@pytest.mark.parametrize("case", ["wrong_token", "wrong_destination", "zero_amount", "fake_token"])
async def test_what_was_not_asked_for_is_rejected_with_its_reason(
    chain: Anvil, hooks: Receiver, scanner: Running, case: str
) -> None:
    created = await scanner.api.create(callbackUrl=hooks.url(), amount="1000", events=["payment.anomaly"])
    token, destination, amount = USDT, MERCHANT, 1000
    if case == "wrong_token":
        token = USDC
    elif case == "fake_token":
        token = await chain.token("USDT", 18)
    elif case == "wrong_destination":
        destination = chain.accounts[7]
    else:
        amount = 0

    await chain.pay(token, destination, amount, created["paymentReference"])
    await seen(scanner, created["intentId"])
    await looked_at(chain, scanner)

    reason = "wrong_token" if case == "fake_token" else case
    assert await scanner.api.reasons(created["intentId"]) == [reason]
    intent = await scanner.api.intent(created["intentId"])
    assert (intent["status"], intent["amountReceived"]) == ("pending", "0")
    (delivery,) = await hooks.wait_for(1)
    assert (delivery.json["eventType"], delivery.json["reason"]) == ("payment.anomaly", reason)


@pytest.mark.parametrize(("kind", "reason"), [("FeeToken", "fee_on_transfer"), ("SilentToken", "no_transfer_log")])
async def test_a_token_that_does_not_credit_what_the_event_claims_never_settles(
    chain: Anvil, hooks: Receiver, scanner: Running, kind: str, reason: str
) -> None:
    token = await chain.token("ODD", 18, kind=kind)
    created = await scanner.api.create(callbackUrl=hooks.url(), token=None, tokenAddress=token, amount="1000")
    assert created["checkoutBlock"]["tokenSymbol"] == "ODD"

    await chain.pay(token, MERCHANT, 1000, created["paymentReference"])
    await scanner.api.status_is(created["intentId"], "confirming")
    await looked_at(chain, scanner)

    intent = await scanner.api.intent(created["intentId"])
    assert (intent["status"], intent["amountReceived"]) == ("pending", "0")
    assert await scanner.api.reasons(created["intentId"]) == [reason]
    assert hooks.deliveries == []


async def test_a_token_that_answers_nothing_settles(chain: Anvil, hooks: Receiver, scanner: Running) -> None:
    token = await chain.token("OLD", 6, kind="NoReturnToken")
    created = await scanner.api.create(callbackUrl=hooks.url(), token=None, tokenAddress=token, amount="1000")

    await chain.pay(token, MERCHANT, 1000, created["paymentReference"])

    assert (await settled(chain, scanner, created["intentId"]))["tokenSymbol"] == "OLD"


async def test_a_second_payment_is_a_duplicate(chain: Anvil, hooks: Receiver, scanner: Running) -> None:
    created = await scanner.api.create(callbackUrl=hooks.url(), amount="1000")
    await chain.pay(USDT, MERCHANT, 1000, created["paymentReference"])
    await settled(chain, scanner, created["intentId"])

    await chain.pay(USDT, MERCHANT, 1000, created["paymentReference"])
    await seen(scanner, created["intentId"], 2)
    await looked_at(chain, scanner)

    intent = await scanner.api.intent(created["intentId"])
    assert (intent["status"], intent["amountReceived"]) == ("confirmed", "1000")
    assert await scanner.api.reasons(created["intentId"]) == ["duplicate"]
    assert len(hooks.deliveries) == 1


async def test_a_payment_after_cancelling_is_stored_as_cancelled(
    chain: Anvil, hooks: Receiver, scanner: Running
) -> None:
    created = await scanner.api.create(callbackUrl=hooks.url(), amount="1000")
    status, body = await scanner.api.call("DELETE", f"/intents/{created['intentId']}")
    assert (status, body["intent"]["status"]) == (200, "expired")

    await chain.pay(USDT, MERCHANT, 1000, created["paymentReference"])
    await seen(scanner, created["intentId"])
    await looked_at(chain, scanner)

    assert (await scanner.api.intent(created["intentId"]))["status"] == "expired"
    assert await scanner.api.reasons(created["intentId"]) == ["cancelled"]


async def test_a_late_payment_is_stored_reported_and_does_not_settle(
    chain: Anvil, hooks: Receiver, tmp_path: Path
) -> None:
    async with running(environment(tmp_path, chain.url, LATE_WATCH_HOURS="0.01")) as scanner:
        created = await scanner.api.create(
            callbackUrl=hooks.url(),
            amount="1000",
            events=["payment.late", "intent.expired"],
            expiresAt=in_seconds(1),
        )
        await chain.pass_time(63)
        await scanner.api.status_is(created["intentId"], "expired")

        await chain.pay(USDT, MERCHANT, 1000, created["paymentReference"])
        await seen(scanner, created["intentId"])
        await looked_at(chain, scanner)

        assert (await scanner.api.intent(created["intentId"]))["status"] == "expired"
        assert await scanner.api.reasons(created["intentId"]) == ["late"]
        assert {d.json["eventType"] for d in await hooks.wait_for(2)} == {"payment.late", "intent.expired"}

        await chain.pass_time(38)
        await chain.pay(USDT, MERCHANT, 1000, created["paymentReference"])
        await scanner.api.until(created["intentId"], lambda intent: True)
        async with asyncio.timeout(10):
            while await scanner.api.reasons() != ["late", "unknown_reference"]:
                await scanner.worker.poll()


async def test_a_payment_made_in_time_settles_although_the_scanner_was_away_until_after_the_expiry(
    chain: Anvil, hooks: Receiver, tmp_path: Path
) -> None:
    env = environment(tmp_path, chain.url)
    clock = FakeClock(int((await chain.block() or {})["timestamp"], 16) * 1000)
    async with running(env, clock=clock) as scanner:
        created = await scanner.api.create(callbackUrl=hooks.url(), amount="1000")
        await scanner.worker.poll()
    await chain.pay(USDT, MERCHANT, 1000, created["paymentReference"])
    await chain.mine(5)
    clock.advance(48 * 3600)

    async with running(env, clock=clock) as scanner:
        await scanner.api.status_is(created["intentId"], "confirmed")
        assert await scanner.api.reasons() == []


async def test_a_strangers_payment_is_stored(chain: Anvil, scanner: Running) -> None:
    await chain.pay(USDT, MERCHANT, 5, "0x1122334455667788")
    await looked_at(chain, scanner)

    (row,) = await scanner.api.unmatched(reason="unknown_reference")
    assert (row["intentId"], row["amount"], row["destination"]) == (None, "5", MERCHANT.lower())


@pytest.mark.parametrize(
    ("fee", "to_issued", "reason"),
    [(7, True, None), (6, True, "underpaid"), (7, False, "wrong_destination"), (8, True, "wrong_destination")],
)
async def test_the_fee_counts_as_issued_and_no_other(
    chain: Anvil, hooks: Receiver, scanner: Running, fee: int, to_issued: bool, reason: str | None
) -> None:
    issued = chain.accounts[8]
    created = await scanner.api.create(callbackUrl=hooks.url(), amount="1000", feeAmount="7", feeAddress=issued)

    await chain.pay(
        USDT,
        MERCHANT,
        1000,
        created["paymentReference"],
        fee_amount=fee,
        fee_address=issued if to_issued else chain.accounts[9],
    )
    await seen(scanner, created["intentId"])
    await looked_at(chain, scanner)

    assert await scanner.api.reasons(created["intentId"]) == ([reason] if reason else [])
    status = (await scanner.api.intent(created["intentId"]))["status"]
    assert status == ("pending" if reason else "confirmed")


async def test_opt_in_events_are_each_reported_once(chain: Anvil, hooks: Receiver, scanner: Running) -> None:
    wanted = ["payment.detected", "payment.confirming", "payment.partial"]
    created = await scanner.api.create(callbackUrl=hooks.url(), amount="1000", events=wanted)

    await chain.pay(USDT, MERCHANT, 400, created["paymentReference"])
    await seen(scanner, created["intentId"])
    await chain.pay(USDT, MERCHANT, 600, created["paymentReference"])
    await settled(chain, scanner, created["intentId"])
    await hooks.wait_until(lambda: any(d.json["eventType"] == "payment.confirmed" for d in hooks.deliveries))
    await looked_at(chain, scanner)

    reported = Counter(d.json["eventType"] for d in hooks.deliveries)
    assert reported == {
        "payment.detected": 2,
        "payment.partial": 1,
        "payment.confirming": 1,
        "payment.confirmed": 1,
    }
    assert len(hooks.distinct) == len(hooks.deliveries)


async def test_a_recheck_says_what_was_seen_and_why_it_does_not_settle(
    chain: Anvil, hooks: Receiver, scanner: Running
) -> None:
    created = await scanner.api.create(callbackUrl=hooks.url(), amount="1000")
    tx = await chain.pay(USDC, MERCHANT, 1000, created["paymentReference"])

    status, answer = await scanner.api.call("POST", f"/intents/{created['intentId']}/recheck", {"txHash": tx})

    assert status == 200
    assert (answer["settled"], answer["missing"]) == (False, "1000")
    assert [(s["txHash"], s["counts"], s["reason"]) for s in answer["seen"]] == [(tx, False, "wrong_token")]


async def test_more_confirmations_than_the_chains_floor_are_waited_for(
    chain: Anvil, hooks: Receiver, scanner: Running
) -> None:
    created = await scanner.api.create(callbackUrl=hooks.url(), amount="1000", confirmations=12)
    await chain.pay(USDT, MERCHANT, 1000, created["paymentReference"])
    await looked_at(chain, scanner)

    intent = await scanner.api.intent(created["intentId"])
    assert (intent["status"], intent["confirmations"], intent["confirmationsRequired"]) == ("confirming", 7, 12)
    await chain.mine(5)
    await scanner.api.status_is(created["intentId"], "confirmed")


@pytest.mark.parametrize("finality", ["finalized", "both"])
async def test_the_finalized_tag_is_waited_for(hooks: Receiver, tmp_path: Path, finality: str) -> None:
    registry = [e for e in json.loads((ROOT / "supported-chains.json").read_text()) if e["chainId"] == 97]
    registry[0]["finality"] = finality
    (tmp_path / "chains.json").write_text(json.dumps(registry))
    (tmp_path / "tokens.json").write_text("[]")
    async with anvil(slots_in_epoch=8) as chain:
        await prepared(chain)
        env = environment(
            tmp_path,
            chain.url,
            CHAINS_JSON_PATH=str(tmp_path / "chains.json"),
            TOKENS_JSON_PATH=str(tmp_path / "tokens.json"),
        )
        async with running(env) as scanner:
            created = await scanner.api.create(callbackUrl=hooks.url(), token=None, tokenAddress=USDT, amount="1000")
            await chain.pay(USDT, MERCHANT, 1000, created["paymentReference"])
            await looked_at(chain, scanner)  # deep enough by count, not final yet
            assert (await scanner.api.intent(created["intentId"]))["status"] == "confirming"

            await chain.mine(20)
            await scanner.api.status_is(created["intentId"], "confirmed")
