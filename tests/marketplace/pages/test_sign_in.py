"""Who sees the pages: an account, a role, a session that outlives a restart, a token in every form, and bounds."""

from __future__ import annotations

import re
from collections.abc import Mapping
from pathlib import Path

import pytest
from yarl import URL

from kernel.web.browser_sessions import token_hash
from marketplace.store import admin_sessions
from marketplace.web.pages.guard import FOR_ALL
from marketplace.web.pages.routes import PAGES
from tests.harness import FakeClock
from tests.marketplace.conftest import OwnClock
from tests.marketplace.fake_scanner import FakeScanner
from tests.marketplace.harness import ADMIN, PASSWORD, Running, environment, running
from tests.marketplace.pages.conftest import LOGIN, RESOLVER, sign_in
from tests.plain_browser import Browser, browser

SOMETHING = "00000000-0000-4000-8000-000000000000"
SEEN = [path for method, path, _, _ in PAGES if method == "GET" and path not in FOR_ALL]
FORMS = [path for method, path, _, _ in PAGES if method == "POST" and path not in FOR_ALL]
POLICY = "default-src 'self'; img-src 'self' data:; frame-ancestors 'none'"
# What is there for a resolver; everything else is for admins alone.
RESOLVERS = {
    ("GET", "/admin"),
    ("GET", "/admin/events"),
    ("POST", "/admin/logout"),
    ("GET", "/admin/disputes"),
    ("GET", "/admin/disputes/{id}"),
    ("POST", "/admin/disputes/{id}/assign"),
    ("POST", "/admin/disputes/{id}/deadline"),
    ("POST", "/admin/disputes/{id}/evidence"),
    ("POST", "/admin/disputes/{id}/messages"),
    ("POST", "/admin/disputes/{id}/resolve"),
    ("GET", "/admin/payments/{id}"),
    ("GET", "/admin/notifications"),
    ("POST", "/admin/notifications/read"),
    ("GET", "/admin/account"),
    ("POST", "/admin/account/channels"),
    ("POST", "/admin/account/telegram"),
    ("POST", "/admin/account/telegram/unlink"),
    ("POST", "/admin/account/password"),
    ("POST", "/admin/account/second-factor"),
    ("POST", "/admin/account/second-factor/confirm"),
    ("POST", "/admin/account/second-factor/remove"),
    ("POST", "/admin/notifications/{id}/read"),
}
SPELLINGS = (
    *("/admin/users", "/%61dmin/users", "/admin/%75sers", "/admin%2Fusers", "//admin/users", "/admin//users"),
    *("/./admin/users", "/x/../admin/users", "/assets/../admin/users", "/admin/login/../users", "/admin/users/"),
    *("/admin/login%2f..%2fusers", "/%2e/admin/users", "/admin/users;x", "/admin/users%00", "/%2561dmin/users"),
)


def filled(path: str) -> str:
    return path.replace("{id}", SOMETHING)


async def held(visitor: Browser, email: str = ADMIN[0], password: str = ADMIN[1]) -> str:
    await sign_in(visitor, email, password)
    return visitor.cookies["amn_admin"]


async def test_signing_in_anew_ends_the_session_there_was(visitor: Browser) -> None:
    copied = await held(visitor)

    async with browser(visitor.url, amn_admin=copied) as other:
        assert (await other.get("/admin")).status == 200
        assert await held(visitor) != copied
        assert (await other.get("/admin")).status == 303
    assert (await visitor.get("/admin")).status == 200


async def test_nobody_sees_a_page_without_a_session(visitor: Browser) -> None:
    for path in (*SEEN, "/admin/nowhere"):
        page = await visitor.get(filled(path))
        assert (page.status, page.text, page.headers["Location"].rpartition("/")[2]) == (303, "", "login"), path


async def test_nobody_sends_a_form_without_a_session(visitor: Browser) -> None:
    token = (await visitor.get(LOGIN)).token

    found = {path: (await visitor.post(filled(path), {"csrf": token})).status for path in FORMS}

    assert found == dict.fromkeys(FORMS, 401)


@pytest.mark.parametrize("token", ["", "0" * 64, "é"])
async def test_a_form_without_the_token_of_this_browser_does_nothing(admin: Browser, token: str) -> None:
    for path in FORMS:
        page = await admin.post(filled(path), {"csrf": token})
        assert (page.status, "not ours" in page.said) == (403, True), path


async def test_a_form_to_sign_in_is_one_of_this_browsers(market: Running, visitor: Browser) -> None:
    """Else a page of somebody else's could sign a browser in to an account of theirs."""
    async with browser(market.nobody.url) as other:
        foreign = (await other.get(LOGIN)).token

    await visitor.get(LOGIN)
    page = await visitor.post(LOGIN, {"csrf": foreign, "email": ADMIN[0], "password": ADMIN[1]})

    assert (page.status, "amn_admin" in visitor.cookies) == (403, False)


async def test_a_resolver_is_refused_whatever_is_for_admins(resolver: Browser) -> None:
    token = (await resolver.get("/admin")).token
    refused = set()
    for method, path, _, _ in PAGES:
        if path in {*FOR_ALL, "/admin/events", "/admin/logout"}:  # for everybody, without an end, and the end of it all
            continue
        if method == "GET":
            page = await resolver.get(filled(path))
        else:
            page = await resolver.post(filled(path), {"csrf": token})
        assert page.status < 500, (path, page.said)
        if page.status == 403:
            refused.add((method, path))

    assert refused == {(method, path) for method, path, _, _ in PAGES if path not in FOR_ALL} - RESOLVERS


async def test_no_spelling_of_a_path_leads_around_the_door(market: Running, resolver: Browser) -> None:
    async with browser(market.nobody.url) as nobody:
        for path in SPELLINGS:
            for who, refused in ((nobody, {303, 404}), (resolver, {403, 404})):
                for method in ("GET", "HEAD"):
                    where = URL(f"{market.nobody.url}{path}", encoded=True)
                    async with who.session.request(method, where, allow_redirects=False) as page:
                        assert page.status in refused, (path, method)
                        assert ADMIN[0] not in await page.text()


async def test_buyers_and_sellers_are_not_signed_in(market: Running, visitor: Browser) -> None:
    for role in ("buyer", "seller"):
        await market.user(role, email=f"some-{role}@example.test")
        page = await sign_in(visitor, f"some-{role}@example.test", PASSWORD)
        assert (page.status, "amn_admin" in visitor.cookies) == (403, False)
        assert "for admins and resolvers" in page.said


async def test_what_is_no_account_signs_nobody_in(visitor: Browser) -> None:
    for email, password, status in (
        (ADMIN[0], "another password", 401),
        ("nobody@example.test", ADMIN[1], 401),
        ("", "", 422),
        (ADMIN[0], "x" * 257, 422),
        ("a\0b", "no password", 400),
        ("é", "é" * 9, 401),
    ):
        page = await sign_in(visitor, email, password)
        assert (page.status, "amn_admin" in visitor.cookies) == (status, False), email
        assert not password or password not in page.text


async def test_the_api_takes_no_session_and_the_pages_take_no_token(market: Running, admin: Browser) -> None:
    assert (await admin.get("/api/auth/me")).status == 401
    bearer = {"Authorization": f"Bearer {market.admin.token}"}
    async with browser(market.nobody.url) as other:
        assert (await other.get("/admin", headers=bearer)).status == 303


def limited(folder: Path, scanner: FakeScanner, limits: str) -> Mapping[str, str]:
    return environment(folder, scanner.url, MARKETPLACE_RATE_LIMITS=limits)


async def test_whoever_tries_too_often_waits_here_and_at_the_api(tmp_path: Path, fake_scanner: FakeScanner) -> None:
    env = limited(tmp_path, fake_scanner, "login=4/900,payment=off,all=off")
    async with running(env) as market, browser(market.nobody.url) as visitor:  # it signed in once by itself
        for _ in range(3):
            assert (await sign_in(visitor, ADMIN[0], "wrong")).status == 401
        page = await sign_in(visitor, *ADMIN)
        at_the_api = await market.nobody.refused("POST", "/api/auth/login", {"email": ADMIN[0], "password": ADMIN[1]})

    assert (page.status, at_the_api) == (429, (429, "rate_limited"))
    assert 1 <= int(page.headers["Retry-After"]) <= 900


async def test_whoever_is_signed_in_is_not_counted_and_everybody_else_is(
    tmp_path: Path, fake_scanner: FakeScanner
) -> None:
    env = limited(tmp_path, fake_scanner, "login=off,payment=off,all=8/900")
    async with running(env) as market, browser(market.nobody.url) as visitor, browser(market.nobody.url) as other:
        await sign_in(visitor, *ADMIN)  # with the API's own login that is three of eight
        for _ in range(9):
            page = await visitor.get("/admin")
            assert page.status == 200
            (style,) = re.findall(r'href="(assets/[^"]+/back_office.css)"', page.text)
            assert (await other.get(f"/{style}")).status == 200
            assert (await other.get("/favicon.ico")).status == 200
        async with visitor.session.get(f"{visitor.url}/admin/events") as stream:
            assert stream.status == 200
        statuses = [(await other.get(path)).status for path in (LOGIN, "/admin", "/admin/nowhere", "/admin/users")]
        statuses += [(await other.get("/admin", cookies={"amn_admin": "x" * 43})).status for _ in range(2)]
        assert (await visitor.get("/admin")).status == 200

    assert statuses == [200, 303, 303, 303, 303, 429]


async def test_the_cookie_is_out_of_reach_of_scripts_and_of_other_sites(visitor: Browser) -> None:
    cookie = (await sign_in(visitor, *ADMIN)).headers["Set-Cookie"]

    assert {"HttpOnly", "SameSite=Strict", "Path=/admin", "Max-Age=43200"} <= set(cookie.split("; "))
    assert "Secure" not in cookie


async def test_behind_tls_the_cookie_is_sent_over_tls_alone(tmp_path: Path) -> None:
    settings = {"MARKETPLACE_TRUSTED_HOPS": "1", "MARKETPLACE_PUBLIC_URL": "http://shop.example/market"}
    async with running(environment(tmp_path, **settings)) as market, browser(market.nobody.url) as visitor:
        page = await visitor.get(LOGIN, headers={"X-Forwarded-Proto": "https"})

    assert {"Secure", "Path=/market/admin"} <= set(page.headers["Set-Cookie"].split("; "))


async def test_a_session_outlives_a_restart(tmp_path: Path) -> None:
    env = environment(tmp_path)
    async with running(env) as market, browser(market.nobody.url) as visitor:
        token = await held(visitor)
    async with running(env) as market, browser(market.nobody.url, amn_admin=token) as again:
        assert (await again.get("/admin/users")).status == 200


@pytest.mark.parametrize("engine", ["postgresql"], indirect=True)
async def test_another_process_serves_a_session_and_ends_it(tmp_path: Path, place: Mapping[str, str]) -> None:
    env = environment(tmp_path, **place)
    async with (
        running(env, clock=OwnClock()) as one,
        running(env, clock=OwnClock()) as two,
        browser(one.nobody.url) as visitor,
    ):
        token = await held(visitor)
        async with browser(two.nobody.url, amn_admin=token) as other:
            assert (await other.get("/admin/users")).status == 200
            assert (await other.submit("/admin", "/admin/logout")).status == 303
        assert (await visitor.get("/admin/users")).status == 303


async def test_a_session_ends_after_twelve_hours(clock: FakeClock, admin: Browser) -> None:
    clock.advance(12 * 3600 - 1)
    assert (await admin.get("/admin/users")).status == 200
    clock.advance(2)
    assert (await admin.get("/admin/users")).status == 303


async def test_logging_out_ends_the_session_and_not_only_the_cookie(market: Running, admin: Browser) -> None:
    token = admin.cookies["amn_admin"]

    assert (await admin.submit("/admin", "/admin/logout")).status == 303

    assert "amn_admin" not in admin.cookies
    async with browser(market.nobody.url, amn_admin=token) as other:
        assert (await other.get("/admin")).status == 303


async def test_what_somebody_may_do_is_read_from_their_account_each_time(market: Running, resolver: Browser) -> None:
    with market.opened() as store:
        store.execute("UPDATE users SET role = 'admin' WHERE email = ?", [RESOLVER])
    assert (await resolver.get("/admin/users")).status == 200

    with market.opened() as store:
        store.execute("UPDATE users SET role = 'buyer' WHERE email = ?", [RESOLVER])
    assert (await resolver.get("/admin/disputes")).status == 303


async def test_the_token_does_not_lie_in_the_store(market: Running, admin: Browser) -> None:
    with market.opened() as store:
        (row,) = store.execute("SELECT * FROM admin_sessions").fetchall()

    assert admin.cookies["amn_admin"] not in map(str, row)
    assert token_hash(admin.cookies["amn_admin"]) in row


async def test_of_one_user_only_so_many_sessions_are_kept_and_nobody_elses_end(
    market: Running, resolver: Browser, clock: FakeClock, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(admin_sessions, "MAX_SESSIONS", 3)
    async with browser(market.nobody.url) as first:
        await held(first)
        for _ in range(3):
            clock.advance(1)
            async with browser(market.nobody.url) as another:
                token = await held(another)
        assert (await first.get("/admin")).status == 303
    async with browser(market.nobody.url, amn_admin=token) as last:
        assert (await last.get("/admin")).status == 200
    assert (await resolver.get("/admin")).status == 200
    with market.opened() as store:
        assert store.execute("SELECT count(*) FROM admin_sessions").fetchone() == (3 + 1,)


async def test_what_is_no_form_is_refused_and_no_failure_of_ours(visitor: Browser) -> None:
    for body, kind in (
        (b"csrf=%ff&email=\xff\xfe", "application/x-www-form-urlencoded"),
        (b"email=+2AA-", "application/x-www-form-urlencoded; charset=utf-7"),
        (b'{"email": "a"}', "application/json"),
        (b"--x\r\n", "multipart/form-data; boundary=x"),
    ):
        page = await visitor.session.post(f"{visitor.url}{LOGIN}", data=body, headers={"Content-Type": kind})
        assert page.status == 400, kind


async def test_a_form_has_a_bound(visitor: Browser) -> None:
    assert (await sign_in(visitor, "x" * 70_000, "x")).status == 413


async def test_what_is_no_token_is_nobody(market: Running) -> None:
    for cookie in ("", "x", "x" * 43, "x" * 4000, "é" * 43):
        async with browser(market.nobody.url, amn_admin=cookie) as visitor:
            assert (await visitor.get("/admin")).status == 303, cookie


async def test_every_page_loads_from_here_alone_and_is_shown_nowhere_else(admin: Browser) -> None:
    for path in (LOGIN, *(filled(path) for path in SEEN if path != "/admin/events"), "/admin/nowhere"):
        page = await admin.get(path)
        assert page.status in {200, 404}, path
        assert page.headers["Content-Security-Policy"] == POLICY
        assert page.headers["Cache-Control"] == "no-store"
        assert page.headers["Content-Type"] == "text/html; charset=utf-8"
        assert page.headers["X-Request-Id"]
        assert not re.search(r"""<script(?![^>]*\bsrc=)|\sstyle=|\son\w+=|(?:src|href)="(?:https?:)?//""", page.text)


async def test_an_email_is_found_in_any_case(visitor: Browser) -> None:
    assert (await sign_in(visitor, f" {ADMIN[0].upper()} ", ADMIN[1])).status == 303


@pytest.mark.parametrize("password", [f"{PASSWORD} ", f" {PASSWORD}"])
async def test_a_blank_at_the_end_of_a_password_is_part_of_it_as_in_the_api(
    market: Running, visitor: Browser, password: str
) -> None:
    person = {"email": "blank@example.test", "password": password, "role": "resolver", "name": "Blank"}
    await market.admin.ok("POST", "/api/admin/users", person)
    await market.nobody.ok("POST", "/api/auth/login", {"email": "blank@example.test", "password": password})

    assert (await sign_in(visitor, "blank@example.test", PASSWORD)).status != 303
    assert (await sign_in(visitor, "blank@example.test", password)).status == 303
