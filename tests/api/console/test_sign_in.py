"""Who sees the console: a key, a session that outlives a restart, a token in every form, and bounds."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from api.console.routes import CONSOLE
from scanner import console_sessions
from tests.api.conftest import KEY
from tests.harness import FakeClock, Running, environment, running
from tests.plain_browser import Browser, browser

PAGES = [path for method, path, _ in CONSOLE if method == "GET" and path != "/console/login"]
FORMS = [path for method, path, _ in CONSOLE if method == "POST" and path != "/console/login"]
POLICY = "default-src 'self'; img-src 'self' data:; frame-ancestors 'none'"


def filled(path: str) -> str:
    return re.sub(r"{\w+}", "97", path)


@pytest.mark.parametrize("path", PAGES)
async def test_nobody_sees_a_page_without_a_session(visitor: Browser, path: str) -> None:
    page = await visitor.get(filled(path))

    assert page.status == 303
    assert page.headers["Location"].endswith("login")
    assert page.text == ""


@pytest.mark.parametrize("path", FORMS)
async def test_nobody_sends_a_form_without_a_session(visitor: Browser, path: str) -> None:
    token = (await visitor.get("/console/login")).token

    assert (await visitor.post(filled(path), {"csrf": token})).status == 401


@pytest.mark.parametrize("path", FORMS)
@pytest.mark.parametrize("token", ["", "0" * 64, "é"])
async def test_a_form_without_the_token_of_this_browser_does_nothing(operator: Browser, path: str, token: str) -> None:
    page = await operator.post(filled(path), {"csrf": token})

    assert page.status == 403
    assert "not ours" in page.said


async def test_a_form_to_sign_in_is_one_of_this_browsers(daemon: Running, visitor: Browser) -> None:
    """Else a page of somebody else's could sign a browser in to a session of theirs."""
    async with browser(daemon.api.url) as other:
        foreign = (await other.get("/console/login")).token

    await visitor.get("/console/login")
    page = await visitor.post("/console/login", {"csrf": foreign, "key": KEY})

    assert page.status == 403
    assert "amn_console" not in visitor.cookies


async def test_the_api_does_not_take_a_session_for_a_key(operator: Browser) -> None:
    assert (await operator.get("/intents")).status == 401


@pytest.mark.parametrize("key", ["", "wrong", f"{KEY}x", "x" * 1001, "é"])
async def test_what_is_no_key_signs_nobody_in(visitor: Browser, key: str) -> None:
    page = await visitor.sign_in("/console/login", key=key)

    assert page.status == 401
    assert "amn_console" not in visitor.cookies
    assert key == "" or key not in page.text


async def test_whoever_tries_too_often_waits(visitor: Browser) -> None:
    for _ in range(console_sessions.TRIES.count):
        assert (await visitor.sign_in("/console/login", key="wrong")).status == 401

    page = await visitor.sign_in("/console/login", key=KEY)

    assert page.status == 429
    assert 1 <= int(page.headers["Retry-After"]) <= console_sessions.TRIES.per_s


async def test_the_cookie_is_out_of_reach_of_scripts_and_of_other_sites(visitor: Browser) -> None:
    cookie = (await visitor.sign_in("/console/login", key=KEY)).headers["Set-Cookie"]

    assert {"HttpOnly", "SameSite=Strict", "Path=/console", "Max-Age=43200"} <= set(cookie.split("; "))
    assert "Secure" not in cookie


@pytest.mark.parametrize(
    ("settings", "headers", "secure"),
    [
        ({"SCANNER_PUBLIC_URL": "https://scan.example/pay"}, {}, True),
        ({"SCANNER_PUBLIC_URL": "http://scan.example"}, {}, False),
        ({"SCANNER_TRUSTED_HOPS": "1"}, {"X-Forwarded-Proto": "https"}, True),
        ({"SCANNER_TRUSTED_HOPS": "1"}, {"X-Forwarded-Proto": "https, http"}, False),
        ({}, {"X-Forwarded-Proto": "https"}, False),
    ],
)
async def test_behind_tls_the_cookie_is_sent_over_tls_alone(
    tmp_path: Path, settings: dict[str, str], headers: dict[str, str], secure: bool
) -> None:
    env = environment(tmp_path, "http://127.0.0.1:9", SCANNER_API_KEY=KEY, POLL_INTERVAL_SEC="3600", **settings)
    async with running(env) as daemon, browser(daemon.api.url) as visitor:
        page = await visitor.get("/console/login", headers=headers)

    assert ("Secure" in page.headers["Set-Cookie"]) is secure


async def test_a_session_outlives_a_restart_and_ends_with_its_key(tmp_path: Path) -> None:
    more = {"SCANNER_API_KEY": KEY, "POLL_INTERVAL_SEC": "3600"}
    env = environment(tmp_path, "http://127.0.0.1:9", **more)
    async with running(env) as daemon, browser(daemon.api.url) as visitor:
        await visitor.sign_in("/console/login", key=KEY)
        held = visitor.cookies["amn_console"]
    for key, status in ((KEY, 200), ("another-key", 303)):
        async with (
            running(env | {"SCANNER_API_KEY": key}) as daemon,
            browser(daemon.api.url, amn_console=held) as again,
        ):
            assert (await again.get("/console")).status == status


async def test_a_session_ends_after_twelve_hours(tmp_path: Path) -> None:
    clock = FakeClock()
    env = environment(tmp_path, "http://127.0.0.1:9", SCANNER_API_KEY=KEY, POLL_INTERVAL_SEC="3600")
    async with running(env, clock=clock) as daemon, browser(daemon.api.url) as visitor:
        await visitor.sign_in("/console/login", key=KEY)
        clock.advance(12 * 3600 - 1)
        assert (await visitor.get("/console/intents")).status == 200
        clock.advance(2)
        assert (await visitor.get("/console/intents")).status == 303


async def test_logging_out_ends_the_session_and_not_only_the_cookie(daemon: Running, operator: Browser) -> None:
    held = operator.cookies["amn_console"]

    assert (await operator.submit("/console", "/console/logout")).status == 303

    assert "amn_console" not in operator.cookies
    async with browser(daemon.api.url, amn_console=held) as other:
        assert (await other.get("/console")).status == 303


async def test_signing_in_anew_ends_the_session_there_was(daemon: Running, operator: Browser) -> None:
    held = operator.cookies["amn_console"]

    assert (await operator.sign_in("/console/login", key="wrong")).status == 401
    async with browser(daemon.api.url, amn_console=held) as other:
        assert (await other.get("/console")).status == 200
        assert (await operator.sign_in("/console/login", key=KEY)).status == 303
        assert (await other.get("/console")).status == 303
    assert (await operator.get("/console")).status == 200


async def test_neither_token_nor_key_lies_in_the_store(daemon: Running, operator: Browser, tmp_path: Path) -> None:
    held = operator.cookies["amn_console"].encode()
    raw = (tmp_path / "scanner.db").read_bytes() + (tmp_path / "scanner.db-wal").read_bytes()

    assert held not in raw
    assert KEY.encode() not in raw


@pytest.mark.parametrize(
    ("body", "kind"),
    [
        (b"csrf=%ff&key=\xff\xfe", "application/x-www-form-urlencoded"),
        (b"key=+2AA-", "application/x-www-form-urlencoded; charset=utf-7"),
        (b"key=a", "application/x-www-form-urlencoded; charset=none"),
        (b'{"key": "a"}', "application/json"),
        (b"--x\r\n", "multipart/form-data; boundary=x"),
    ],
)
async def test_what_is_no_form_is_refused_and_no_failure_of_ours(visitor: Browser, body: bytes, kind: str) -> None:
    page = await visitor.session.post(f"{visitor.url}/console/login", data=body, headers={"Content-Type": kind})

    assert page.status == 400


async def test_a_form_has_a_bound(visitor: Browser) -> None:
    assert (await visitor.submit("/console/login", "/console/login", key="x" * 70_000)).status == 413


@pytest.mark.parametrize("cookie", ["", "x", "x" * 43, "x" * 4000, "é" * 43])
async def test_what_is_no_token_is_nobody(daemon: Running, cookie: str) -> None:
    async with browser(daemon.api.url, amn_console=cookie) as visitor:
        assert (await visitor.get("/console")).status == 303


@pytest.mark.parametrize("path", ["/console/login", "/console", "/console/intents/nobody", "/console/nowhere"])
async def test_every_page_loads_from_here_alone_and_is_shown_nowhere_else(operator: Browser, path: str) -> None:
    page = await operator.get(path)

    assert page.headers["Content-Security-Policy"] == POLICY
    assert page.headers["Cache-Control"] == "no-store"
    assert page.headers["Content-Type"] == "text/html; charset=utf-8"
    assert not re.search(r"""<script(?![^>]*\bsrc=)|\sstyle=|\son\w+=|(?:src|href)="(?:https?:)?//""", page.text)


async def test_it_can_be_off(tmp_path: Path) -> None:
    env = environment(
        tmp_path, "http://127.0.0.1:9", SCANNER_API_KEY=KEY, SCANNER_CONSOLE="off", POLL_INTERVAL_SEC="3600"
    )
    async with running(env) as daemon, browser(daemon.api.url) as visitor:
        for path in ("/console", "/console/login", "/console/intents"):
            assert (await visitor.get(path)).status in {401, 404}


async def test_without_a_key_it_is_for_this_machine_alone(tmp_path: Path) -> None:
    env = environment(tmp_path, "http://127.0.0.1:9", POLL_INTERVAL_SEC="3600")
    async with running(env) as daemon, browser(daemon.api.url) as visitor:
        assert (await visitor.get("/console/login", headers={"Host": "rebound.example"})).status == 403
        assert (await visitor.get("/console")).status == 303
        assert (await visitor.sign_in("/console/login", key="")).status == 303
        assert (await visitor.get("/console")).status == 200
