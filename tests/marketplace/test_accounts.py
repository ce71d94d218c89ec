"""Logging in, staying logged in, and being told apart."""

from __future__ import annotations

import asyncio
from pathlib import Path

import pytest

from marketplace.app import open_marketplace
from marketplace.settings import load_settings
from tests.harness import FakeClock
from tests.marketplace.harness import ADMIN, PASSWORD, Api, Running, environment, login


async def tokens_of(api: Api) -> dict[str, str]:
    data = await api.ok("POST", "/api/auth/login", {"email": ADMIN[0], "password": ADMIN[1]})
    return dict(data["tokens"])


async def test_the_first_admin_comes_from_the_environment_and_is_who_the_token_says(shop: Running) -> None:
    me = await shop.admin.ok("GET", "/api/auth/me")

    assert (me["user"]["email"], me["user"]["role"]) == (ADMIN[0], "admin")


async def test_an_admin_creates_users_who_can_log_in_in_any_letter_case(shop: Running) -> None:
    body = {"email": "Ann@Example.test", "password": PASSWORD, "role": "buyer", "name": "Ann"}
    created = await shop.admin.ok("POST", "/api/admin/users", body, 201)

    ann = await login(shop.nobody, "ann@example.TEST", PASSWORD)

    assert set(created["user"]) == {"id", "email", "role", "name"}
    assert ann.user_id == created["user"]["id"]


async def test_a_taken_e_mail_is_a_conflict(shop: Running) -> None:
    body = {"email": ADMIN[0].upper(), "password": PASSWORD, "role": "buyer", "name": "Eve"}

    assert await shop.admin.refused("POST", "/api/admin/users", body) == (409, "conflict")


@pytest.mark.parametrize("role", ["buyer", "seller", "resolver"])
async def test_only_admins_create_users(shop: Running, role: str) -> None:
    somebody = await shop.user(role)
    body = {"email": "x@example.test", "password": PASSWORD, "role": "admin", "name": "X"}

    assert await somebody.refused("POST", "/api/admin/users", body) == (403, "forbidden")
    assert await shop.nobody.refused("POST", "/api/admin/users", body) == (401, "unauthorized")


@pytest.mark.parametrize(
    ("email", "password"), [(ADMIN[0], "wrong"), ("nobody@example.test", ADMIN[1]), ("no e-mail at all", "x")]
)
async def test_wrong_credentials_all_look_the_same(shop: Running, email: str, password: str) -> None:
    status, answer = await shop.nobody.call("POST", "/api/auth/login", {"email": email, "password": password})

    assert (status, answer["error"]["message"]) == (401, "e-mail or password is wrong")


async def test_an_access_token_ends_after_fifteen_minutes(shop: Running, clock: FakeClock) -> None:
    clock.advance(899)
    await shop.admin.ok("GET", "/api/auth/me")
    clock.advance(2)

    assert await shop.admin.refused("GET", "/api/auth/me") == (401, "unauthorized")


async def test_a_refresh_token_is_replaced_and_ends_its_family_when_it_comes_twice(shop: Running) -> None:
    first = (await tokens_of(shop.nobody))["refreshToken"]
    second = (await shop.nobody.ok("POST", "/api/auth/refresh-token", {"refreshToken": first}))["tokens"][
        "refreshToken"
    ]

    replayed = await shop.nobody.refused("POST", "/api/auth/refresh-token", {"refreshToken": first})
    heir = await shop.nobody.refused("POST", "/api/auth/refresh-token", {"refreshToken": second})

    assert replayed == heir == (401, "unauthorized")


async def test_of_many_simultaneous_refreshes_one_wins(shop: Running) -> None:
    token = (await tokens_of(shop.nobody))["refreshToken"]

    answers = await asyncio.gather(
        *(shop.nobody.call("POST", "/api/auth/refresh-token", {"refreshToken": token}) for _ in range(20))
    )

    assert sorted(status for status, _ in answers) == [200] + [401] * 19


async def test_a_refresh_token_ends_after_thirty_days(shop: Running, clock: FakeClock) -> None:
    token = (await tokens_of(shop.nobody))["refreshToken"]
    clock.advance(31 * 86_400)

    assert (await shop.nobody.refused("POST", "/api/auth/refresh-token", {"refreshToken": token}))[0] == 401


@pytest.mark.parametrize("header", ["Bearer", "Bearer x.y.z", "Basic YTpi", "bearer é"])
async def test_what_is_no_token_is_401(shop: Running, header: str) -> None:
    status, _ = await shop.nobody.call("GET", "/api/auth/me", headers={"Authorization": header})

    assert status == 401


@pytest.mark.parametrize(
    ("field", "value"),
    [("email", "nonsense"), ("password", "short"), ("role", "king"), ("name", ""), ("name", None)],
)
async def test_a_bad_field_is_named(shop: Running, field: str, value: object) -> None:
    body = {"email": "x@example.test", "password": PASSWORD, "role": "buyer", "name": "X", field: value}

    status, answer = await shop.admin.call("POST", "/api/admin/users", body)

    assert (status, answer["error"]["details"]["field"]) == (422, field)


@pytest.mark.parametrize("raw", [b"{", b"[]", b'"text"', b"\xff"])
async def test_a_body_that_is_no_object_is_400(shop: Running, raw: bytes) -> None:
    assert await shop.nobody.refused("POST", "/api/auth/login", raw) == (400, "bad_json")


async def test_a_request_id_is_given_back_or_made(shop: Running) -> None:
    async with shop.nobody.session.get(f"{shop.nobody.url}/health", headers={"X-Request-Id": "mine-1"}) as answer:
        assert answer.headers["X-Request-Id"] == "mine-1"
    async with shop.nobody.session.get(f"{shop.nobody.url}/nowhere", headers={"X-Request-Id": "not ok"}) as answer:
        assert len(answer.headers["X-Request-Id"]) == 32


async def test_a_start_says_so_while_nobody_could_sign_in(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    nobody = {"MARKETPLACE_ADMIN_EMAIL": "", "MARKETPLACE_ADMIN_PASSWORD": ""}
    for env, said in (
        (environment(tmp_path, **nobody), True),
        (environment(tmp_path), False),
        (environment(tmp_path, **nobody), False),
    ):
        caplog.clear()
        async with open_marketplace(load_settings(env)):
            assert ("nobody has an account: set MARKETPLACE_ADMIN_EMAIL" in caplog.text) is said
