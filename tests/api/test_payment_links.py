"""A registered intent has a link to pay it by, once buyers can reach the service, and says what its page shows."""

from __future__ import annotations

import re
import sqlite3
from pathlib import Path
from typing import Any

import pytest

from tests.harness import Running, environment, intent_body, running

PUBLIC = "https://pay.example/shop/"
CHECKOUT = {
    "title": "Order 7",
    "description": "Two chairs",
    "redirectUrl": "https://shop.example/done?order=7",
    "locale": "fa",
}


async def test_without_a_public_url_there_is_no_link(daemon: Running, tmp_path: Path) -> None:
    created = await daemon.api.create()

    assert created["paymentUrl"] is None
    with sqlite3.connect(tmp_path / "scanner.db") as store:  # it is there all the same, for when there is one
        assert len(store.execute("SELECT pay_token FROM intents").fetchone()[0]) == 22


async def test_a_link_is_unguessable_and_a_replay_answers_the_same(tmp_path: Path) -> None:
    async with running(environment(tmp_path, "http://127.0.0.1:9", SCANNER_PUBLIC_URL=PUBLIC)) as daemon:
        first = await daemon.api.create(intentId="one", checkout=CHECKOUT)
        again = await daemon.api.create(intentId="one", checkout=CHECKOUT)
        other = await daemon.api.create(intentId="two")

    assert re.fullmatch(r"https://pay\.example/shop/pay/[A-Za-z0-9_-]{22}", first["paymentUrl"])
    assert again == first
    assert other["paymentUrl"] != first["paymentUrl"]


@pytest.mark.parametrize("field", CHECKOUT)
async def test_a_replay_with_another_checkout_is_a_conflict(daemon: Running, field: str) -> None:
    await daemon.api.create(intentId="one", checkout=CHECKOUT)
    less = {name: value for name, value in CHECKOUT.items() if name != field}

    for body in (
        less,
        {**CHECKOUT, field: "https://other.example/en"[-2:] if field == "locale" else "https://o.example"},
    ):
        status, answer = await daemon.api.call("POST", "/intents", intent_body(intentId="one", checkout=body))
        assert (status, answer["details"]) == (409, {"field": "checkout"})


async def test_an_empty_checkout_is_none(daemon: Running) -> None:
    first = await daemon.api.create(intentId="one")

    assert await daemon.api.create(intentId="one", checkout={}) == first
    assert await daemon.api.create(intentId="one", checkout={"title": None}) == first


@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("title", "x" * 101),
        ("title", ""),
        ("title", "a\nb"),
        ("title", 7),
        ("description", "x" * 501),
        ("redirectUrl", "https://shop.example/" + "x" * 1_980),
        ("redirectUrl", "javascript:alert(1)"),
        ("redirectUrl", "data:text/html,x"),
        ("redirectUrl", "//shop.example"),
        ("redirectUrl", "https:///nowhere"),
        ("redirectUrl", "/relative"),
        ("locale", "english please"),
        ("locale", "fa\n"),
        ("locale", "a-" * 9 + "a"),
        ("colour", "red"),
    ],
)
async def test_a_checkout_is_bounded_and_checked(daemon: Running, field: str, value: Any) -> None:
    status, answer = await daemon.api.call("POST", "/intents", intent_body(checkout={field: value}))

    assert (status, answer["code"]) == (400, "invalid_request")
    assert field in answer["details"]["field"]


async def test_the_longest_checkout_is_accepted(daemon: Running) -> None:
    longest = {
        "title": "ت" * 100,
        "description": "x" * 500,
        "redirectUrl": "https://shop.example/".ljust(2_000, "x"),
        "locale": "zh-Hant-TW",
    }

    assert (await daemon.api.create(checkout=longest))["status"] == "pending"
