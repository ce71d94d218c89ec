"""What webhooks say, and the ids that let a receiver see each event once."""

from __future__ import annotations

from typing import Any

import orjson
import pytest

from protocol.codec import plain
from scanner import events
from scanner.model import EventType, IntentStatus, Reason
from tests.scanner.facts import NOW, a_hash, an_intent, stored

INTENT = an_intent(
    status=IntentStatus.CONFIRMED,
    tx_hash=a_hash("tx"),
    block_number=100,
    confirmations=5,
    sender="0x" + "5e" * 20,
    amount_received=1200,
)


def body(row: dict[str, Any]) -> dict[str, Any]:
    parsed: dict[str, Any] = orjson.loads(row["body"])
    return parsed


def test_a_confirmation_says_exactly_what_the_contract_promises() -> None:
    row = events.confirmed(INTENT, [stored(1, amount=1200)], NOW)

    assert body(row) == {
        "eventId": row["event_id"],
        "eventType": "payment.confirmed",
        "intentId": "order-1",
        "paymentReference": INTENT.payment_reference,
        "chainId": 97,
        "token": INTENT.token_address,
        "amount": "1000",
        "amountReceived": "1200",
        "txHash": INTENT.tx_hash,
        "blockNumber": 100,
        "confirmations": 5,
        "status": "confirmed",
        "sender": INTENT.sender,
        "rail": "proxy",
        "transfers": [
            {
                "txHash": a_hash("tx", 1),
                "eventKey": "1",
                "blockNumber": 100,
                "blockHash": a_hash("block", 100),
                "token": stored(1, amount=1200).token,
                "sender": None,
                "amount": "1200",
            }
        ],
        "transferCount": 1,
    }
    assert (row["status"], row["round"], row["attempts"], row["next_attempt_at"]) == ("pending", 1, 0, NOW)


def test_of_many_transfers_the_twenty_newest_travel_and_all_are_counted() -> None:
    said = body(events.confirmed(INTENT, [stored(number, block_number=100 + number) for number in range(25)], NOW))

    assert [t["blockNumber"] for t in said["transfers"]] == list(range(124, 104, -1))
    assert said["transferCount"] == 25


def test_the_same_fact_has_the_same_id_and_another_fact_another() -> None:
    reported = events.event_id(INTENT, EventType.CONFIRMED, "")
    assert reported == events.event_id(INTENT._replace(updated_at=NOW + 1, confirmations=9), EventType.CONFIRMED, "")

    others = {
        events.event_id(INTENT, EventType.DETECTED, ""),
        events.event_id(INTENT, EventType.CONFIRMED, "x"),
        events.event_id(INTENT._replace(intent_id="order-2"), EventType.CONFIRMED, ""),
        events.event_id(INTENT._replace(chain_id=98), EventType.CONFIRMED, ""),
        events.event_id(INTENT._replace(payment_reference="0x00"), EventType.CONFIRMED, ""),
    }
    assert len(others | {reported}) == 6


@pytest.mark.parametrize(
    "changed", [{"tx_hash": a_hash("other")}, {"event_key": "9"}, {"block_hash": a_hash("elsewhere")}]
)
def test_another_transfer_or_the_same_in_another_block_is_another_event(changed: dict[str, Any]) -> None:
    seen = stored()
    one = events.about_transfer(INTENT, EventType.DETECTED, seen, NOW)
    other = events.about_transfer(INTENT, EventType.DETECTED, seen._replace(**changed), NOW)

    assert one["event_id"] != other["event_id"]
    assert body(one)["transfers"] == [plain(events.transfer_facts(seen))]


def test_an_anomaly_names_its_reason() -> None:
    said = body(events.about_transfer(INTENT, EventType.ANOMALY, stored(), NOW, reason=Reason.WRONG_TOKEN))

    assert (said["eventType"], said["reason"]) == ("payment.anomaly", "wrong_token")


def test_what_a_reorganisation_took_says_so_reported_alone_or_summarised() -> None:
    one = events.about_transfer(INTENT, EventType.REORGED, stored(1), NOW, reason=Reason.REORGED)
    many = events.summary(INTENT, EventType.REORGED, stored(1), NOW, reason=Reason.REORGED, count=7)

    assert [(body(row)["status"], body(row)["count"]) for row in (one, many)] == [("reorged", 1), ("reorged", 7)]


def test_a_partial_payment_says_what_is_missing() -> None:
    said = body(events.partial(an_intent(amount_received=300), 300, stored(1), NOW))

    assert (said["missing"], said["amountReceived"]) == ("700", "300")


def test_a_partial_payment_in_another_block_is_another_fact() -> None:
    moved = stored(1, block_hash=a_hash("block", 101, "b"))
    ids = [events.partial(INTENT, 300, each, NOW)["event_id"] for each in (stored(1), moved, stored(1))]

    assert ids[0] == ids[2] != ids[1]
