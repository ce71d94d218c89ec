"""The scanner says what it has always said: every answer, every event, every description."""

from __future__ import annotations

import json
import logging
import re
import secrets
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import aiohttp
import pytest
from aiohttp import web

from api.app import build_app
from config.settings import REFUSE_OPEN, HttpSettings, load_settings
from kernel.errors import ConfigError
from kernel.logging import ConsoleFormatter, JsonFormatter
from kernel.web import middlewares
from kernel.web.rate_limiter import RateLimiter
from scanner.model import EventType
from scanner.upkeep.metrics import Metrics
from tests.golden import description, scanner_story
from tests.golden.book import Book, Caller
from tests.golden.scanner_story import STORIES, TON, TRON, numbered, world
from tests.repo.pages import page


@pytest.fixture(autouse=True)
def foretold(monkeypatch: pytest.MonkeyPatch) -> None:
    """Nothing is drawn at random, and a body that is not sent is waited for a moment only."""
    monkeypatch.setattr(secrets, "token_hex", numbered())
    monkeypatch.setattr(secrets, "token_urlsafe", numbered())
    monkeypatch.setattr(middlewares, "BODY_S", 0.2)


async def test_every_answer_and_every_event(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.INFO)
    answers, events = Book("scanner"), Book("scanner-events")
    described, lines = Book("scanner-description"), Book("scanner-log")
    asked = {("GET", "/openapi.json", 200)}  # which is recorded as what it describes

    async with world(tmp_path, answers, events) as w:
        document = await w.scanner.api.get("/openapi.json")
        for story in STORIES:
            await story(w)
        asked |= w.api.asked
    for name, story, settings in (
        ("less", scanner_story.seeing_less, {}),
        ("chains", scanner_story.on_every_chain, nowhere()),
        ("open", scanner_story.open_to_this_machine, {"SCANNER_API_KEY": ""}),
        ("behind", scanner_story.falling_behind, {"POLL_INTERVAL_SEC": "0.05"}),
    ):
        (tmp_path / name).mkdir()
        async with world(tmp_path / name, answers, events, **settings) as w:
            await story(w)
            asked |= w.api.asked
    async with aiohttp.ClientSession() as session:
        await failing(answers, session)
    for each in description.calls(document):
        described.keep(**each)

    for phrase in said_to_be_worth_grepping():
        lines.keep(phrase=phrase, found=line(phrase, caplog.records))

    for book in (answers, events, described, lines):
        book.close()
    assert unasked(document, asked) == []
    assert {event["body"]["eventType"] for event in events.entries} == set(EventType)


def said_to_be_worth_grepping() -> list[str]:
    """Return the phrases of the log that operators are told to look for."""
    named = re.search(r"## Log lines worth grepping\n\n(.*)\n", page("docs/operations.md"))
    assert named is not None
    headings = re.findall(r"^\*\*`(\[[^`]+)`\.\*\*$", page("docs/operations.md"), re.MULTILINE)
    return [*re.findall(r"`([^`]+)`", named[1]), *headings]


def line(phrase: str, records: Iterable[logging.LogRecord]) -> dict[str, object]:
    """Return the first line with a phrase as operators see it, without its time, and as one object of JSON."""
    if phrase in REFUSE_OPEN:  # the daemon ends with it
        with pytest.raises(ConfigError) as caught:
            load_settings({"APP_ENV": "production"})
        return {"ends with": str(caught.value)}
    record = next(each for each in records if phrase in each.getMessage())
    console, reported = ConsoleFormatter().format(record), json.loads(JsonFormatter().format(record))
    return {"level": record.levelname, "said": console.split(f"{record.name} ", 1)[1], "fields": sorted(reported)}


def nowhere() -> dict[str, str]:
    """Return the settings of a scanner of every family whose endpoints do not answer."""
    urls = dict.fromkeys(("RPC_ETH", "RPC_BSC_TESTNET", "TRONGRID_URL", "TONCENTER_URL"), "http://127.0.0.1:9")
    return {"SCANNER_ENABLED_CHAINS": f"1,97,{TRON},{TON}", **urls}


async def failing(book: Book, session: aiohttp.ClientSession) -> None:
    """Record what a bug of ours looks like: without anything behind the front door every call is one."""
    settings = HttpSettings("", 0, (), production=False, trusted_hops=0)
    app = build_app(None, settings, Metrics(), RateLimiter({}, int))  # type: ignore[arg-type]
    runner = web.AppRunner(app, access_log=None)
    await runner.setup()
    try:
        await web.TCPSite(runner, "127.0.0.1", 0).start()
        url = f"http://127.0.0.1:{runner.addresses[0][1]}"
        await Caller(book, url, session, {}).ask("GET", "/scanner/status", status=500)
    finally:
        await runner.cleanup()


def unasked(document: dict[str, Any], asked: Iterable[tuple[str, str, int]]) -> list[str]:
    """
    Return what is described and was never answered here.

    What every call may answer is a matter of HTTP, whatever is asked for: tests/service_contract shows it.
    """
    seen = {(method, str(status), path) for method, path, status in asked}
    described = [
        (method.upper(), path, set(operation["responses"]))
        for path, methods in document["paths"].items()
        for method, operation in methods.items()
    ]
    anywhere = set.intersection(*(statuses for _, _, statuses in described)) - {"200", "403"}
    return [
        f"{method} {path} {status}"
        for method, path, statuses in described
        for status in sorted(statuses - anywhere)
        if not any(
            (name, code) == (method, status) and re.fullmatch(re.sub(r"{\w+}", "[^/]+", path), where)
            for name, code, where in seen
        )
    ]
