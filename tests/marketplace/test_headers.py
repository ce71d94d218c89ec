"""What browsers are told with every answer, and which other origins may read one."""

from __future__ import annotations

import re
from collections.abc import AsyncIterator, Mapping
from pathlib import Path
from typing import Any

import pytest

from marketplace.errors import ConfigError
from marketplace.settings import MAX_ORIGINS, load_settings
from marketplace.web.headers import EVERYWHERE, HSTS
from tests.harness import FakeClock
from tests.marketplace.harness import Running, environment, running

SHOP, OTHER = "https://shop.example", "http://localhost:3000"
STRANGER = "https://shop.example.evil.test"
ALLOW, CREDENTIALS = "Access-Control-Allow-Origin", "Access-Control-Allow-Credentials"


@pytest.fixture
async def named(tmp_path: Path, clock: FakeClock, place: Mapping[str, str]) -> AsyncIterator[Running]:
    """A backend whose operator named two origins."""
    env = environment(tmp_path, MARKETPLACE_CORS_ORIGINS=f"{SHOP}, {OTHER}", **place)
    async with running(env, clock=clock) as found:
        yield found


async def headers(shop: Running, method: str, path: str, **more: str) -> tuple[int, Mapping[str, str]]:
    url = shop.nobody.url + path
    async with shop.nobody.session.request(method, url, headers=more, allow_redirects=False) as response:
        return response.status, response.headers.copy()


def asking(origin: str, method: str = "POST") -> dict[str, str]:
    return {"Origin": origin, "Access-Control-Request-Method": method}


@pytest.mark.parametrize(
    ("method", "path"),
    [
        ("GET", "/health"),
        ("GET", "/openapi.json"),
        ("GET", "/api/auth/me"),  # 401
        ("GET", "/nowhere"),
        ("DELETE", "/health"),
        ("GET", "/api/%zz"),
        ("GET", "/admin"),
        ("GET", "/admin/login"),
    ],
)
async def test_every_answer_carries_the_headers(shop: Running, method: str, path: str) -> None:
    _, found = await headers(shop, method, path)

    missing = {name for name in EVERYWHERE if name not in found}
    assert missing == set()
    assert found["X-Content-Type-Options"] == "nosniff"
    assert found["Cache-Control"] == "no-store"
    assert "frame-ancestors 'none'" in found["Content-Security-Policy"]
    assert "Strict-Transport-Security" not in found


async def test_a_stream_and_what_no_route_had_a_part_in_carry_them_too(shop: Running) -> None:
    user = await shop.user("buyer")
    async with user.session.get(f"{user.url}/api/events", headers={"Authorization": f"Bearer {user.token}"}) as stream:
        assert stream.headers["X-Content-Type-Options"] == "nosniff"
        assert stream.headers["Content-Security-Policy"] == EVERYWHERE["Content-Security-Policy"]

    status, found = await headers(shop, "GET", "/health?" + "x" * 9000)

    assert status == 414
    assert {name: found.get(name) for name in EVERYWHERE} == dict(EVERYWHERE)


async def test_files_of_pages_keep_what_they_say_of_themselves(shop: Running) -> None:
    async with shop.nobody.session.get(f"{shop.nobody.url}/admin/login") as page:
        path = "/" + re.findall(r"(assets/[^\"]+)", await page.text())[0]

    _, found = await headers(shop, "GET", path)

    assert "immutable" in found["Cache-Control"]
    assert found["X-Content-Type-Options"] == "nosniff"


async def test_behind_tls_a_browser_is_told_to_stay_there(tmp_path: Path, clock: FakeClock) -> None:
    env = environment(tmp_path, MARKETPLACE_PUBLIC_URL="https://market.example")
    async with running(env, clock=clock) as shop:
        _, found = await headers(shop, "GET", "/health")

    assert found["Strict-Transport-Security"] == HSTS


async def test_no_other_origin_reads_an_answer_by_default(shop: Running) -> None:
    _, plain = await headers(shop, "GET", "/api/version", Origin=SHOP)
    status, preflight = await headers(shop, "OPTIONS", "/api/auth/login", **asking(SHOP))

    assert ALLOW not in plain
    assert (status, preflight.get(ALLOW)) == (405, None)


@pytest.mark.parametrize("path", ["/api/version", "/api/auth/me", "/nowhere"])
async def test_the_origins_that_are_named_read_answers_and_nobody_else(named: Running, path: str) -> None:
    found = {origin: (await headers(named, "GET", path, Origin=origin))[1] for origin in (SHOP, OTHER, STRANGER)}
    _, without = await headers(named, "GET", path)

    assert {origin: each.get(ALLOW) for origin, each in found.items()} == {SHOP: SHOP, OTHER: OTHER, STRANGER: None}
    assert "X-Request-Id" in found[SHOP]["Access-Control-Expose-Headers"]
    assert all("Origin" in each["Vary"] for each in (*found.values(), without))
    assert all(CREDENTIALS not in each for each in found.values())
    assert ALLOW not in without


@pytest.mark.parametrize("origin", ["null", "*", SHOP.upper(), f"{SHOP}/", f"{SHOP}:443", "http://shop.example"])
async def test_an_origin_is_compared_whole(named: Running, origin: str) -> None:
    _, found = await headers(named, "GET", "/api/version", Origin=origin)

    assert ALLOW not in found


async def test_a_browser_that_asks_first_is_told_what_the_path_takes(named: Running) -> None:
    status, found = await headers(named, "OPTIONS", "/api/auth/login", **asking(SHOP))

    assert (status, found[ALLOW]) == (204, SHOP)
    assert found["Access-Control-Allow-Methods"] == "POST"
    assert "Authorization" in found["Access-Control-Allow-Headers"]
    assert CREDENTIALS not in found


@pytest.mark.parametrize(
    ("path", "more", "expected"),
    [
        ("/api/auth/login", asking(STRANGER), 405),
        ("/api/auth/login", asking(SHOP, "DELETE"), 405),
        ("/api/auth/login", {"Origin": SHOP}, 405),
        ("/nowhere", asking(SHOP), 404),
    ],
)
async def test_any_other_question_is_answered_as_ever(
    named: Running, path: str, more: dict[str, Any], expected: int
) -> None:
    status, found = await headers(named, "OPTIONS", path, **more)

    assert status == expected
    assert "Access-Control-Allow-Methods" not in found


async def test_the_pages_of_admins_are_shown_to_no_other_origin(named: Running) -> None:
    _, plain = await headers(named, "GET", "/admin/login", Origin=SHOP)
    status, preflight = await headers(named, "OPTIONS", "/admin/login", **asking(SHOP))

    assert ALLOW not in plain
    assert ALLOW not in preflight
    assert status >= 300


async def test_preflights_use_up_no_ones_limit(tmp_path: Path, clock: FakeClock) -> None:
    limits = "login=off,payment=off,all=3/900"
    env = environment(tmp_path, MARKETPLACE_CORS_ORIGINS=SHOP, MARKETPLACE_RATE_LIMITS=limits)
    async with running(env, clock=clock) as shop:  # which logged in once
        asked = [(await headers(shop, "OPTIONS", "/api/auth/login", **asking(SHOP)))[0] for _ in range(5)]
        status, _ = await headers(shop, "GET", "/api/version", Origin=SHOP)

    assert (asked, status) == ([204] * 5, 200)


@pytest.mark.parametrize(
    "value",
    [
        "*",
        "null",
        "https://*.example",
        "shop.example",
        f"{SHOP}/",
        f"{SHOP}/path",
        f"{SHOP}:443",
        "http://shop.example:80",
        "https://Shop.example",
        "https://user@shop.example",
        "ftp://shop.example",
        ",".join(f"https://s{n}.example" for n in range(MAX_ORIGINS + 1)),
    ],
)
def test_what_is_no_exact_origin_is_refused(tmp_path: Path, value: str) -> None:
    with pytest.raises(ConfigError, match=r"^MARKETPLACE_CORS_ORIGINS"):
        load_settings({**environment(tmp_path), "MARKETPLACE_CORS_ORIGINS": value})
