"""The page of stocks: counts for an admin, and no word of what is in them."""

from __future__ import annotations

from tests.harness import FakeClock
from tests.marketplace.fake_scanner import FakeScanner
from tests.marketplace.goods_for_sale import open_shelf, revealed
from tests.marketplace.harness import Running
from tests.marketplace.shopping import new_template
from tests.plain_browser import Browser


async def test_an_admin_sees_how_many_there_are_and_not_what(
    market: Running, fake_scanner: FakeScanner, clock: FakeClock, admin: Browser, resolver: Browser
) -> None:
    shelf = await open_shelf(market, fake_scanner, clock, "AAAA-1111", "BBBB-2222", low_at=1)
    await revealed(await shelf.bought())

    page = await admin.get("/admin/stocks")

    assert "Gift cards" in page.said
    assert "low" in page.said
    assert "AAAA" not in page.text
    assert "BBBB" not in page.text
    assert (await resolver.get("/admin/stocks")).status == 403


async def test_an_admin_sees_what_is_offered_to_everybody_and_takes_it_off_sale(
    market: Running, admin: Browser, resolver: Browser
) -> None:
    seller = await market.user("seller")
    template = await new_template(seller, title="<b>A poster</b>", maxUses=3)

    page = await admin.get("/admin/templates")
    assert "0 of 3" in page.said
    assert "<b>A poster</b>" not in page.text
    closed = await admin.submit("/admin/templates", f"/admin/templates/{template['id']}/close")

    assert closed.status == 303
    assert "closed" in (await admin.get("/admin/templates")).said
    assert (await market.nobody.call("GET", f"/api/templates/{template['shareId']}"))[0] == 404
    assert (await resolver.get("/admin/templates")).status == 403
