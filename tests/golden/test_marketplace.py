"""The marketplace says what it has always said: every answer, every notification, every description."""

from __future__ import annotations

import re
from pathlib import Path

import aiohttp
import pytest
from aiohttp import web

from devnet.price_publisher import PUBLIC_KEY
from kernel.web import middlewares
from kernel.web.http_errors import ANY_ROUTE
from marketplace.errors import CODES
from marketplace.settings import HttpSettings
from marketplace.web.app import build_app
from marketplace.web.routes import ROUTES
from tests.golden import description, hosted_story, marketplace_story
from tests.golden.book import Book, Caller
from tests.golden.marketplace_story import STORIES, foretell, market
from tests.repo.pages import column

UNREACHABLE = {"ORACLE_PRICE_URL": "http://127.0.0.1:9/prices", "ORACLE_PRICE_PUBLIC_KEY": PUBLIC_KEY}


async def test_every_answer_and_every_notification(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    foretell(monkeypatch)
    monkeypatch.setattr(middlewares, "BODY_S", 0.2)
    answers, described = Book("marketplace"), Book("marketplace-description")
    async with market(tmp_path, answers) as m:
        _, document = await m.shop.nobody.call("GET", "/openapi.json")
        for story in STORIES:
            await story(m)
        asked = set(m.nobody.asked)
    for name, story, settings in (
        ("often", marketplace_story.too_often, {"MARKETPLACE_RATE_LIMITS": "login=3/900,payment=off,all=off"}),
        ("open", marketplace_story.registering, {"MARKETPLACE_REGISTRATION": "true"}),
        ("factor", marketplace_story.second_factor, {"MARKETPLACE_SECOND_FACTOR": "admin"}),
        (
            "elsewhere",
            marketplace_story.told_elsewhere,
            {"TELEGRAM_BOT_TOKEN": "1:x", "TELEGRAM_API_URL": "http://127.0.0.1:9"},
        ),
        ("secret", marketplace_story.without_a_secret, {"AMN_SCANNER_WEBHOOK_SECRET": ""}),
        ("quotes", marketplace_story.quoting, {**UNREACHABLE, "ORACLE_FX_URL": "http://127.0.0.1:9/rates"}),
    ):
        (tmp_path / name).mkdir()
        async with market(tmp_path / name, answers, **settings) as m:
            await story(m)
            asked |= m.nobody.asked
    (tmp_path / "hosted").mkdir()
    async with hosted_story.providers() as beside, market(tmp_path / "hosted", answers, **beside.settings) as m:
        await hosted_story.tell(m, beside)
        asked |= m.nobody.asked
    await failing(answers)
    for each in description.calls(document):
        described.keep(**each)

    answers.close()
    described.close()
    seen = {(method, status, path) for method, path, status in asked}
    assert [each for each in succeeding() if not any(_is(each, *one) for one in seen)] == []
    reported = [entry["answer"] for entry in answers.entries]
    refused = {each["error"]["code"] for each in reported if isinstance(each, dict) and "error" in each}
    # A matter of HTTP (tests/service_contract), and of PostgreSQL (tests/marketplace/test_shared_store.py).
    assert set(CODES) - refused - set(ANY_ROUTE) == {"unknown_outcome"}
    pages = [
        each["data"]["notifications"]
        for each in reported
        if isinstance(each, dict) and "notifications" in (each.get("data") or {})
    ]
    heard = {note["type"] for page in pages for note in page}
    assert set(column("docs/marketplace.md", "`type`")) - heard == set()


def succeeding() -> list[tuple[str, str, int]]:
    """Return every answer that is described and no refusal."""
    return [(route.method, route.path, status) for route in ROUTES for status in route.answers if route.enveloped]


def _is(described: tuple[str, str, int], method: str, status: int, path: str) -> bool:
    wanted = re.sub(r"{\w+}", "[^/]+", described[1])
    return (method, status) == (described[0], described[2]) and re.fullmatch(wanted, path) is not None


async def failing(book: Book) -> None:
    """Record what a bug of ours looks like: without anything behind the front door every call is one."""
    http = HttpSettings(host="", port=0, public_url=None, rate_limits=None, trusted_hops=0)
    runner = web.AppRunner(build_app(None, http), access_log=None)  # type: ignore[arg-type]
    await runner.setup()
    try:
        await web.TCPSite(runner, "127.0.0.1", 0).start()
        async with aiohttp.ClientSession() as session:
            url = f"http://127.0.0.1:{runner.addresses[0][1]}"
            await Caller(book, url, session, {}).ask("GET", "/api/version", status=500)
    finally:
        await runner.cleanup()
