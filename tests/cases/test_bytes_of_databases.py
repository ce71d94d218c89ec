"""Texts that one database takes and the other refuses: whoever sends them is told the same, on either."""

from __future__ import annotations

import base64
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack
from pathlib import Path
from typing import Any

import pytest

from api.bodies import encode_cursor
from tests.api.conftest import KEY
from tests.harness import Running, empty_database, environment, running
from tests.plain_browser import Browser, browser

NUL = "\x00"


@pytest.fixture(params=["sqlite", "postgresql"])
async def scanner(tmp_path: Path, request: pytest.FixtureRequest) -> AsyncIterator[Running]:
    more = {"SCANNER_API_KEY": KEY, "SCANNER_PUBLIC_URL": "http://pay.example", "POLL_INTERVAL_SEC": "3600"}
    async with AsyncExitStack() as stack:
        if request.param == "postgresql":
            server = request.getfixturevalue("postgresql")
            database = await stack.enter_async_context(empty_database(server))
            more |= {"DB_PATH": "", "DATABASE_URL": database.settings.url}
            more |= {"SCANNER_SECRET_KEY": base64.b64encode(bytes(32)).decode()}
        yield await stack.enter_async_context(running(environment(tmp_path, "http://127.0.0.1:9", **more)))


@pytest.fixture
async def operator(scanner: Running) -> AsyncIterator[Browser]:
    async with browser(scanner.api.url) as found:
        assert (await found.sign_in("/console/login", key=KEY)).status == 303
        yield found


@pytest.mark.parametrize("token", ["%00", "x%00", "%ff", "%ed%a0%80", "%F4%90%80%80"])
async def test_a_pay_token_of_any_bytes_is_for_nothing(scanner: Running, token: str) -> None:
    async with browser(scanner.api.url) as buyer:
        answers = [
            await buyer.get(f"/pay/{token}"),
            await buyer.get(f"/pay/{token}/events"),
            await buyer.post(f"/pay/{token}/recheck", {}),
        ]

    assert [each.status for each in answers] == [404, 404, 404]


@pytest.mark.parametrize(
    ("path", "parts"),
    [("/intents", [NUL]), ("/intents?q=a", [f"a{NUL}"]), ("/console/intents", [NUL]), ("/console/watches", [1, NUL])],
)
async def test_a_cursor_that_was_made_up_is_refused(
    scanner: Running, operator: Browser, path: str, parts: list[Any]
) -> None:
    cursor = f"{'&' if '?' in path else '?'}cursor={encode_cursor(*parts)}"

    answer = await operator.get(path + cursor, headers={"Authorization": f"Bearer {KEY}"})

    assert (answer.status, "cursor is not one of ours" in answer.said) == (400, True)


@pytest.mark.parametrize(
    ("page", "path", "field"),
    [
        ("/console/webhooks", "/console/webhooks/redeliver", "receiver"),
        ("/console/webhooks", "/console/webhooks/test", "callbackSecret"),
        ("/console/login", "/console/login", "key"),
    ],
)
async def test_a_field_of_a_form_holds_no_control_characters(
    operator: Browser, page: str, path: str, field: str
) -> None:
    answer = await operator.submit(page, path, **{"callbackUrl": "http://127.0.0.1:9/", field: f"a{NUL}b"})

    assert answer.status in {400, 401}, answer.said
