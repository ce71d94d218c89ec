"""The console in a real browser: every page and button, on a narrow screen too; nothing is loaded from elsewhere."""

from __future__ import annotations

from collections.abc import AsyncIterator

import pytest
from playwright.async_api import expect

from devnet.receiver import Receiver, receiver
from scanner.store import samples
from scanner.store.samples import MINUTE_MS, Sample
from tests.api.conftest import KEY, daemon
from tests.api.console.test_pages import stands, stray, untold
from tests.browser.visits import Visit, visiting
from tests.harness import Running

__all__ = ["daemon"]


@pytest.fixture
async def visit(daemon: Running) -> AsyncIterator[Visit]:
    async with visiting(daemon.api.url, "console") as found:
        yield found


@pytest.fixture
async def hooks() -> AsyncIterator[Receiver]:
    async with receiver() as found:
        yield found


async def test_an_operator_finds_a_way_through_every_page(daemon: Running, visit: Visit, hooks: Receiver) -> None:
    hooks.behave("/bad", statuses=(410, 200))
    failed = await untold(daemon, "order-told", hooks.url("/bad"))
    await stands(daemon, failed, "failed")
    await stray(daemon)
    watch = {"watchId": "watch-1", "chainId": 97, "token": "USDT", "baselineBalance": "0", "address": "0x" + "1" * 40}
    await daemon.api.call("POST", "/balance-watches", watch | {"callbackUrl": hooks.url(), "callbackSecret": "s"})
    now = daemon.daemon.redelivery._clock.now_ms()
    async with daemon.database.write() as tx:
        for n in range(60):
            await samples.add(tx, 97, Sample(now - (60 - n) * MINUTE_MS, 1000 + 20 * n, n % 7, 2000 + 10 * n))
    page = visit.page

    await visit.open("/console", "login")
    await page.get_by_label("API key").fill(KEY)
    await page.keyboard.press("Enter")
    await expect(page.get_by_role("heading", name="Overview")).to_be_visible()
    await visit.open("/console", "overview")
    await expect(page.get_by_role("cell", name="1", exact=True)).to_have_count(1)
    await daemon.api.create(intentId="order-live")
    await expect(page.get_by_role("link", name="2", exact=True)).to_be_visible()

    await page.get_by_role("link", name="Intents").click()
    await page.get_by_label("Search").fill("order-live")
    await page.get_by_role("button", name="Search").click()
    await expect(page.get_by_role("rowheader")).to_have_text(["order-live"])
    await visit.open("/console/intents", "intents")
    await page.get_by_role("link", name="order-live").click()
    await page.get_by_role("button", name="Recheck").click()
    await expect(page.get_by_role("alert")).to_contain_text("cannot be read")
    await page.get_by_role("button", name="Cancel").click()
    await expect(page.get_by_text("Cancelled")).to_be_visible()
    await visit.open("/console/intents/order-told", "intent")

    await page.get_by_role("link", name="Unmatched").click()
    await page.get_by_placeholder("what was done").fill("sent back")
    await page.get_by_role("button", name="Mark as handled").click()
    await expect(page.get_by_text("sent back")).to_be_visible()
    await visit.open("/console/unmatched", "unmatched")

    await page.get_by_role("link", name="Webhooks").click()
    await page.get_by_role("button", name="Send again", exact=True).click()
    await stands(daemon, failed, "delivered")
    await visit.open(f"/console/webhooks/{failed}", "webhook")
    await page.get_by_role("link", name="Webhooks").click()
    await page.get_by_label("Callback URL").fill(hooks.url())
    await page.get_by_label("Callback secret").fill("secret")
    await page.get_by_role("button", name="Send a test event").click()
    await expect(page.get_by_role("status")).to_contain_text("200 in")
    await visit.open("/console/webhooks", "webhooks")

    await visit.open("/console/watches", "watches")
    await page.get_by_role("button", name="Stop").click()
    await expect(page.get_by_text("None.")).to_be_visible()

    await page.get_by_role("link", name="Chains").click()
    await page.get_by_role("link", name="BSC Testnet").click()
    await expect(page.locator("canvas")).to_have_count(3)
    await visit.open("/console/chains/97", "chain")

    await page.get_by_role("button", name="Log out").click()
    await expect(page.get_by_label("API key")).to_be_visible()
    await page.goto(f"{visit.url}/console/intents")
    await expect(page.get_by_label("API key")).to_be_visible()
    # A recheck of what cannot be read is answered with a failure, and the browser says so of itself.
    visit.complaints[:] = [each for each in visit.complaints if "status of 502" not in each]
