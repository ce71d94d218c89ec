"""What everybody of a role is told costs whoever causes it one row, and reaches each of them once."""

from __future__ import annotations

import asyncio
from collections import Counter

import pytest

from marketplace.model import Role, User
from marketplace.notifications.announcer import Announcer
from marketplace.store import users
from marketplace.unit_of_work import UnitOfWork, UnitOfWorkFactory, new_id
from tests.marketplace.harness import MARKET, Running, new_request, notes, request_body

pytestmark = pytest.mark.parametrize("engine", ["sqlite", "postgresql"], indirect=True)


async def _people(units: UnitOfWorkFactory, count: int, role: Role = Role.SELLER) -> None:
    async with units.begin(None) as work:
        for _ in range(count):
            person = new_id()
            await users.add(
                work.tx,
                User(id=person, email=f"{person}@example.test", name="x", role=role, password_hash="x", created_at=1),
            )


def _told(shop: Running, about: str) -> Counter[str]:
    with shop.opened() as store:
        rows = store.execute("SELECT user_id, related_id FROM notifications").fetchall()
    return Counter(str(user_id) for user_id, related_id in rows if related_id == about)


def _waiting(shop: Running) -> int:
    with shop.opened() as store:
        return int(store.execute("SELECT count(*) FROM announcements").fetchall()[0][0])


async def test_everybody_of_the_role_is_told_once_in_parts(shop: Running) -> None:
    units = shop.marketplace.services.units
    await _people(units, 13)
    await _people(units, 3, Role.BUYER)
    async with units.begin(None) as work:
        await work.announce(Role.SELLER, "test", "test", "Hello", about="one")
        work.announced = False  # nobody but us hands it out

    await Announcer(units, part=4).once()

    told = _told(shop, "one")
    assert len(told) == 13
    assert set(told.values()) == {1}
    assert _waiting(shop) == 0


@pytest.mark.parametrize("count", [4, 8])
async def test_a_number_of_people_that_is_whole_parts_ends_as_well(shop: Running, count: int) -> None:
    units = shop.marketplace.services.units
    await _people(units, count)
    async with units.begin(None) as work:
        await work.announce(Role.SELLER, "test", "test", "Hello", about="one")
        work.announced = False

    await Announcer(units, part=4).once()

    assert (len(_told(shop, "one")), _waiting(shop)) == (count, 0)


async def test_what_was_broken_off_goes_on_where_it_was(shop: Running, monkeypatch: pytest.MonkeyPatch) -> None:
    units = shop.marketplace.services.units
    await _people(units, 10)
    async with units.begin(None) as work:
        await work.announce(Role.SELLER, "test", "test", "Hello", about="one")
        work.announced = False
    finish, parts = UnitOfWork.finish, 0

    async def breaks(self: UnitOfWork) -> None:
        nonlocal parts
        await finish(self)
        parts += 1
        if parts == 2:
            raise asyncio.CancelledError

    with monkeypatch.context() as broken:
        broken.setattr(UnitOfWork, "finish", breaks)
        with pytest.raises(asyncio.CancelledError):
            await Announcer(units, part=4).once()
    assert len(_told(shop, "one")) == 4

    await Announcer(units, part=4).once()

    told = _told(shop, "one")
    assert (len(told), set(told.values())) == (10, {1})


async def test_several_at_once_tell_nobody_twice(shop: Running) -> None:
    units = shop.marketplace.services.units
    await _people(units, 40)
    for about in ("one", "two"):
        async with units.begin(None) as work:
            await work.announce(Role.SELLER, "test", "test", "Hello", about=about)
            work.announced = False

    await asyncio.gather(*(Announcer(units, part=3).once() for _ in range(4)))

    for about in ("one", "two"):
        told = _told(shop, about)
        assert (len(told), set(told.values())) == (40, {1})


async def test_a_request_writes_one_row_however_many_sellers_there_are(
    shop: Running, monkeypatch: pytest.MonkeyPatch
) -> None:
    await _people(shop.marketplace.services.units, 500)
    buyer = await shop.user("buyer")

    async def nothing(_self: Announcer) -> bool:
        return False

    monkeypatch.setattr(Announcer, "_tell", nothing)
    answer = await buyer.ok("POST", f"{MARKET}/purchase-requests", request_body(), 201)

    assert _waiting(shop) == 1
    assert _told(shop, answer["purchaseRequest"]["id"]) == {}


async def test_a_request_that_is_refused_is_announced_to_nobody(shop: Running) -> None:
    buyer, seller = await shop.user("buyer"), await shop.user("seller")

    assert (await buyer.call("POST", f"{MARKET}/purchase-requests", request_body(quantity=0)))[0] == 422
    await shop.all_told()

    assert await notes(seller) == []


async def test_it_is_told_without_anybody_asking(shop: Running) -> None:
    buyer, seller = await shop.user("buyer"), await shop.user("seller")

    with shop.marketplace.services.units.subscribers.listening(seller.user_id) as buffer:
        answer = await buyer.ok("POST", f"{MARKET}/purchase-requests", request_body(), 201)
        assert await buffer.wait(10)

    assert await notes(seller) == [("request_created", answer["purchaseRequest"]["id"])]


async def test_what_is_told_says_when_it_happened(shop: Running) -> None:
    buyer, seller = await shop.user("buyer"), await shop.user("seller")
    request_id = await new_request(buyer)

    shown = (await seller.ok("GET", "/api/notifications"))["notifications"]
    request = (await buyer.ok("GET", f"{MARKET}/purchase-requests/{request_id}"))["purchaseRequest"]
    assert [note["createdAt"] for note in shown] == [request["createdAt"]]


async def test_one_part_tells_of_several_and_no_more_than_its_people(shop: Running) -> None:
    units = shop.marketplace.services.units
    await _people(units, 4)
    for about in ("one", "two", "three"):
        async with units.begin(None) as work:
            await work.announce(Role.SELLER, "test", "test", "Hello", about=about)
            work.announced = False

    assert await Announcer(units, part=10)._tell()

    assert [len(_told(shop, about)) for about in ("one", "two", "three")] == [4, 4, 2]
    assert await Announcer(units, part=10)._tell() is False
    assert [len(_told(shop, about)) for about in ("one", "two", "three")] == [4, 4, 4]


async def test_announcements_for_nobody_do_not_fill_a_transaction_without_end(
    shop: Running, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("marketplace.notifications.announcer.MOST", 2)
    units = shop.marketplace.services.units
    for number in range(3):
        async with units.begin(None) as work:
            await work.announce(Role.RESOLVER, "test", "test", "Hello", about=str(number))
            work.announced = False

    assert await Announcer(units)._tell()
    assert _waiting(shop) == 1
    await Announcer(units).once()
    assert _waiting(shop) == 0
