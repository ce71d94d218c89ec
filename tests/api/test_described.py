"""The comparison of answers with the description finds what is not in it: all tests of the daemon rest on it."""

from __future__ import annotations

from typing import Any

import orjson
import pytest

from tests.described import check_described
from tests.harness import Running

ERROR = {"error": "a sentence", "code": "not_found"}


async def test_an_answer_that_is_not_described_is_noticed(daemon: Running) -> None:
    created = await daemon.api.create(intentId="known")
    shown = await daemon.api.get("/intents/known")
    check_described("POST", "/intents", 200, orjson.dumps(created))
    check_described("GET", "/intents/known", 200, orjson.dumps(shown))
    wrong: list[tuple[str, str, int, Any]] = [
        ("POST", "/intents", 200, created | {"more": 1}),
        ("POST", "/intents", 200, created | {"warnings": None}),
        ("POST", "/intents", 200, created | {"checkoutBlock": {**created["checkoutBlock"], "amountWei": 5}}),
        ("POST", "/intents", 200, {name: value for name, value in created.items() if name != "expiresAt"}),
        ("POST", "/intents", 201, created),
        ("GET", "/intents/known", 200, {"intent": {**shown["intent"], "status": "paid"}}),
        ("GET", "/intents/known", 200, {"intent": {**shown["intent"], "createdAt": None}}),
        ("GET", "/intents/known", 200, {"intent": {**shown["intent"], "createdAt": "yesterday"}}),
        ("GET", "/intents/known?a=b", 502, ERROR),
        ("GET", "/intents/known", 404, ERROR | {"code": "gone"}),
        ("GET", "/intents/known", 404, ERROR | {"details": {"field": "a", "more": 1}}),
        ("GET", "/nowhere", 404, {"error": "a sentence"}),
    ]
    for method, path, status, answer in wrong:
        with pytest.raises((AssertionError, ValueError)):
            check_described(method, path, status, orjson.dumps(answer))
