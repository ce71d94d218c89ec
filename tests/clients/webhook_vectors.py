"""Webhooks and what a verifier has to say of each, for the verifiers of every language."""

from __future__ import annotations

import base64
import json
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

from tests.harness import MERCHANT, SECRET, USDT
from webhooks.signing import headers_for, sign_amn

NOW = 1_800_000_000
INTENT, BALANCE, INVALID, MALFORMED, UNUSABLE = "intent", "balance", "invalid", "malformed", "unusable"
ENCODED = "whsec_c2VjcmV0IGJ5dGVz"

CONFIRMED = {
    "intentId": "order-1",
    "paymentReference": "0x0123456789abcdef",
    "txHash": "0x4eba",
    "blockNumber": 41,
    "confirmations": 5,
    "amount": str(2**200),
    "token": USDT,
    "chainId": 97,
    "status": "confirmed",
}
CHANGED = {
    "eventId": "evt_2",
    "eventType": "balance_changed",
    "watchId": "watch-1",
    "chainId": 97,
    "chainType": "evm",
    "address": MERCHANT,
    "tokenAddress": None,
    "tokenSymbol": "BNB",
    "decimals": 18,
    "previousBalance": "10",
    "currentBalance": "4",
    "delta": "-6",
    "changeCount": 1,
    "checkedAt": "2026-01-01T00:00:00.000Z",
    "status": "balance_changed",
    "transfers": None,
    "transferCount": None,
}
TRANSFER = {"txHash": "0x4eba", "amount": "7", "sender": MERCHANT}


@dataclass(frozen=True)
class Vector:
    """One webhook, and what it is."""

    name: str
    body: bytes
    headers: dict[str, str]
    expected: str
    secret: str = SECRET
    now: int = NOW

    def as_json(self) -> dict[str, Any]:
        return {
            "body": base64.b64encode(self.body).decode(),
            "headers": self.headers,
            "secret": self.secret,
            "now": self.now,
        }


def signed(body: Any, *, secret: str = SECRET, age_s: int = 0, event_id: str = "evt_h") -> tuple[bytes, dict[str, str]]:
    raw = body if isinstance(body, bytes) else json.dumps(body).encode()
    return raw, headers_for(
        event_id=event_id, event_type="x", delivery_id="x", body=raw, secret=secret, timestamp=NOW - age_s
    )


def amn_only(body: Any) -> tuple[bytes, dict[str, str]]:
    raw = json.dumps(body).encode()
    return raw, {"x-amn-signature": sign_amn(raw, SECRET), "webhook-id": "anybody's word"}


def vectors() -> Iterator[Vector]:
    """Yield every webhook that is tried."""
    yield from _good()
    yield from _altered()
    yield from _malformed()
    for name, secret in {
        "empty": "",
        "too long": "x" * 1025,
        "control character": "a\nb",
        "control character of the second set": "a\x85",
        "no bytes": "whsec_",
        "no base64": "whsec_***",
        "base64 cut short": "whsec_abc",
        "base64 with more": "whsec_YWJj*",
    }.items():
        yield Vector(f"secret: {name}", *signed(CONFIRMED), UNUSABLE, secret)


def _good() -> Iterator[Vector]:
    yield Vector("confirmation", *signed(CONFIRMED | {"eventId": "evt_1", "eventType": "payment.confirmed"}), INTENT)
    yield Vector("smallest confirmation", *amn_only(CONFIRMED), INTENT)
    yield Vector("change of a balance", *signed(CHANGED), BALANCE)
    yield Vector("encoded secret", *signed(CONFIRMED, secret=ENCODED), INTENT, ENCODED)
    yield Vector("secret beyond ASCII", *signed(CONFIRMED, secret="gehëim 🔑"), INTENT, "gehëim 🔑")
    yield Vector("longest secret", *signed(CONFIRMED, secret="🔑" * 1024), INTENT, "🔑" * 1024)
    yield Vector("oldest", *signed(CONFIRMED, age_s=300), INTENT)
    yield Vector("from a clock ahead", *signed(CONFIRMED, age_s=-300), INTENT)
    yield Vector("transfers", *signed(CONFIRMED | {"transfers": [TRANSFER] * 3, "transferCount": 3}), INTENT)
    yield Vector("fields of a later version", *signed(CONFIRMED | {"colour": "blue", "__proto__": {"x": 1}}), INTENT)
    yield Vector("amount as a number", *signed(CONFIRMED | {"amount": 12}), INTENT)
    yield Vector("empty event id", *signed(CONFIRMED | {"eventId": ""}), INTENT)
    yield Vector("empty list for an event id", *signed(CONFIRMED | {"eventId": []}), INTENT)
    raw, headers = signed(CONFIRMED)
    yield Vector("names in lower case", raw, {name.lower(): value for name, value in headers.items()}, INTENT)
    yield Vector("signature in upper case", raw, headers | {"X-AMN-Signature": sign_amn(raw, SECRET).upper()}, INTENT)
    both = f"v1,AAAA {headers['webhook-signature']}"
    yield Vector("one of two signatures", raw, headers | {"webhook-signature": both}, INTENT)


def _altered() -> Iterator[Vector]:
    raw, headers = signed(CONFIRMED)
    yield Vector("changed body", raw + b" ", headers, INVALID)
    yield Vector("no headers", raw, {}, INVALID)
    for name, value in {
        "X-AMN-Signature": "0" * 64,
        "webhook-signature": "v1,AAAA",
        "webhook-id": "evt_other",
        "webhook-timestamp": str(NOW + 1),
    }.items():
        yield Vector(f"another {name}", raw, headers | {name: value}, INVALID)
        yield Vector(f"empty {name}", raw, headers | {name: ""}, INVALID)
        if name != "webhook-signature":  # without it, it is the plainer kind of webhook
            yield Vector(f"no {name}", raw, {n: v for n, v in headers.items() if n != name}, INVALID)
    for stamp in (" ", "x", "-1", "1e9", "9" * 13, "1.5", "\u0661"):
        yield Vector(f"time {stamp!r}", raw, headers | {"webhook-timestamp": stamp}, INVALID)
    yield Vector("another secret", *signed(CONFIRMED, secret="another"), INVALID)
    yield Vector("too old", *signed(CONFIRMED, age_s=301), INVALID)
    yield Vector("too far ahead", *signed(CONFIRMED, age_s=-301), INVALID)


def _malformed() -> Iterator[Vector]:
    for body in (b"", b"nonsense", b"[]", b"null", b"7", b"\xff\xfe", b"\xef\xbb\xbf{}", b"[" * 100_000, b"NaN"):
        yield Vector(f"body {body[:10]!r}", *signed(body), MALFORMED)
    nested: Any = 1
    for _ in range(40):
        nested = [nested]
    for name, changed in {
        "nested deeper than anybody would": {"extra": nested},
        "amount with a point": {"amount": "12.5"},
        "amount without a value": {"amount": None},
        "negative amount": {"amount": "-1"},
        "amount beyond 256 bits": {"amount": str(2**256)},
        "amount that lost digits": {"amount": 1.5},
        "text for a chain": {"chainId": "x"},
        "truth for a chain": {"chainId": True},
        "number for an intent": {"intentId": 7},
        "number for an event id": {"eventId": 7},
        "blank in an event id": {"eventId": "a b"},
        "event id too long": {"eventId": "x" * 201},
        "text too long": {"token": "x" * 4097},
        "object for transfers": {"transfers": {}},
        "number for a transfer": {"transfers": [7]},
        "transfer without an amount": {"transfers": [{"txHash": None}]},
        "no type": {"eventType": None},
    }.items():
        yield Vector(name, *signed(CONFIRMED | changed), MALFORMED)
    for missing in ("intentId", "chainId", "token", "amount", "status"):
        yield Vector(f"no {missing}", *signed({n: v for n, v in CONFIRMED.items() if n != missing}), MALFORMED)
    for name, changed in {
        "balance with a point": {"currentBalance": 1.5},
        "time that is none": {"checkedAt": "yesterday"},
        "time without an offset": {"checkedAt": "2026-01-01T00:00:00"},
    }.items():
        yield Vector(name, *signed(CHANGED | changed), MALFORMED)
    yield Vector("empty object", *signed({}), MALFORMED)
