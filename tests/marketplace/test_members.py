"""Suspended, signed out, given a new password: every session ends at once, and what was done is written down."""

from __future__ import annotations

import asyncio
import sqlite3
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import pytest

from kernel.store.dialects import is_postgresql
from marketplace.store import users
from tests.harness import FakeClock
from tests.marketplace.harness import ADMIN, PASSWORD, Api, Running, login
from tests.marketplace.pages.conftest import sign_in
from tests.plain_browser import browser

pytestmark = pytest.mark.parametrize(
    "engine", ["sqlite", pytest.param("postgresql", marks=pytest.mark.postgresql)], indirect=True
)
WHY = {"reason": "They sell what is not theirs."}
NEW = "another horse battery"
OVER = (401, "unauthorized")


async def signed_in(shop: Running, email: str, password: str = PASSWORD) -> tuple[Api, str]:
    """Log somebody in; return them and their refresh token."""
    data = await shop.nobody.ok("POST", "/api/auth/login", {"email": email, "password": password})
    api = Api(shop.nobody.url, shop.nobody.session, data["tokens"]["accessToken"], data["user"]["id"])
    return api, data["tokens"]["refreshToken"]


@asynccontextmanager
async def listening(api: Api) -> AsyncIterator[Any]:
    headers = {"Authorization": f"Bearer {api.token}"}
    async with api.session.get(f"{api.url}/api/events", headers=headers) as response:
        assert await response.content.readline() == b": hello\n"
        yield response


async def history(shop: Running, user_id: str) -> list[tuple[str, str | None]]:
    found = await shop.admin.ok("GET", f"/api/admin/users/{user_id}/history")
    return [(each["kind"], each["byUserId"]) for each in found["events"]]


def over(path: str, user_id: str) -> str:
    return f"/api/admin/users/{user_id}/{path}"


async def test_a_suspension_ends_every_session_and_stream_at_once(shop: Running) -> None:
    seller, refresh = await signed_in(shop, (await _email(shop, await shop.user("seller"))))
    async with listening(seller) as stream:
        shown = await shop.admin.ok("POST", over("suspend", seller.user_id), WHY)
        async with asyncio.timeout(10):
            told = await stream.content.read()

    assert b"data:" not in told
    assert shown["user"]["suspendedAt"] is not None
    assert shown["sessions"] == []
    assert await seller.refused("GET", "/api/auth/me") == OVER
    assert await seller.refused("POST", "/api/auth/refresh-token", {"refreshToken": refresh}) == OVER
    email = shown["user"]["email"]
    attempt = {"email": email, "password": PASSWORD}
    assert await shop.nobody.refused("POST", "/api/auth/login", attempt) == (403, "forbidden")
    assert await shop.nobody.refused("POST", "/api/auth/login", {**attempt, "password": "wrong"}) == (
        401,
        "bad_credentials",
    )


async def _email(shop: Running, who: Api) -> str:
    return str((await who.ok("GET", "/api/auth/me"))["user"]["email"])


async def test_who_is_let_in_again_signs_in_anew(shop: Running) -> None:
    seller = await shop.user("seller")
    email = await _email(shop, seller)
    await shop.admin.ok("POST", over("suspend", seller.user_id), WHY)
    assert (await shop.admin.call("POST", over("suspend", seller.user_id), WHY))[0] == 409

    await shop.admin.ok("POST", over("unsuspend", seller.user_id))

    assert (await shop.admin.call("POST", over("unsuspend", seller.user_id)))[0] == 409
    assert await seller.refused("GET", "/api/auth/me") == OVER
    await (await login(shop.nobody, email, PASSWORD)).ok("GET", "/api/auth/me")
    by = shop.admin.user_id
    assert await history(shop, seller.user_id) == [("unsuspended", by), ("suspended", by), ("created", by)]


async def test_the_last_admin_is_not_suspended(shop: Running) -> None:
    assert await shop.admin.refused("POST", over("suspend", shop.admin.user_id), WHY) == (409, "conflict")
    other = await shop.user("admin")
    await shop.admin.ok("POST", over("suspend", other.user_id), WHY)
    assert await shop.admin.refused("POST", over("suspend", shop.admin.user_id), WHY) == (409, "conflict")


async def test_two_admins_who_suspend_each_other_leave_one(shop: Running) -> None:
    for _ in range(5):
        one, other = await shop.user("admin"), await shop.user("admin")

        answers = await asyncio.gather(
            one.call("POST", over("suspend", other.user_id), WHY),
            other.call("POST", over("suspend", one.user_id), WHY),
        )

        assert sorted(status for status, _ in answers) in ([200, 401], [200, 403]), answers


async def test_a_login_beside_a_suspension_leaves_no_session(shop: Running) -> None:
    """The password is looked at for long: what was decided meanwhile holds."""
    for _ in range(5):
        seller = await shop.user("seller")
        attempt = {"email": await _email(shop, seller), "password": PASSWORD}

        (status, answer), _ = await asyncio.gather(
            shop.nobody.call("POST", "/api/auth/login", attempt),
            shop.admin.ok("POST", over("suspend", seller.user_id), WHY),
        )

        assert status in {200, 401, 403}
        if status == 200:
            tokens = answer["data"]["tokens"]
            held = Api(shop.nobody.url, shop.nobody.session, tokens["accessToken"])
            assert await held.refused("GET", "/api/auth/me") == OVER
            again = {"refreshToken": tokens["refreshToken"]}
            assert await shop.nobody.refused("POST", "/api/auth/refresh-token", again) == OVER


async def test_who_is_suspended_while_the_password_is_looked_at_gets_no_session(
    shop: Running, monkeypatch: pytest.MonkeyPatch
) -> None:
    seller = await shop.user("seller")
    attempt = {"email": await _email(shop, seller), "password": PASSWORD}
    passwords = shop.marketplace.services.accounts._passwords
    verify = passwords.verify

    async def slowly(hashed: str | None, password: str) -> bool:
        right = await verify(hashed, password)
        await shop.admin.ok("POST", over("suspend", seller.user_id), WHY)
        return right

    monkeypatch.setattr(passwords, "verify", slowly)

    # Whoever was let in now would be in again with their refresh token once the suspension is over.
    assert (await shop.nobody.call("POST", "/api/auth/login", attempt))[0] in {401, 403}
    assert (await shop.admin.ok("GET", f"/api/admin/users/{seller.user_id}"))["sessions"] == []


async def test_a_new_password_ends_every_other_session(shop: Running) -> None:
    admin, refresh = await signed_in(shop, *ADMIN)
    body = {"currentPassword": ADMIN[1], "newPassword": NEW}
    async with browser(shop.nobody.url) as visitor:
        await sign_in(visitor, *ADMIN)

        issued = (await admin.ok("POST", "/api/auth/password", body))["tokens"]

        assert (await visitor.get("/admin")).status == 303
    for old in (admin, shop.admin):
        assert await old.refused("GET", "/api/auth/me") == OVER
    assert await admin.refused("POST", "/api/auth/refresh-token", {"refreshToken": refresh}) == OVER
    mine = Api(admin.url, admin.session, issued["accessToken"], admin.user_id)
    await mine.ok("POST", "/api/auth/refresh-token", {"refreshToken": issued["refreshToken"]})
    assert (await mine.ok("GET", "/api/notifications"))["notifications"][0]["type"] == "password_changed"
    assert (await admin.call("POST", "/api/auth/login", {"email": ADMIN[0], "password": ADMIN[1]}))[0] == 401
    await login(shop.nobody, ADMIN[0], NEW)


async def test_a_wrong_current_password_changes_nothing(shop: Running) -> None:
    body = {"currentPassword": "wrong", "newPassword": NEW}

    status, answer = await shop.admin.call("POST", "/api/auth/password", body)

    assert (status, answer["error"]["details"]["field"]) == (422, "currentPassword")
    await shop.admin.ok("GET", "/api/auth/me")


async def test_somebody_is_signed_out_everywhere(shop: Running, clock: FakeClock) -> None:
    email = await _email(shop, await shop.user("resolver"))
    async with browser(shop.nobody.url) as visitor:
        await sign_in(visitor, email, PASSWORD)
        clock.advance(1)
        resolver, _ = await signed_in(shop, email)
        before = await shop.admin.ok("GET", f"/api/admin/users/{resolver.user_id}")

        after = await shop.admin.ok("POST", over("end-sessions", resolver.user_id))

        assert [each["kind"] for each in before["sessions"]] == ["api", "api", "pages"]
        assert after["sessions"] == []
        assert (await visitor.get("/admin")).status == 303
    assert await resolver.refused("GET", "/api/auth/me") == OVER


async def test_a_suspended_browser_is_signed_out(shop: Running) -> None:
    resolver = await shop.user("resolver")
    async with browser(shop.nobody.url) as visitor:
        await sign_in(visitor, await _email(shop, resolver), PASSWORD)
        await shop.admin.ok("POST", over("suspend", resolver.user_id), WHY)

        assert (await visitor.get("/admin")).status == 303
        assert (await sign_in(visitor, (await _of(shop, resolver))["email"], PASSWORD)).status == 403


async def _of(shop: Running, who: Api) -> dict[str, Any]:
    return dict((await shop.admin.ok("GET", f"/api/admin/users/{who.user_id}"))["user"])


async def test_what_became_of_an_account_is_not_changed(shop: Running) -> None:
    with shop.opened() as store, pytest.raises(sqlite3.IntegrityError):
        store.execute("UPDATE account_events SET kind = 'joined'")


async def test_people_are_found_through_an_index(shop: Running) -> None:
    """A search that reads every account would cost a large store a second each time."""
    await shop.user("buyer", name="Ünal 100%", email="unal@example.test")
    async with shop.marketplace.services.units.db.read() as tx:
        asked = users._begins(tx, users._u.name_key, "ü")
        found = await tx.execute(users.select(users._u.email).where(asked))
        assert list(found.scalars()) == ["unal@example.test"]
        if is_postgresql(tx):
            return  # its planner walks through a table of three rows whatever there is
        plan = await tx.exec_driver_sql(
            "EXPLAIN QUERY PLAN SELECT 1 FROM users WHERE name_key >= ? AND name_key < ?", ("a", "b")
        )
        assert "users_by_name" in " ".join(str(row) for row in plan)
    assert [user["name"] for user in (await shop.admin.ok("GET", "/api/admin/users?q=%C3%BCnal"))["users"]] == [
        "Ünal 100%"
    ]
