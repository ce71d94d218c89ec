"""Bad input is a clear 4xx that names the field; nothing is stored, and nothing is ever a 500."""

from __future__ import annotations

import json
import sqlite3
from pathlib import Path
from typing import Any

import pytest

from api.errors import NAME_SHOWN
from tests.harness import Running, intent_body

LONE_SURROGATE = b'"\\ud800"'
TEXTS: list[Any] = [1, True, [], {}, "", "\x00", "a\nb", 1.5]
AMOUNTS: list[Any] = [
    0,
    5,
    1.5,
    True,
    None,
    [],
    {},
    "",
    "0",
    "-1",
    "+1",
    "1.0",
    "1e3",
    "0x10",
    " 1",
    "1 ",
    "1_000",
    "\u0661",
    "9" * 79,
    str(2**256),
]
INTS: list[Any] = [0, -1, 1.5, "97", True, [], {}, 2**53, 10**30]
INTENT_FIELDS: dict[str, list[Any]] = {
    "intentId": [*TEXTS, "a b", "a/b", "é", "x" * 129],
    "chainId": [*INTS, 5, 56],
    "destination": [*TEXTS, "0x12", "0x" + "0" * 40, "0x70e36F6BF80a52b3B46b3aF8e106CC0ed743E8e4", "T" * 200],
    "amount": AMOUNTS,
    "callbackUrl": [
        *TEXTS,
        "ftp://a/b",
        "http://",
        "//a/b",
        "http://u:p@a/b",
        "http://a\\b",
        "http://a:99999/",
        "x" * 2049,
    ],
    "callbackSecret": [*TEXTS[:4], "", "whsec_!!!", "x" * 1025, "a\x00"],
    "rail": [*TEXTS, "teleport"],
    "confirmations": [*INTS, 100_001],
    "expiresAt": [
        *TEXTS,
        "tomorrow",
        "2020-01-01T00:00:00Z",
        "2099-01-01T00:00:00",
        "0001-01-01T00:00:00+23:59",
        4102444800,
    ],
    "feeAmount": [5, 1.5, True, [], "", "-1", str(2**256)],
    "feeAddress": [*TEXTS, "0x12"],
    "events": ["payment.late", {}, 5, ["nope"], ["payment.confirmed"], ["balance_changed"], [5], ["payment.late"] * 17],
    "token": [*TEXTS, "NOPE"],
}


def rows(folder: Path) -> int:
    with sqlite3.connect(folder / "scanner.db") as store:
        tables = ("intents", "transfers", "events", "balance_watches", "callback_rotations")
        return sum(store.execute(f"SELECT count(*) FROM {table}").fetchone()[0] for table in tables)  # noqa: S608


def assert_refused(status: int, answer: Any, field: str) -> None:
    assert 400 <= status < 500, answer
    assert set(answer) <= {"error", "code", "details"}
    assert isinstance(answer["error"], str)
    assert len(answer["error"].splitlines()) == 1
    assert field in answer["error"] or answer.get("details", {}).get("field") == field, answer


@pytest.mark.parametrize("field", INTENT_FIELDS)
async def test_a_bad_field_of_an_intent_is_named_and_nothing_is_stored(
    daemon: Running, tmp_path: Path, field: str
) -> None:
    for value in INTENT_FIELDS[field]:
        body = {**intent_body(), field: value}

        status, answer = await daemon.api.call("POST", "/intents", json.dumps(body).encode())

        assert_refused(status, answer, field)
    assert rows(tmp_path) == 0


@pytest.mark.parametrize("field", ["intentId", "chainId", "destination", "amount", "callbackUrl", "callbackSecret"])
async def test_a_missing_field_is_named(daemon: Running, tmp_path: Path, field: str) -> None:
    body = intent_body()
    del body[field]

    status, answer = await daemon.api.call("POST", "/intents", body)

    assert (status, answer["error"]) == (400, f"{field} is required")
    assert rows(tmp_path) == 0


async def test_a_token_is_required(daemon: Running) -> None:
    body = intent_body()
    del body["token"]
    status, answer = await daemon.api.call("POST", "/intents", body)
    assert (status, answer["error"]) == (400, "tokenAddress or token is required")


async def test_a_fee_needs_its_address(daemon: Running) -> None:
    status, answer = await daemon.api.call("POST", "/intents", intent_body(feeAmount="5"))

    assert_refused(status, answer, "feeAddress")


@pytest.mark.parametrize(
    ("field", "values"),
    [
        ("callbackUrl", INTENT_FIELDS["callbackUrl"]),
        ("callbackSecret", INTENT_FIELDS["callbackSecret"]),
        ("overlapHours", [-1, 721, 1.5, "24", True, []]),
    ],
)
async def test_a_bad_field_of_a_new_secret_is_named_and_changes_nothing(
    daemon: Running, tmp_path: Path, field: str, values: list[Any]
) -> None:
    good = {"callbackUrl": "http://127.0.0.1:9/", "callbackSecret": "another secret"}
    for value in values:
        status, answer = await daemon.api.call(
            "POST", "/admin/callback-secrets/rotate", json.dumps({**good, field: value}).encode()
        )

        assert_refused(status, answer, field)
    assert rows(tmp_path) == 0


@pytest.mark.parametrize(
    "path", ["/intents", "/transactions/inspect", "/balances/check", "/balance-watches", "/intents/a/recheck"]
)
@pytest.mark.parametrize(
    "raw",
    [
        b"",
        b"{",
        b"[]",
        b"null",
        b'"text"',
        b"\xff\xfe",
        b'{"a":' + LONE_SURROGATE + b"}",
        b"[" * 5_000,
        b'{"unknown": 1}',
        b'{"intentId": NaN}',
    ],
    ids=range(10),
)
async def test_a_body_that_is_no_object_of_ours_is_a_400(
    daemon: Running, tmp_path: Path, path: str, raw: bytes
) -> None:
    status, answer = await daemon.api.call("POST", path, raw)

    assert status in {400, 404}, answer
    assert isinstance(answer["error"], str)
    assert rows(tmp_path) == 0


@pytest.mark.parametrize(
    ("fields", "named"),
    [
        ({"a\nb": 1}, "the name of a field"),
        ({"rail": {"a\x00b": 1}}, "the name of a field"),
        ({"rail": {"inner": "a\x1bb"}}, "inner"),
        ({"rail": [[{"inner": ["a\x85b"]}]]}, "inner"),
        ({"rail": {"inner": "a\x7fb"}}, "inner"),
        ({"events": ["payment.late", "payment.late\n"]}, "events"),
        ({"x" * 50_000: "a\nb"}, "x" * NAME_SHOWN),
    ],
    ids=range(7),
)
async def test_a_control_character_is_refused_however_deep_it_stands(
    daemon: Running, tmp_path: Path, fields: dict[str, Any], named: str
) -> None:
    status, answer = await daemon.api.call("POST", "/intents", intent_body(**fields))

    assert (status, answer["error"]) == (400, f"{named} must not contain control characters")
    assert rows(tmp_path) == 0


async def test_a_parameter_given_twice_is_named_and_no_longer_than_a_name(daemon: Running) -> None:
    status, answer = await daemon.api.call("GET", f"/intents?{'x' * 3_000}=1&{'x' * 3_000}=2")

    assert (status, answer["error"]) == (400, f"{'x' * NAME_SHOWN} is given more than once")


async def test_an_unknown_field_is_named(daemon: Running) -> None:
    status, answer = await daemon.api.call("POST", "/intents", intent_body(expireAt="2099-01-01T00:00:00Z"))

    assert (status, answer["error"]) == (400, "expireAt is not a known field")


@pytest.mark.parametrize(
    "path", ["/intents", "/transactions/inspect", "/balances/check", "/balance-watches", "/intents/a/recheck"]
)
async def test_a_body_over_64_kb_is_a_413(daemon: Running, path: str) -> None:
    status, answer = await daemon.api.call("POST", path, b'{"a":"' + b"x" * 70_000 + b'"}')

    assert (status, answer["code"]) == (413, "payload_too_large")


@pytest.mark.parametrize(
    ("path", "field"),
    [
        ("/intents?limit=0", "limit"),
        ("/intents?limit=501", "limit"),
        ("/intents?limit=x", "limit"),
        ("/intents?chainId=x", "chainId"),
        ("/intents?chainId=99999999999999999999", "chainId"),
        ("/intents?status=paid", "status"),
        ("/intents?cursor=%00", "cursor"),
        ("/intents?cursor=abc", "cursor"),
        ("/intents?cursor=WzEsMl0", "cursor"),
        ("/intents?cursor=", "cursor"),
        ("/intents?nope=1", "nope"),
        ("/intents?limit=1&limit=2", "limit"),
        ("/unmatched?reason=none", "reason"),
        ("/unmatched?cursor=WyJhIl0", "cursor"),
        ("/unmatched?cursor=Wy0xXQ", "cursor"),
        ("/unmatched?limit=-1", "limit"),
    ],
)
async def test_a_bad_query_is_named(daemon: Running, path: str, field: str) -> None:
    status, answer = await daemon.api.call("GET", path)

    assert_refused(status, answer, field)


WITH_AN_ID = [
    ("GET", "/intents/{}"),
    ("DELETE", "/intents/{}"),
    ("POST", "/intents/{}/recheck"),
    ("GET", "/balance-watches/{}"),
    ("DELETE", "/balance-watches/{}"),
    ("POST", "/balance-watches/{}/stop"),
]


@pytest.mark.parametrize("name", ["unknown", "x" * 128, "A-Z.a_z:0"])
@pytest.mark.parametrize(("method", "path"), WITH_AN_ID)
async def test_an_id_that_is_not_there_is_a_404(daemon: Running, method: str, path: str, name: str) -> None:
    status, answer = await daemon.api.call(method, path.format(name))

    assert (status, answer["code"]) == (404, "not_found")


@pytest.mark.parametrize(
    "name", ["a%20b", "%00", "x" * 129, "%ff", "..%2f..", "é", "unknown%0A", "%0Dunknown", "a%7Fb"]
)
@pytest.mark.parametrize(("method", "path"), WITH_AN_ID)
async def test_what_is_no_id_is_refused(daemon: Running, method: str, path: str, name: str) -> None:
    status, answer = await daemon.api.call(method, path.format(name))

    assert_refused(status, answer, "watchId" if "watches" in path else "intentId")


WATCH_FIELDS: dict[str, list[Any]] = {
    "watchId": [*TEXTS, "a b"],
    "chainId": [*INTS, 5],
    "address": [*TEXTS, "0x12"],
    "token": TEXTS,
    "baselineBalance": [5, 1.5, True, [], "", "-1", "1.5"],
    "callbackUrl": [*TEXTS, "ftp://a/b"],
    "callbackSecret": [*TEXTS[:4], ""],
}


@pytest.mark.parametrize("field", WATCH_FIELDS)
async def test_a_bad_field_of_a_watch_is_named_and_nothing_is_stored(
    daemon: Running, tmp_path: Path, field: str
) -> None:
    good = {
        "chainId": 97,
        "address": "0x1000000000000000000000000000000000000001",
        "token": "USDT",
        "callbackUrl": "http://a/b",
        "callbackSecret": "s",
    }
    for value in WATCH_FIELDS[field]:
        status, answer = await daemon.api.call("POST", "/balance-watches", json.dumps({**good, field: value}).encode())

        assert_refused(status, answer, field)
    assert rows(tmp_path) == 0


async def test_a_bad_transaction_hash_is_named(daemon: Running) -> None:
    created = await daemon.api.create()
    for value in ["", "0x1", 5, "\x00", "0x" + "g" * 64, "x" * 200]:
        status, answer = await daemon.api.call("POST", f"/intents/{created['intentId']}/recheck", {"txHash": value})
        assert_refused(status, answer, "txHash")
