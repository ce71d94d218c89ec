"""Codes beside the password: each once, a few tries, recovery codes, and roles that have to have them."""

from __future__ import annotations

import asyncio
import base64
from pathlib import Path
from typing import Any

import pyotp
import pytest

from kernel.store.maintenance import check
from marketplace.store.maintenance import KIND
from tests.harness import FakeClock
from tests.marketplace.harness import ADMIN, PASSWORD, Running, environment, running
from tests.marketplace.pages.conftest import sign_in
from tests.plain_browser import browser

BOTH = pytest.mark.parametrize("engine", ["sqlite", "postgresql"], indirect=True)
FACTOR = "/api/auth/second-factor"
WRONG = (401, "bad_credentials")
STEP_S = 30


def code_of(secret: str, clock: FakeClock, steps: int = 0) -> str:
    return pyotp.TOTP(secret).generate_otp(clock.now_ms() // 1000 // STEP_S + steps)


def attempt(code: str | None = None, account: tuple[str, str] = ADMIN) -> dict[str, Any]:
    given = {"email": account[0], "password": account[1]}
    return given if code is None else {**given, "code": code}


async def enrolled(shop: Running, clock: FakeClock) -> tuple[str, list[str]]:
    """Add a second factor to the admin; return its secret and the recovery codes, and let a step pass."""
    secret = (await shop.admin.ok("POST", FACTOR, {"password": ADMIN[1]}, 201))["secret"]
    codes = (await shop.admin.ok("POST", f"{FACTOR}/confirm", {"code": code_of(secret, clock)}))["recoveryCodes"]
    clock.advance(STEP_S)
    return str(secret), list(codes)


@BOTH
async def test_a_code_signs_in_once_whoever_is_faster(shop: Running, clock: FakeClock) -> None:
    secret, _ = await enrolled(shop, clock)
    code = code_of(secret, clock)

    missing = await shop.nobody.refused("POST", "/api/auth/login", attempt())
    answers = await asyncio.gather(*(shop.nobody.call("POST", "/api/auth/login", attempt(code)) for _ in range(4)))

    assert missing == (401, "code_required")
    assert sorted(status for status, _ in answers) == [200, 401, 401, 401]


async def test_a_code_counts_for_a_step_more_or_less_and_never_backwards(shop: Running, clock: FakeClock) -> None:
    secret, _ = await enrolled(shop, clock)
    clock.advance(4 * STEP_S)

    assert await shop.nobody.refused("POST", "/api/auth/login", attempt(code_of(secret, clock, -2))) == WRONG
    assert await shop.nobody.refused("POST", "/api/auth/login", attempt(code_of(secret, clock, 2))) == WRONG
    await shop.nobody.ok("POST", "/api/auth/login", attempt(code_of(secret, clock, 1)))
    assert await shop.nobody.refused("POST", "/api/auth/login", attempt(code_of(secret, clock))) == WRONG


async def test_codes_are_not_guessed(shop: Running, clock: FakeClock) -> None:
    """Whoever knows the password has five tries in a quarter of an hour, from wherever."""
    secret, _ = await enrolled(shop, clock)
    for _ in range(5):
        assert await shop.nobody.refused("POST", "/api/auth/login", attempt("000000")) == WRONG

    right = code_of(secret, clock)
    status, answer = await shop.nobody.call("POST", "/api/auth/login", attempt(right))
    assert (status, answer["error"]["code"]) == (429, "rate_limited")
    clock.advance(answer["error"]["details"]["retryAfter"])
    await shop.nobody.ok("POST", "/api/auth/login", attempt(code_of(secret, clock)))


@BOTH
async def test_a_recovery_code_signs_in_once_and_is_told(shop: Running, clock: FakeClock) -> None:
    _, codes = await enrolled(shop, clock)

    tries = (shop.nobody.call("POST", "/api/auth/login", attempt(codes[0].lower())) for _ in range(3))
    answers = await asyncio.gather(*tries)

    assert len(set(codes)) == 10
    assert sorted(status for status, _ in answers) == [200, 401, 401]
    told = [each["type"] for each in (await shop.admin.ok("GET", "/api/notifications"))["notifications"]]
    assert told == ["recovery_code_used", "second_factor_added"]
    with shop.opened() as store:
        stored = str(store.execute("SELECT * FROM recovery_codes").fetchall())
    assert not any(code in stored or code.replace("-", "") in stored for code in codes)


async def test_nothing_is_asked_for_before_a_code_was_right(shop: Running, clock: FakeClock) -> None:
    wrong = await shop.admin.call("POST", FACTOR, {"password": "wrong"})
    assert wrong[0] == 422
    first = (await shop.admin.ok("POST", FACTOR, {"password": ADMIN[1]}, 201))["secret"]
    second = (await shop.admin.ok("POST", FACTOR, {"password": ADMIN[1]}, 201))["secret"]
    assert (await shop.admin.call("POST", f"{FACTOR}/confirm", {"code": code_of(first, clock)}))[0] == 422
    await shop.nobody.ok("POST", "/api/auth/login", attempt())

    await shop.admin.ok("POST", f"{FACTOR}/confirm", {"code": code_of(second, clock)})

    assert await shop.nobody.refused("POST", "/api/auth/login", attempt()) == (401, "code_required")
    assert await shop.admin.refused("POST", FACTOR, {"password": ADMIN[1]}) == (409, "conflict")
    assert (await shop.admin.call("POST", f"{FACTOR}/confirm", {"code": code_of(second, clock)}))[0] == 409


async def test_a_second_factor_is_removed_with_password_and_code_or_by_another_admin(
    shop: Running, clock: FakeClock
) -> None:
    secret, codes = await enrolled(shop, clock)
    mine = f"/api/admin/users/{shop.admin.user_id}/remove-second-factor"
    bad = {"password": ADMIN[1], "code": "000000"}
    assert (await shop.admin.call("POST", f"{FACTOR}/remove", bad))[0] == 401
    assert await shop.admin.refused("POST", mine) == (409, "conflict")
    await shop.admin.ok("POST", f"{FACTOR}/remove", {"password": ADMIN[1], "code": codes[3]})
    await shop.nobody.ok("POST", "/api/auth/login", attempt())

    await enrolled(shop, clock)
    other = await shop.user("admin")
    await other.ok("POST", mine)

    assert await shop.admin.refused("GET", "/api/auth/me") == (401, "unauthorized")
    await shop.nobody.ok("POST", "/api/auth/login", attempt())
    assert secret


async def test_the_secret_is_sealed_and_sealed_anew_with_another_key(tmp_path: Path, clock: FakeClock) -> None:
    keys = [base64.b64encode(bytes([number] * 32)).decode() for number in (1, 2)]
    async with running(environment(tmp_path, MARKETPLACE_SECRET_KEY=keys[0]), clock=clock) as shop:
        secret, _ = await enrolled(shop, clock)
        with shop.opened() as store:
            [(before,)] = store.execute("SELECT sealed FROM second_factors").fetchall()
    both = {"MARKETPLACE_SECRET_KEY": keys[1], "MARKETPLACE_SECRET_KEY_FORMER": keys[0]}
    with pytest.raises(AssertionError):  # the harness signs the admin in without a code, after the start
        async with running(environment(tmp_path, **both), clock=clock):
            pass

    assert secret not in before
    assert check(KIND, tmp_path / "marketplace.db", keys[1:]).wrong_key is None


async def test_a_role_that_has_to_have_one_is_let_in_to_add_it_and_no_further(tmp_path: Path, clock: FakeClock) -> None:
    async with running(environment(tmp_path, MARKETPLACE_SECOND_FACTOR="admin"), clock=clock) as shop:
        assert await shop.admin.refused("GET", "/api/admin/users") == (403, "second_factor_required")
        await shop.admin.ok("GET", "/api/auth/me")
        async with browser(shop.nobody.url) as visitor:
            await sign_in(visitor, *ADMIN)
            assert (await visitor.get("/admin/users")).headers["Location"].endswith("account")

            begun = await visitor.submit("/admin/account", "/admin/account/second-factor", password=ADMIN[1])
            page = await visitor.get("/admin/account")
            secret = page.text.partition('<p class="mono">')[2].partition("<")[0]
            wrong = await visitor.submit("/admin/account", "/admin/account/second-factor/confirm", code="000000")
            code = code_of(secret, clock)
            done = await visitor.submit("/admin/account", "/admin/account/second-factor/confirm", code=code)

            assert (begun.status, wrong.status, done.status) == (303, 422, 200)
            assert done.text.count("<li class=") == 10
            assert (await visitor.get("/admin/users")).status == 200
            clock.advance(STEP_S)
            assert (await sign_in(visitor, *ADMIN)).status == 401
            fields = {"email": ADMIN[0], "password": ADMIN[1], "code": code_of(secret, clock)}
            assert (await visitor.sign_in("/admin/login", **fields)).status == 303
        await shop.admin.ok("GET", "/api/admin/users")
        removal = {"password": ADMIN[1], "code": code_of(secret, clock)}
        assert await shop.admin.refused("POST", f"{FACTOR}/remove", removal) == (409, "conflict")


async def test_buyers_and_sellers_have_none(shop: Running) -> None:
    seller = await shop.user("seller")

    assert await seller.refused("POST", FACTOR, {"password": PASSWORD}) == (403, "forbidden")


async def test_the_password_is_changed_at_the_pages_and_that_browser_goes_on(shop: Running) -> None:
    async with browser(shop.nobody.url) as visitor, browser(shop.nobody.url) as other:
        await sign_in(visitor, *ADMIN)
        await sign_in(other, *ADMIN)
        form = {"currentPassword": ADMIN[1], "newPassword": "another horse battery"}
        wrong = {**form, "currentPassword": "wrong"}

        refused = await visitor.submit("/admin/account", "/admin/account/password", **wrong)
        changed = await visitor.submit("/admin/account", "/admin/account/password", **form)

        assert (refused.status, changed.status) == (422, 303)
        assert (await visitor.get("/admin")).status == 200
        assert (await other.get("/admin")).status == 303
