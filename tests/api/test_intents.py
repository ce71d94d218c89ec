"""Registering is idempotent, whatever happens at once, and no answer holds a secret."""

from __future__ import annotations

import asyncio
import json
import sqlite3
from pathlib import Path
from typing import Any

import pytest

from tests.harness import MERCHANT, SECRET, USDT, Running, environment, intent_body, running


def stored(folder: Path) -> list[tuple[Any, ...]]:
    with sqlite3.connect(folder / "scanner.db") as store:
        return store.execute("SELECT intent_id, amount FROM intents ORDER BY intent_id").fetchall()


async def test_fifty_identical_requests_at_once_are_one_intent(daemon: Running, tmp_path: Path) -> None:
    body = intent_body(intentId="same")

    answers = await asyncio.gather(*(daemon.api.call("POST", "/intents", body) for _ in range(50)))

    assert {status for status, _ in answers} == {200}
    assert len({json.dumps(answer) for _, answer in answers}) == 1
    assert stored(tmp_path) == [("same", "1000")]


async def test_of_fifty_conflicting_requests_at_once_one_wins_and_the_others_name_the_field(
    daemon: Running, tmp_path: Path
) -> None:
    bodies = [intent_body(intentId="same", amount=str(1 + i)) for i in range(50)]

    answers = await asyncio.gather(*(daemon.api.call("POST", "/intents", body) for body in bodies))

    won = [answer for status, answer in answers if status == 200]
    lost = [answer for status, answer in answers if status == 409]
    assert (len(won), len(lost)) == (1, 49)
    assert {answer["details"]["field"] for answer in lost} == {"amount"}
    assert stored(tmp_path) == [("same", won[0]["checkoutBlock"]["amountWei"])]


@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("token", "USDC"),
        ("destination", "0x1000000000000000000000000000000000000001"),
        ("amount", "1001"),
        ("callbackUrl", "http://127.0.0.1:9/other"),
        ("callbackSecret", "another"),
        ("rail", "direct"),
        ("confirmations", 9),
        ("expiresAt", "2099-01-01T00:00:00Z"),
        ("feeAmount", "1"),
        ("events", ["payment.late"]),
        ("checkout", {"title": "Another title"}),
    ],
)
async def test_the_same_id_with_another_parameter_is_a_conflict_that_names_it(
    daemon: Running, field: str, value: Any
) -> None:
    first = intent_body(intentId="same", feeAddress=MERCHANT)
    await daemon.api.create(**first)

    status, answer = await daemon.api.call("POST", "/intents", {**first, field: value})

    assert (status, answer["code"]) == (409, "conflict")
    assert answer["details"] == {"field": field}


async def test_a_replay_answers_the_same_however_token_and_address_are_spelt(daemon: Running) -> None:
    first = await daemon.api.create(intentId="same")

    again = await daemon.api.create(intentId="same", token=USDT.lower(), destination=MERCHANT.lower())
    third = await daemon.api.create(intentId="same", token=None, tokenAddress=USDT, rail="proxy")

    assert again == third == first


async def test_a_replay_answers_after_its_time_has_run_out(tmp_path: Path) -> None:
    from datetime import UTC, datetime, timedelta  # noqa: PLC0415

    from tests.harness import FakeClock  # noqa: PLC0415

    clock = FakeClock()
    soon = (datetime.now(UTC) + timedelta(hours=1)).isoformat()
    async with running(environment(tmp_path, "http://127.0.0.1:9"), clock=clock) as daemon:
        first = await daemon.api.create(intentId="same", expiresAt=soon)
        clock.advance(7200)

        assert await daemon.api.create(intentId="same", expiresAt=soon) == first
        status, answer = await daemon.api.call("POST", "/intents", intent_body(expiresAt=soon))
        assert (status, answer["details"]) == (400, {"field": "expiresAt"})


async def test_fewer_confirmations_than_the_floor_are_raised_to_it(daemon: Running) -> None:
    low = await daemon.api.create(confirmations=1)
    high = await daemon.api.create(confirmations=99)

    assert (await daemon.api.intent(low["intentId"]))["confirmationsRequired"] == 5
    assert (await daemon.api.intent(high["intentId"]))["confirmationsRequired"] == 99


@pytest.mark.parametrize(("chain_id", "why"), [(56, "is not enabled"), (5, "is unknown")])
async def test_a_chain_that_is_not_watched_is_refused(daemon: Running, chain_id: int, why: str) -> None:
    status, answer = await daemon.api.call("POST", "/intents", intent_body(chainId=chain_id))

    assert (status, answer["error"]) == (400, f"chainId {chain_id} {why}")


async def test_secrets_are_in_no_answer_and_no_log(
    daemon: Running, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    for name in ("scanner", "api", "webhooks", "chains", "config"):
        caplog.set_level("DEBUG", name)
    created = await daemon.api.create(intentId="same")
    answers = [
        created,
        await daemon.api.intent("same"),
        await daemon.api.get("/intents"),
        await daemon.api.get("/scanner/status"),
        (await daemon.api.call("POST", "/intents", intent_body(intentId="same", callbackSecret="wrong one")))[1],
        (await daemon.api.call("DELETE", "/intents/same"))[1],
        await daemon.api.get("/metrics"),
    ]
    with sqlite3.connect(tmp_path / "scanner.db") as store:
        (salt,) = store.execute("SELECT salt FROM intents").fetchone()

    for text in (json.dumps(answers), caplog.text):
        assert SECRET not in text
        assert "wrong one" not in text
        assert salt not in text
        assert "a-key-for-tests" not in text


async def test_pages_walk_every_intent_once(daemon: Running) -> None:
    ids = [f"i-{n}" for n in range(23)]
    await asyncio.gather(*(daemon.api.create(intentId=i) for i in ids))
    seen: list[str] = []
    cursor = ""
    while True:
        page = await daemon.api.get(f"/intents?limit=5{cursor}")
        seen += [intent["intentId"] for intent in page["intents"]]
        if page["nextCursor"] is None:
            break
        cursor = f"&cursor={page['nextCursor']}"

    assert sorted(seen) == sorted(ids)
    assert len((await daemon.api.get("/intents?status=expired"))["intents"]) == 0


async def test_cancelling_is_idempotent_and_refused_past_pending(daemon: Running) -> None:
    await daemon.api.create(intentId="a")
    await daemon.api.create(intentId="b")
    for _ in range(2):
        status, answer = await daemon.api.call("DELETE", "/intents/a")
        assert (status, answer["intent"]["status"]) == (200, "expired")
    async with daemon.database.write() as tx:
        await tx.exec_driver_sql("UPDATE intents SET status = 'confirming' WHERE intent_id = 'b'")

    status, answer = await daemon.api.call("DELETE", "/intents/b")

    assert (status, answer["code"]) == (409, "conflict")
