"""
A payment as people see it: at the payment page, paid by a wallet, and in the console; the README shows two pictures.

`PICTURES=record` takes them anew, into `docs/pictures/`.
"""

from __future__ import annotations

import io
import os
from collections.abc import AsyncIterator
from pathlib import Path

import pytest
from PIL import Image
from playwright.async_api import Browser, Page, expect

from devnet.evm.anvil import Anvil
from devnet.receiver import Receiver
from tests.browser.conftest import SCREENSHOTS, Shop, opened
from tests.browser.test_payment_page import AMOUNT, state_is
from tests.browser.wallet import Wallet
from tests.harness import ROOT, SECRET, USDT, environment, running

KEY = "a-key-for-tests"
SHOP = "0x70e36f6BF80a52b3B46b3aF8e106CC0ed743E8e4"
WIDE = {"width": 900, "height": 820}
COLOURS = 64  # of pages of flat colours; a third of the bytes
FOLDER = ROOT / "docs" / "pictures" if os.environ.get("PICTURES") == "record" else SCREENSHOTS

pytestmark = [pytest.mark.anvil]


@pytest.fixture
async def shop(chain: Anvil, browser: Browser, tmp_path: Path) -> AsyncIterator[Shop]:
    # Without TLS: a browser would not send the console's cookie back to this machine otherwise.
    env = environment(tmp_path, chain.url, SCANNER_PUBLIC_URL="http://pay.example", SCANNER_API_KEY=KEY)
    async with running(env) as scanner:
        yield Shop(chain, scanner, browser)


async def take(page: Page, name: str) -> None:
    FOLDER.mkdir(parents=True, exist_ok=True)
    taken = Image.open(io.BytesIO(await page.screenshot()))
    taken.convert("RGB").quantize(COLOURS).save(FOLDER / f"{name}.png", optimize=True)


async def test_a_payment_is_made_at_its_page_and_seen_in_the_console(shop: Shop, hooks: Receiver) -> None:
    created, _ = await shop.created(
        intentId="order-1001",
        amount=str(AMOUNT),
        rail="direct",
        destination=SHOP,
        callbackUrl=hooks.url(),
        callbackSecret=SECRET,
        checkout={"title": "Two chairs", "description": "Order 1001"},
    )
    paying = shop.scanner.api.url + created["paymentUrl"].removeprefix("http://pay.example")
    wallet = Wallet(shop.chain)
    await wallet.own(USDT, AMOUNT)

    async with opened(shop.browser, paying, wallet=wallet, viewport=WIDE) as watched:
        pay = watched.page.get_by_role("button", name="Pay with Test wallet")
        await expect(pay).to_be_visible()
        await take(watched.page, "payment-page")
        await pay.click()
        await state_is(watched.page, "confirming")
        await shop.chain.mine(5)
        await state_is(watched.page, "paid")

    await hooks.wait_until(lambda: any(each.json["status"] == "confirmed" for each in hooks.deliveries))
    async with opened(shop.browser, f"{shop.scanner.api.url}/console", viewport=WIDE) as watched:
        page = watched.page
        await page.get_by_label("API key").fill(KEY)
        await page.keyboard.press("Enter")
        await page.get_by_role("link", name="Intents").click()
        await page.get_by_role("link", name="order-1001").click()
        await expect(page.get_by_text("Confirmed", exact=True)).to_be_visible()
        await take(page, "console")
