"""Guessing at one account from many addresses ends; the owner who came before is not kept out by it."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

from tests import postgres
from tests.harness import FakeClock
from tests.marketplace.conftest import OwnClock
from tests.marketplace.harness import ADMIN, Running, empty_database, environment, on_postgresql, running

LOCKED = (429, "rate_limited")
TRIES = 3
WRONG = "not the password"
SETTINGS = {
    "MARKETPLACE_RATE_LIMITS": f"login=off,payment=off,all=off,account={TRIES}/900",
    "MARKETPLACE_TRUSTED_HOPS": "1",
}


async def tried(shop: Running, address: int, password: str = WRONG, email: str = ADMIN[0]) -> tuple[int, str]:
    """Sign in from some address; return the status, and the code of a refusal."""
    headers = {"X-Forwarded-For": f"192.0.2.{address}"}
    body = {"email": email, "password": password}
    status, answer = await shop.nobody.call("POST", "/api/auth/login", body, headers=headers)
    return status, "" if status == 200 else answer["error"]["code"]


@asynccontextmanager
async def guarded(folder: Path, clock: FakeClock, **more: str) -> AsyncIterator[Running]:
    async with running(environment(folder, **SETTINGS, **more), clock=clock) as shop:
        yield shop


async def test_many_addresses_have_so_many_guesses_together(tmp_path: Path, clock: FakeClock) -> None:
    async with guarded(tmp_path, clock) as shop:
        for email in (ADMIN[0], "nobody@example.test"):  # who has an account is not told by it
            clock.advance(901)
            answers = [await tried(shop, address, email=email) for address in range(1, TRIES + 2)]
            assert answers == [(401, "bad_credentials")] * TRIES + [LOCKED], email
        assert await tried(shop, 99, ADMIN[1]) == (200, "")  # another account's guesses are not this one's


async def test_strangers_who_keep_guessing_keep_no_owner_out(tmp_path: Path, clock: FakeClock) -> None:
    async with guarded(tmp_path, clock) as shop:
        assert await tried(shop, 50, ADMIN[1]) == (200, "")
        for _ in range(3):
            while await tried(shop, 1) != LOCKED:
                pass
            assert await tried(shop, 51, ADMIN[1]) == LOCKED
            assert await tried(shop, 50, ADMIN[1]) == (200, "")
            clock.advance(600)


async def test_who_has_a_reset_link_is_let_in_from_where_they_used_it(tmp_path: Path, clock: FakeClock) -> None:
    async with guarded(tmp_path, clock) as shop:
        seller = await shop.user("seller", email="ann@example.test")
        while await tried(shop, 1, email="ann@example.test") != LOCKED:
            pass
        token = (await shop.admin.ok("POST", f"/api/admin/users/{seller.user_id}/reset", status=201))["token"]
        body = {"token": token, "password": "another horse battery"}
        headers = {"X-Forwarded-For": "192.0.2.70"}
        assert (await shop.nobody.call("POST", "/api/auth/reset-password", body, headers=headers))[0] == 200

        assert await tried(shop, 71, body["password"], "ann@example.test") == LOCKED
        assert await tried(shop, 70, body["password"], "ann@example.test") == (200, "")


async def test_addresses_are_remembered_as_digests_and_a_few_of_each(tmp_path: Path, clock: FakeClock) -> None:
    async with guarded(tmp_path, clock) as shop:
        for address in range(30):
            clock.advance(900)
            assert await tried(shop, address, ADMIN[1]) == (200, "")
        with shop.opened() as store:
            rows = store.execute("SELECT * FROM known_addresses").fetchall()

        assert len(rows) == 20
        assert "192.0.2" not in str(rows)


async def test_guesses_are_counted_together_by_processes_on_one_store(
    tmp_path: Path, postgresql: postgres.Server
) -> None:
    clock = OwnClock()
    async with empty_database(postgresql) as url:
        place = on_postgresql(url)
        async with guarded(tmp_path, clock, **place) as one, guarded(tmp_path, clock, **place) as other:
            for address in range(TRIES):
                assert await tried(one, address, email="ann@example.test") == (401, "bad_credentials")
            sharing = one.marketplace.sharing, other.marketplace.sharing
            assert await tried(other, 8, email="ann@example.test") == (401, "bad_credentials")
            for each in sharing:
                assert each is not None
                await each.rates.exchange()

            assert await tried(other, 9, email="ann@example.test") == LOCKED
            with one.opened() as store:
                assert "ann@" not in str(store.execute("SELECT client FROM rate_counts").fetchall())
