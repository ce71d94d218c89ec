"""Invitations, links for a new password, and registration: each link works once, for one person, for a while."""

from __future__ import annotations

import asyncio
from pathlib import Path
from typing import Any

import pytest

from tests.harness import FakeClock
from tests.marketplace.harness import ADMIN, PASSWORD, Api, Running, environment, login, running
from tests.marketplace.pages.conftest import sign_in
from tests.plain_browser import Page, browser

BOTH = pytest.mark.parametrize("engine", ["sqlite", "postgresql"], indirect=True)
ANN = {"email": "ann@example.test", "role": "seller"}
NEW = "another horse battery"
WORTHLESS = (404, "not_found")
DAY_S = 86_400


async def invited(shop: Running, **changed: str) -> str:
    made = await shop.admin.ok("POST", "/api/admin/invitations", {**ANN, **changed}, 201)
    return str(made["token"])


def joining(token: str) -> dict[str, str]:
    return {"token": token, "name": "Ann", "password": PASSWORD}


async def reset_of(shop: Running, user: Api) -> str:
    return str((await shop.admin.ok("POST", f"/api/admin/users/{user.user_id}/reset", status=201))["token"])


@BOTH
async def test_an_invitation_is_used_once_whoever_is_faster(shop: Running) -> None:
    token = await invited(shop)

    answers = await asyncio.gather(*(shop.nobody.call("POST", "/api/auth/join", joining(token)) for _ in range(4)))

    assert {status for status, _ in answers} <= {201, 404, 409}
    assert [status for status, _ in answers].count(201) == 1
    ann = await login(shop.nobody, ANN["email"], PASSWORD)
    me = (await ann.ok("GET", "/api/auth/me"))["user"]
    assert (me["role"], me["name"]) == ("seller", "Ann")
    assert await shop.nobody.refused("POST", "/api/auth/join", joining(token)) == WORTHLESS
    history = await shop.admin.ok("GET", f"/api/admin/users/{ann.user_id}/history")
    assert [(each["kind"], each["byUserId"]) for each in history["events"]] == [("joined", shop.admin.user_id)]


@BOTH
async def test_the_store_holds_no_link_that_works(shop: Running) -> None:
    token = await invited(shop)
    with shop.opened() as store:
        rows = store.execute("SELECT * FROM account_links").fetchall()

    assert token not in str(rows)


async def test_a_link_ends_with_its_time_its_successor_or_a_word(shop: Running, clock: FakeClock) -> None:
    first = await invited(shop)
    clock.advance(1)
    second = await invited(shop)
    assert await shop.nobody.refused("POST", "/api/auth/join", joining(first)) == WORTHLESS
    (newest, _) = (await shop.admin.ok("GET", "/api/admin/invitations"))["invitations"]
    await shop.admin.ok("POST", f"/api/admin/invitations/{newest['id']}/revoke")
    assert await shop.nobody.refused("POST", "/api/auth/join", joining(second)) == WORTHLESS
    assert await shop.admin.refused("POST", f"/api/admin/invitations/{newest['id']}/revoke") == WORTHLESS
    third = await invited(shop)
    clock.advance(3 * DAY_S)
    assert await shop.nobody.refused("POST", "/api/auth/join", joining(third)) == WORTHLESS


async def test_an_invitation_of_a_suspended_admin_is_worth_nothing(shop: Running) -> None:
    other = await shop.user("admin")
    token = str((await other.ok("POST", "/api/admin/invitations", ANN, 201))["token"])

    await shop.admin.ok("POST", f"/api/admin/users/{other.user_id}/suspend", {"reason": "stolen"})

    assert await shop.nobody.refused("POST", "/api/auth/join", joining(token)) == WORTHLESS


async def test_an_e_mail_that_was_taken_meanwhile_leaves_the_link_as_it_is(shop: Running) -> None:
    token = await invited(shop)
    await shop.user("buyer", email=ANN["email"])

    assert await shop.nobody.refused("POST", "/api/auth/join", joining(token)) == (409, "conflict")
    assert (await shop.admin.ok("GET", "/api/admin/invitations"))["invitations"][0]["usedAt"] is None
    assert await shop.admin.refused("POST", "/api/admin/invitations", ANN) == (409, "conflict")


@BOTH
async def test_a_reset_link_renews_the_password_once_and_ends_every_session(shop: Running) -> None:
    seller = await shop.user("seller")
    email = (await seller.ok("GET", "/api/auth/me"))["user"]["email"]
    token = await reset_of(shop, seller)
    assert await shop.nobody.refused("POST", "/api/auth/join", joining(token)) == WORTHLESS
    await seller.ok("GET", "/api/auth/me")

    answers = await asyncio.gather(
        *(shop.nobody.call("POST", "/api/auth/reset-password", {"token": token, "password": NEW}) for _ in range(3))
    )

    assert sorted(status for status, _ in answers) == [200, 404, 404]
    assert await seller.refused("GET", "/api/auth/me") == (401, "unauthorized")
    ann = await login(shop.nobody, email, NEW)
    told = [each["type"] for each in (await ann.ok("GET", "/api/notifications"))["notifications"]]
    assert told == ["password_changed", "reset_ordered"]
    assert (await shop.admin.ok("GET", "/api/notifications"))["notifications"][0]["type"] == "reset_ordered"


async def test_a_reset_link_ends_when_the_password_changes_or_the_account_is_suspended(shop: Running) -> None:
    seller = await shop.user("seller")
    changed = await reset_of(shop, seller)
    body = {"currentPassword": PASSWORD, "newPassword": NEW}
    await seller.ok("POST", "/api/auth/password", body)
    suspended = await reset_of(shop, seller)
    await shop.admin.ok("POST", f"/api/admin/users/{seller.user_id}/suspend", {"reason": "stolen"})

    for token in (changed, suspended):
        attempt = {"token": token, "password": PASSWORD}
        assert await shop.nobody.refused("POST", "/api/auth/reset-password", attempt) == WORTHLESS
    assert await shop.admin.refused("POST", f"/api/admin/users/{seller.user_id}/reset") == (409, "conflict")


def registration(**changed: str) -> dict[str, Any]:
    return {"email": "new@example.test", "password": PASSWORD, "name": "New", "role": "buyer", **changed}


async def test_nobody_registers_unless_it_is_open(shop: Running) -> None:
    assert await shop.nobody.refused("POST", "/api/auth/register", registration()) == (403, "forbidden")


async def test_a_taken_e_mail_is_answered_like_a_free_one(tmp_path: Path) -> None:
    async with running(environment(tmp_path, MARKETPLACE_REGISTRATION="true")) as shop:
        free = await shop.nobody.call("POST", "/api/auth/register", registration())
        taken = await shop.nobody.call("POST", "/api/auth/register", registration(email=ADMIN[0].upper()))
        twice = await asyncio.gather(
            *(shop.nobody.call("POST", "/api/auth/register", registration(email="b@example.test")) for _ in range(3))
        )

        assert free == taken
        assert {status for status, _ in twice} == {202}
        await login(shop.nobody, "new@example.test", PASSWORD)
        await login(shop.nobody, *ADMIN)  # whose password is the one it was
        for role in ("admin", "resolver"):
            status, answer = await shop.nobody.call("POST", "/api/auth/register", registration(role=role))
            assert (status, answer["error"]["details"]["field"]) == (422, "role")


def handed_out(page: Page) -> str:
    """Return the token of the link that a page shows."""
    return page.text.partition('class="mono">')[2].partition("<")[0]


async def test_the_pages_invite_and_whoever_has_the_link_joins(market: Running) -> None:
    async with browser(market.nobody.url) as admin, browser(market.nobody.url) as visitor:
        await sign_in(admin, *ADMIN)
        made = await admin.submit("/admin/invitations", "/admin/invitations", **{**ANN, "role": "resolver"})
        token = handed_out(made)
        assert (await visitor.get(f"/admin/links/{'x' * 43}")).status == 404
        place = f"/admin/links/{token}"
        assert "ann@example.test, as resolver" in (await visitor.get(place)).said
        short = await visitor.submit(place, place, name="Ann", password="short")
        joined = await visitor.submit(place, place, name="Ann", password=PASSWORD)

        assert (short.status, joined.status) == (422, 303)
        assert "Done" in (await visitor.get("/admin/links/done")).said
        assert (await visitor.get(place)).status == 404
        assert (await sign_in(visitor, ANN["email"], PASSWORD)).status == 303
        user_id = (await market.admin.ok("GET", "/api/admin/users?q=ann@"))["users"][0]["id"]
        reset = await admin.submit(f"/admin/users/{user_id}", f"/admin/users/{user_id}/reset")
        place = f"/admin/links/{handed_out(reset)}"
        assert (await visitor.submit(place, place, password=NEW)).status == 303
        assert (await visitor.get("/admin")).status == 303
        assert (await sign_in(visitor, ANN["email"], NEW)).status == 303
        revoked = await market.admin.ok("POST", "/api/admin/invitations", {**ANN, "email": "b@example.test"})
        revoking = f"/admin/invitations/{revoked['invitation']['id']}/revoke"
        assert (await admin.submit("/admin/invitations", revoking)).status == 303
        assert (await visitor.get(f"/admin/links/{revoked['token']}")).status == 404
