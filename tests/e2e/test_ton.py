"""The whole daemon on TON: what settles, what does not and why, read over HTTP from a faithful TonCenter."""

from __future__ import annotations

import base64
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest

from devnet.receiver import Receiver
from devnet.ton.toncenter import TonCenter
from tests.e2e.ton_shop import (
    CHAIN_ID,
    MASTER,
    USDT,
    TonShop,
    bounceable,
    chain_of_today,
    fresh_address,
    opened,
    run_ton_shop,
    unbounceable,
)
from tests.harness import SECRET, in_seconds, intent_body

IMITATION = "0:" + "FA" * 32


@pytest.fixture
async def ton(hooks: Receiver, tmp_path: Path) -> AsyncIterator[TonShop]:
    async with run_ton_shop(tmp_path, hooks) as found:
        yield found


# --- what settles --------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "spelt", [bounceable, unbounceable, str, str.lower], ids=["EQ", "UQ", "raw", "raw in small letters"]
)
async def test_an_exact_transfer_settles_and_is_reported_once(ton: TonShop, spelt: Any) -> None:
    to = fresh_address()
    created = await ton.checkout(destination=spelt(to), token="USDT")
    block = created["checkoutBlock"]
    assert (block["destination"], block["tokenAddress"], block["tokenSymbol"]) == (spelt(to), USDT, "USDT")
    assert (block["decimals"], block["proxyAddress"], block["calldata"]) == (6, None, None)
    assert block["paymentUri"] == f"ton://transfer/{unbounceable(to)}?jetton={USDT}&amount=1000"

    payment = await ton.pay(to)
    done = await ton.delivered(created["intentId"])

    (delivery,) = ton.hooks.deliveries
    assert delivery.verified(SECRET)
    assert {
        "eventType": "payment.confirmed",
        "intentId": created["intentId"],
        "paymentReference": created["paymentReference"],
        "txHash": payment.tx_hash,
        "blockNumber": payment.row["transaction_now"],
        "confirmations": 120,
        "amount": "1000",
        "amountReceived": "1000",
        "token": USDT,
        "chainId": CHAIN_ID,
        "status": "confirmed",
        "rail": "direct",
        "transferCount": 1,
    }.items() <= delivery.json.items()
    assert delivery.json["sender"] in {ton.ledger.buyer, bounceable(ton.ledger.buyer)}
    assert (done["status"], done["destination"], done["confirmations"]) == ("confirmed", spelt(to), 120)
    assert done["txHash"] == base64.b64decode(payment.row["transaction_hash"]).hex()
    assert await ton.api.unmatched() == []


@pytest.mark.parametrize("case", ["comment", "nanoton_forward", "zero_forward", "owner_not_deployed"])
async def test_a_transfer_settles_whatever_its_payload_and_whether_or_not_its_owner_is_notified(
    ton: TonShop, case: str
) -> None:
    to = fresh_address()
    intent_id = await ton.sell(destination=to)

    await ton.pay(to, name=case)

    assert (await ton.api.intent(intent_id))["status"] == "confirmed"
    assert await ton.api.unmatched() == []


async def test_two_intents_paid_in_one_trace_are_settled_by_a_transfer_each(ton: TonShop) -> None:
    one, two = fresh_address(), fresh_address()
    first, second = await ton.sell(destination=one), await ton.sell(destination=two, amount="2000")

    paid = ton.ledger.pay(one, 1000, master=MASTER)
    also = ton.ledger.pay(two, 2000, master=MASTER, with_=paid)
    await ton.see()

    views = [await ton.api.intent(intent_id) for intent_id in (first, second)]
    assert [(view["status"], view["txHash"]) for view in views] == [
        ("confirmed", paid.tx_hash),
        ("confirmed", also.tx_hash),
    ]
    assert await ton.api.unmatched() == []


async def test_what_was_paid_while_the_scanner_was_down_settles_at_its_next_start(
    hooks: Receiver, tmp_path: Path
) -> None:
    to = fresh_address()
    async with TonCenter(chain_of_today()) as center:
        async with opened(tmp_path, center, hooks) as ton:
            intent_id = await ton.sell(destination=to)
            await ton.see()
        for _ in range(20):
            center.ledger.advance(5)
        center.ledger.pay(to, 1000, master=MASTER)
        center.ledger.advance(5)
        async with opened(tmp_path, center, hooks) as ton:
            await ton.delivered(intent_id)

    assert len(hooks.distinct) == 1


async def test_a_transfer_counts_only_when_its_receiving_half_has_happened(ton: TonShop) -> None:
    to = fresh_address()
    intent_id = await ton.sell(destination=to)
    payment = await ton.pay(to, pending=True)
    for _ in range(3):
        await ton.see()
    seen = await ton.api.intent(intent_id)
    assert (seen["status"], seen["webhookDeliveredAt"]) == ("confirming", None)

    payment.pending = False
    await ton.see()
    await ton.delivered(intent_id)

    assert [d.json["txHash"] for d in ton.hooks.deliveries] == [payment.tx_hash]


async def test_a_transfer_whose_transactions_are_not_final_yet_waits(ton: TonShop) -> None:
    to = fresh_address()
    intent_id = await ton.sell(destination=to)
    ton.center.non_final = True
    await ton.pay(to)
    assert (await ton.api.intent(intent_id))["status"] == "confirming"

    ton.center.non_final = False
    await ton.see()

    assert (await ton.api.intent(intent_id))["status"] == "confirmed"


# --- what does not -------------------------------------------------------------------------------


async def test_a_jetton_that_calls_itself_usdt_is_the_wrong_token(ton: TonShop) -> None:
    to = fresh_address()
    intent_id = await ton.sell(destination=to)
    ton.ledger.issue(IMITATION, "USD₮", 6)

    payment = await ton.pay(to, master=IMITATION)

    assert (await ton.api.intent(intent_id))["status"] == "pending"
    assert await ton.unmatched(intent_id) == [("wrong_token", payment.tx_hash)]


async def test_a_bounced_transfer_is_reverted_and_a_good_one_settles_afterwards(ton: TonShop) -> None:
    to = fresh_address()
    intent_id = await ton.sell(destination=to)
    bounced = await ton.pay(to, name="bounce")
    after = await ton.api.intent(intent_id)
    assert (after["status"], after["amountReceived"]) == ("pending", "0")
    assert await ton.unmatched(intent_id) == [("reverted", bounced.tx_hash)]

    good = await ton.pay(to)
    await ton.delivered(intent_id)

    assert [d.json["txHash"] for d in ton.hooks.deliveries] == [good.tx_hash]


async def test_a_second_payment_that_bounced_is_none_to_send_back(ton: TonShop) -> None:
    to, other = fresh_address(), fresh_address()
    paid, cancelled = await ton.sell(destination=to), await ton.sell(destination=other)
    await ton.pay(to)
    await ton.api.call("DELETE", f"/intents/{cancelled}")

    again = await ton.pay(to, name="bounce")
    after = await ton.pay(other, name="bounce")

    assert await ton.unmatched(paid) == [("reverted", again.tx_hash)]
    assert await ton.unmatched(cancelled) == [("reverted", after.tx_hash)]


async def test_a_sender_without_the_jettons_moved_nothing_so_there_is_nothing_to_tell(ton: TonShop) -> None:
    to = fresh_address()
    intent_id = await ton.sell(destination=to, events=["payment.detected", "payment.anomaly"])

    await ton.pay(to, name="overdraw")

    intent = await ton.api.intent(intent_id)
    assert (intent["status"], intent["amountReceived"], intent["transfers"]) == ("pending", "0", [])
    assert await ton.api.unmatched() == []
    assert ton.hooks.deliveries == []


async def test_a_credit_to_a_wallet_that_is_not_the_destinations_is_none(ton: TonShop) -> None:
    to = fresh_address()
    intent_id = await ton.sell(destination=to)
    ton.center.wrong_wallets[to] = "0:" + "BD" * 32

    payment = await ton.pay(to)

    assert (await ton.api.intent(intent_id))["status"] == "pending"
    assert await ton.unmatched(intent_id) == [("no_transfer_log", payment.tx_hash)]


async def test_a_second_payment_is_a_duplicate_and_one_after_cancelling_is_cancelled(ton: TonShop) -> None:
    one, two = fresh_address(), fresh_address()
    first, second = await ton.sell(destination=one), await ton.sell(destination=two)
    await ton.pay(one)
    await ton.api.call("DELETE", f"/intents/{second}")

    again = await ton.pay(one)
    refused = await ton.pay(two)

    assert await ton.unmatched(first) == [("duplicate", again.tx_hash)]
    assert await ton.unmatched(second) == [("cancelled", refused.tx_hash)]
    assert len(ton.hooks.distinct) == 1


async def test_a_payment_from_before_the_intent_is_not_its(ton: TonShop) -> None:
    to = fresh_address()
    old = ton.ledger.pay(to, 1000, master=MASTER, at=ton.ledger.now - 1200)
    intent_id = await ton.sell(destination=to)

    status, answer = await ton.api.call("POST", f"/intents/{intent_id}/recheck", {"txHash": old.tx_hash})

    assert (status, answer["settled"]) == (200, False)
    assert [seen["reason"] for seen in answer["seen"]] == ["before_intent"]
    assert await ton.unmatched(intent_id) == [("before_intent", old.tx_hash)]


async def test_a_payment_after_the_expiry_is_late_is_reported_and_does_not_settle(
    hooks: Receiver, tmp_path: Path
) -> None:
    to = fresh_address()
    async with run_ton_shop(tmp_path, hooks) as ton:
        intent_id = await ton.sell(destination=to, events=["payment.late"], expiresAt=in_seconds(1))
        ton.ledger.advance(70)
        await ton.see()
        await ton.api.status_is(intent_id, "expired")

        payment = await ton.pay(to)
        (delivery,) = await hooks.wait_for(1)

        assert (delivery.json["eventType"], delivery.json["reason"]) == ("payment.late", "late")
        assert await ton.unmatched(intent_id) == [("late", payment.tx_hash)]
        assert (await ton.api.intent(intent_id))["status"] == "expired"


async def test_a_recheck_finds_a_payment_the_index_listed_too_late_by_any_transaction_of_its_trace(
    hooks: Receiver, tmp_path: Path
) -> None:
    to = fresh_address()
    async with TonCenter(chain_of_today()) as center, opened(tmp_path, center, hooks) as ton:
        intent_id = await ton.sell(destination=to)
        await ton.see()
        time, lt = next(block for block in center.ledger.blocks if block[0] >= center.ledger.now - 300)
        payment = await ton.pay(to, at=time, lt=lt + 10)
        assert (await ton.api.intent(intent_id))["transfers"] == []

        shown = base64.b64decode(payment.transactions[-1]["hash"]).hex()
        status, answer = await ton.api.call("POST", f"/intents/{intent_id}/recheck", {"txHash": shown})

        assert status == 200, answer
        assert answer["settled"] is True
        (delivery,) = await hooks.wait_for(1)
        assert delivery.json["txHash"] == payment.tx_hash


# --- what is refused at the door -----------------------------------------------------------------


@pytest.mark.parametrize(
    ("destination", "why"),
    [
        ("EQCxE6mUtQJKFnGfaROTKOt1lZbDiiX1kCixRv7Nw2Id_sDt", "checksum"),
        ("kQCxE6mUtQJKFnGfaROTKOt1lZbDiiX1kCixRv7Nw2Id_ntm", "test network"),
        ("eqcxe6mutqjkfngfarotkot1lzbdiix1kcixrv7nw2id_sds", "checksum"),
        ("0:B113", "a TON address is"),
        ("TR7NHqjeKQxGTCi8q8ZY4pL8otSzgjLj6t", "a TON address is"),
    ],
)
async def test_a_wrong_address_is_refused_with_a_sentence(ton: TonShop, destination: str, why: str) -> None:
    body = intent_body(chainId=CHAIN_ID, destination=destination, callbackUrl=ton.hooks.url())

    status, answer = await ton.api.call("POST", "/intents", body)

    assert (status, answer["details"]) == (400, {"field": "destination"})
    assert why in answer["error"]


async def test_one_address_in_two_spellings_is_one_reservation(ton: TonShop) -> None:
    to = fresh_address()
    await ton.sell(destination=bounceable(to))

    body = intent_body(chainId=CHAIN_ID, destination=unbounceable(to), callbackUrl=ton.hooks.url())
    status, answer = await ton.api.call("POST", "/intents", body)

    assert (status, answer["details"]) == (409, {"field": "destination"})
