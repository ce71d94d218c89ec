"""Facts to test with: sensible intents and transfers, everything else as a test says."""

from __future__ import annotations

from typing import Any

import hypothesis
import pytest

from chains.types import Head, Rail, Transfer
from scanner.model import Intent, IntentStatus, StoredTransfer
from scanner.registration.reference import payment_reference, topic_ref

CHAIN = 97
TOKEN = "0x" + "aa" * 20
OTHER_TOKEN = "0x" + "ab" * 20
MERCHANT = "0x" + "bb" * 20
STRANGER = "0x" + "bc" * 20
ISSUER = "0x" + "cc" * 20
SALT = "00" * 32
NOW = 1_790_000_000_000
HOUR_MS = 3_600_000
LATE_MS = 168 * HOUR_MS

# For what is true of one engine alone (how it is asked, or that it is a file), or does not depend on it and takes long.
SQLITE_ALONE = pytest.mark.parametrize("db", ["sqlite"], indirect=True)

# The same examples on every run and machine: a property that fails, fails for everybody.
steady = hypothesis.settings(
    derandomize=True,
    database=None,
    deadline=None,
    max_examples=100,
    suppress_health_check=[hypothesis.HealthCheck.too_slow, hypothesis.HealthCheck.data_too_large],
)


def an_intent(intent_id: str = "order-1", **fields: Any) -> Intent:
    """Return a pending proxy intent over 1000."""
    reference = payment_reference(intent_id, SALT, MERCHANT)
    values: dict[str, Any] = {
        "intent_id": intent_id,
        "chain_id": CHAIN,
        "chain_type": "evm",
        "rail": Rail.PROXY,
        "token_address": TOKEN,
        "token_key": TOKEN,
        "token_symbol": "USDT",
        "decimals": 18,
        "destination": MERCHANT,
        "destination_key": MERCHANT,
        "amount": 1000,
        "amount_received": 0,
        "fee_amount": 0,
        "fee_address": "0x" + "0" * 40,
        "payment_reference": reference,
        "topic_ref": topic_ref(reference),
        "salt": SALT,
        "status": IntentStatus.PENDING,
        "callback_url": "http://127.0.0.1:9/hook",
        "callback_secret": "a shared secret",
        "receiver": "http://127.0.0.1:9",
        "events": (),
        "request": "{}",
        "confirmations_required": 5,
        "tx_hash": None,
        "log_index": None,
        "block_number": None,
        "block_hash": None,
        "confirmations": 0,
        "sender": None,
        "webhook_delivered_at": None,
        "expires_at": NOW + 24 * HOUR_MS,
        "confirmed_at": None,
        "expired_at": None,
        "cancelled_at": None,
        "created_at": NOW,
        "chain_created_at": fields.get("created_at", NOW),
        "chain_position": None,
        "updated_at": NOW,
    }
    return Intent(**(values | fields))


def a_hash(*parts: object) -> str:
    """Return 0x + 64 hex that says what it is the hash of."""
    return f"0x{'.'.join(map(str, parts)).encode().hex():0>64}"


def a_transfer(intent: Intent | None = None, **fields: Any) -> Transfer:
    """Return what a chain would report of a payment of an intent's amount."""
    of = intent or an_intent()
    values: dict[str, Any] = {
        "chain_id": of.chain_id,
        "tx_hash": a_hash("tx", 1),
        "event_key": "0",
        "log_index": 0,
        "block_number": 100,
        "block_hash": a_hash("block", 100),
        "block_time": None,
        "token": of.token_key,
        "destination": of.destination_key,
        "amount": of.amount,
        "reference": of.topic_ref if of.rail is Rail.PROXY else None,
        "fee_amount": of.fee_amount,
        "fee_address": of.fee_address,
    }
    return Transfer(**(values | fields))


def stored(number: int = 1, **fields: Any) -> StoredTransfer:
    """Return a transfer as the store holds it before anything was made of it."""
    values: dict[str, Any] = {
        "id": number,
        "chain_id": CHAIN,
        "tx_hash": a_hash("tx", number),
        "event_key": str(number),
        "log_index": number,
        "block_number": 100,
        "block_hash": a_hash("block", 100),
        "block_time": None,
        "token": TOKEN,
        "sender": None,
        "destination": MERCHANT,
        "amount": 1000,
        "fee_amount": 0,
        "fee_address": None,
        "reference": None,
        "intent_id": "order-1",
        "reason": None,
        "counted": True,
        "settled": False,
        "verified": False,
        "surplus": None,
        "seen_at": NOW,
    }
    return StoredTransfer(**(values | fields))


def a_head(position: int, *, finalized: int | None = None) -> Head:
    return Head(position, a_hash("block", position), NOW // 1000, finalized)
