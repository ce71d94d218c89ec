"""What settled nothing is noted as seen to: by whom, and when, and it stays listed."""

from __future__ import annotations

from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from scanner import ingest
from tests.harness import Api, Running, environment, running
from tests.scanner.facts import a_hash, a_transfer, an_intent

KEYS = ("a-key-for-tests", "the-next-key-for-tests")


@pytest.fixture
async def daemon(tmp_path: Path) -> AsyncIterator[Running]:
    more = {"SCANNER_API_KEY": KEYS[0], "SCANNER_API_KEY_NEXT": KEYS[1], "POLL_INTERVAL_SEC": "3600"}
    async with running(environment(tmp_path, "http://127.0.0.1:9", **more)) as found:
        async with found.database.write() as tx:
            strays = [a_transfer(an_intent(f"nobody-{n}"), tx_hash=a_hash(n), amount=5 + n) for n in range(2)]
            await ingest.record_page(tx, 97, strays, now=1, late_ms=1, moment=1)
        yield found


async def test_a_row_is_noted_as_handled_and_stays_listed(daemon: Running) -> None:
    first = (await daemon.api.unmatched())[0]
    assert (type(first["id"]), first["handled"]) == (str, None)

    status, answer = await daemon.api.call("POST", f"/unmatched/{first['id']}/handled", {"note": " sent back "})

    assert status == 200
    handled = answer["unmatched"]["handled"]
    assert (handled["note"], handled["by"]) == ("sent back", "1")
    assert (await daemon.api.unmatched())[0]["handled"] == handled


async def test_a_repeat_overwrites_and_says_which_key_it_was(daemon: Running) -> None:
    row = (await daemon.api.unmatched())[0]["id"]
    next_key = Api(daemon.api.url, daemon.api._session, KEYS[1])
    await daemon.api.call("POST", f"/unmatched/{row}/handled", {"note": "first"})

    _, answer = await next_key.call("POST", f"/unmatched/{row}/handled", {"note": "second"})

    assert {name: answer["unmatched"]["handled"][name] for name in ("note", "by")} == {"note": "second", "by": "2"}
    assert [each["handled"] and each["handled"]["note"] for each in await daemon.api.unmatched()][:1] == ["second"]


@pytest.mark.parametrize("note", ["", "  ", "x" * 1001, None, 5, "a\nb"])
async def test_a_note_says_something_and_has_a_bound(daemon: Running, note: object) -> None:
    row = (await daemon.api.unmatched())[0]["id"]

    status, answer = await daemon.api.call("POST", f"/unmatched/{row}/handled", {"note": note})

    assert (status, answer["details"]["field"]) == (400, "note")
    assert (await daemon.api.unmatched())[0]["handled"] is None


@pytest.mark.parametrize("row", ["0", "999999999999999999", "nobody", "1.5", "-1"])
async def test_what_is_not_listed_cannot_be_handled(daemon: Running, row: str) -> None:
    assert (await daemon.api.call("POST", f"/unmatched/{row}/handled", {"note": "x"}))[0] == 404
