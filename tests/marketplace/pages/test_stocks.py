"""The page of stocks: counts for an admin, and no word of what is in them."""

from __future__ import annotations

from tests.harness import FakeClock
from tests.marketplace.fake_scanner import FakeScanner
from tests.marketplace.goods_for_sale import open_shelf, revealed
from tests.marketplace.harness import Running
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
