"""The marketplace's pages in a real browser: every page and button, by mouse and by keyboard alone."""

from __future__ import annotations

from collections.abc import AsyncIterator

import pytest
from playwright.async_api import Page, expect

from tests.browser.visits import Visit, visiting
from tests.harness import FakeClock
from tests.marketplace.accepted_purchase import (
    BUYERS_WALLET,
    DONE_IN,
    SELLERS_WALLET,
    TEN,
    AcceptedPurchase,
    accept_purchase,
)
from tests.marketplace.conftest import clock, engine, fake_scanner, market, place, purchase
from tests.marketplace.fake_scanner import FakeScanner
from tests.marketplace.harness import ADMIN, PASSWORD, Running

__all__ = ["clock", "engine", "fake_scanner", "market", "place", "purchase"]


@pytest.fixture
async def visit(market: Running) -> AsyncIterator[Visit]:
    async with visiting(market.nobody.url, "admin") as found:
        yield found


async def sign_in(page: Page, email: str, password: str) -> None:
    await page.get_by_label("E-mail").fill(email)
    await page.get_by_label("Password").fill(password)
    await page.keyboard.press("Enter")
    await expect(page.get_by_role("heading", name="Overview")).to_be_visible()


async def dispute(deal: AcceptedPurchase) -> str:
    await deal.fund()
    body = {"purchaseRequestId": deal.request_id, "reason": "It never came.", "category": "not_received"}
    return str((await deal.buyer.ok("POST", "/api/disputes", body))["dispute"]["id"])


async def test_an_admin_finds_a_way_through_every_page_about_money(
    market: Running, purchase: AcceptedPurchase, fake_scanner: FakeScanner, clock: FakeClock, visit: Visit
) -> None:
    page = visit.page
    held, watched, moved = [purchase] + [await accept_purchase(market, fake_scanner, clock) for _ in range(2)]
    await held.open()
    await held.hook(fake_scanner.pay(held.payment_id, TEN - 1))
    await watched.open("direct_balance", mode="watch")
    await moved.fund()
    with market.opened() as store:
        store.execute("UPDATE payments SET reorged_at = created_at WHERE id = ?", [moved.payment_id])

    await page.goto(f"{visit.url}/admin")
    await sign_in(page, *ADMIN)
    await page.get_by_role("link", name="Awaiting confirmation", exact=True).click()
    await visit.open("/admin/awaiting", "awaiting")
    await page.get_by_role("button", name="Look again").click()
    await expect(page.get_by_role("status")).to_contain_text("insufficient_amount")
    await page.get_by_role("link", name="Awaiting confirmation").click()
    await page.get_by_role("button", name="Cancel").click()
    await expect(page.get_by_text("cancelled", exact=True).first).to_be_visible()
    await page.get_by_role("link", name="Recoveries").click()
    await visit.open("/admin/recoveries", "recoveries")
    await expect(page.get_by_role("rowheader", name="insufficient_amount")).to_be_visible()

    await page.get_by_role("link", name="Payments").click()
    await visit.open("/admin/payments", "payments")
    await visit.open(f"/admin/payments/{watched.payment_id}", "payment-watched")
    await page.get_by_role("button", name="Stop watch").click()
    await expect(page.get_by_role("button", name="Stop watch")).to_have_count(0)
    await visit.open(f"/admin/payments/{moved.payment_id}", "payment-reorged")
    await page.get_by_label("What you saw on the chain").fill("It stands in block 7.")
    await page.get_by_role("button", name="Clear").click()
    await expect(page.get_by_text("may be gone")).to_have_count(0)
    await page.get_by_label("Not released before").fill("2100-01-01T00:00:00Z")
    await page.get_by_role("button", name="Hold").click()
    await expect(page.get_by_text("2100")).to_be_visible()
    await page.get_by_role("button", name="Hold").click()
    await expect(page.get_by_text("2100")).to_have_count(0)
    await page.get_by_label("The seller's address").fill(SELLERS_WALLET)
    await page.get_by_role("button", name="Order the release of 10 USDT").click()
    await expect(page.get_by_role("alert")).to_contain_text("not_delivered")
    await page.get_by_label("The buyer's address").fill(BUYERS_WALLET)
    await page.get_by_label("Reason").fill("It never came.")
    await page.get_by_role("button", name="Order the refund of 10 USDT").click()
    await expect(page.get_by_text("releasing")).to_be_visible()

    await page.get_by_role("link", name="Instructions").click()
    await visit.open("/admin/instructions", "instructions")
    await page.get_by_placeholder("transaction hash").fill(DONE_IN)
    await page.get_by_role("button", name="Mark as carried out").click()
    await expect(page.get_by_text(DONE_IN)).to_be_visible()
    # A release that is refused is answered with a failure, and the browser says so of itself.
    visit.complaints[:] = [each for each in visit.complaints if "status of 409" not in each]


async def test_an_admin_finds_a_way_through_every_page_about_people(
    market: Running, purchase: AcceptedPurchase, fake_scanner: FakeScanner, clock: FakeClock, visit: Visit
) -> None:
    page = visit.page
    about = await dispute(purchase)

    await visit.open("/admin", "login")
    await sign_in(page, *ADMIN)
    await visit.open("/admin", "overview")
    await expect(page.get_by_role("link", name="1 open disputes")).to_be_visible()
    await dispute(await accept_purchase(market, fake_scanner, clock))
    await expect(page.get_by_role("link", name="2 open disputes")).to_be_visible()  # live

    await page.get_by_role("link", name="Disputes", exact=True).click()
    await visit.open("/admin/disputes", "disputes")
    await visit.open(f"/admin/disputes/{about}", "dispute")
    await page.get_by_label("Looked after by").select_option(label="Admin (admin)")
    await page.get_by_role("button", name="Assign").click()
    await page.get_by_label("What there is to say").fill("I asked both.")
    await page.get_by_label("Link").fill("https://files.example.test/1")
    await page.get_by_role("button", name="Add").click()
    await expect(page.get_by_role("link", name="https://files.example.test/1")).to_be_visible()
    await page.get_by_label("Outcome").select_option("refund")
    await page.get_by_label("Note for both sides").fill("It was never sent.")
    await page.get_by_role("button", name="Resolve").click()
    await expect(page.get_by_text("It was never sent.")).to_be_visible()

    await page.get_by_role("link", name="Users").click()
    for label, text in (("Name", "Zoe"), ("E-mail", "zoe@example.test"), ("First password", PASSWORD)):
        await page.get_by_label(label).fill(text)
    await page.locator("#new-role").select_option("resolver")
    await page.get_by_role("button", name="Add").click()
    await page.get_by_label("Search").fill("zoe")
    await page.get_by_role("button", name="Search").click()
    await expect(page.get_by_role("rowheader")).to_have_text(["Zoe"])
    await visit.open("/admin/users", "users")

    await page.get_by_role("link", name="Networks").click()
    await visit.open("/admin/networks", "networks")
    await page.get_by_label("Confirmations on BSC Testnet").fill("9")
    await page.get_by_role("row", name="BSC Testnet").get_by_role("button", name="Set").click()
    await expect(page.get_by_role("cell", name="9", exact=True)).to_be_visible()

    await page.get_by_role("link", name="Reconciliation").click()
    await expect(page.get_by_role("status")).to_contain_text("all is one story")
    await visit.open("/admin/reconciliation", "reconciliation")

    await page.get_by_role("link", name="Notifications").click()
    await visit.open("/admin/notifications", "notifications")
    unread = page.get_by_role("button", name="Mark as read")
    before = await unread.count()
    await unread.first.click()
    await expect(unread).to_have_count(before - 1)

    await page.get_by_role("button", name="Log out").click()
    await expect(page.get_by_label("Password")).to_be_visible()
    await page.goto(f"{visit.url}/admin/payments")
    await expect(page.get_by_label("Password")).to_be_visible()


async def test_a_resolver_resolves_a_dispute_by_keyboard_alone(
    market: Running, purchase: AcceptedPurchase, visit: Visit
) -> None:
    page = visit.page
    about = await dispute(purchase)
    await market.user("resolver", email="ruth@example.test", name="Ruth")

    async def to(name: str) -> None:
        """Go on with the tabulator until the named thing has the focus."""
        for _ in range(60):
            await page.keyboard.press("Tab")
            here = await page.evaluate("(e => (e.labels?.[0] ?? e).textContent.trim())(document.activeElement)")
            if here == name:
                return
        raise AssertionError(f"{name} is not reached by the tabulator")

    await page.goto(f"{visit.url}/admin")
    await to("E-mail")
    await page.keyboard.type("ruth@example.test")
    await to("Password")
    await page.keyboard.type(PASSWORD)
    await to("Sign in")
    await page.keyboard.press("Enter")
    await expect(page.get_by_role("heading", name="Overview")).to_be_visible()
    await expect(page.get_by_role("navigation").get_by_role("link")).to_have_text(
        ["Overview", "Disputes", "Notifications", "Your account"]
    )
    await visit.open("/admin", "resolver-overview")
    await to("Disputes")
    await page.keyboard.press("Enter")
    await expect(page.get_by_role("heading", name="Disputes")).to_be_visible()
    await to("not_received")
    await page.keyboard.press("Enter")
    await expect(page).to_have_url(f"{visit.url}/admin/disputes/{about}")
    await visit.open(f"/admin/disputes/{about}", "resolver-dispute")
    await visit.open(f"/admin/payments/{purchase.payment_id}", "resolver-payment")
    await expect(page.get_by_role("button", name="Order")).to_have_count(0)
    await page.goto(f"{visit.url}/admin/disputes/{about}")
    await to("Looked after by")
    await page.keyboard.press("ArrowDown")
    await to("Assign")
    await page.keyboard.press("Enter")
    await expect(page.get_by_role("definition").filter(has_text="you")).to_be_visible()
    await to("Outcome")
    await page.keyboard.press("ArrowDown")  # refund, release
    await to("Note for both sides")
    await page.keyboard.type("It was delivered.")
    await to("Resolve")
    await page.keyboard.press("Enter")
    await expect(page.get_by_text("It was delivered.")).to_be_visible()
    assert (await purchase.payment())["escrowState"] == "releasable"
