"""The payment page in a real browser, on real payments."""

from __future__ import annotations

from importlib import resources
from typing import Any

import pytest
from playwright.async_api import Page, expect

from devnet.evm.anvil import PROXY
from devnet.evm.local_node import call_data
from tests.browser.conftest import PUBLIC, Shop, codes_in, opened
from tests.browser.wallet import Wallet
from tests.harness import USDT

pytestmark = [pytest.mark.anvil]

AMOUNT = 12_500_000_000_000_000_000
FEE = 250_000_000_000_000_000
DIRECT = "0x5000000000000000000000000000000000000001"
FEE_TAKER = "0x6000000000000000000000000000000000000001"
LONG = "An unusually long title, of the kind that shops make of everything in a basket, and more"
SERIOUS = {"serious", "critical"}
RAILS: dict[str, dict[str, Any]] = {
    "proxy": {"rail": "proxy", "feeAmount": str(FEE), "feeAddress": FEE_TAKER},
    "direct": {"rail": "direct", "destination": DIRECT},
}


async def state_is(page: Page, state: str) -> None:
    await expect(page.locator(f"#payment[data-state={state}]")).to_have_count(1, timeout=20_000)


@pytest.mark.parametrize("rail", RAILS)
async def test_a_wallet_of_the_browser_pays(shop: Shop, rail: str) -> None:
    created, url = await shop.created(amount=str(AMOUNT), checkout={"title": "Order 7"}, **RAILS[rail])
    needed = AMOUNT + (FEE if rail == "proxy" else 0)
    wallet = Wallet(shop.chain)
    await wallet.own(USDT, needed)

    async with opened(shop.browser, url, wallet=wallet) as watched:
        page = watched.page
        await page.get_by_role("button", name="Pay with Test wallet").click()
        await state_is(page, "confirming")
        await expect(page.locator("#wallet-hash")).to_be_visible()
        await watched.keep(f"confirming-{rail}")
        await shop.chain.mine(5)
        await state_is(page, "paid")
        await expect(page.locator("#qr")).to_have_count(0)
        await expect(page.locator("#wallet-said")).to_have_text("The payment is on the chain.")
        await watched.keep(f"paid-{rail}")

    intent = await shop.scanner.api.until(created["intentId"], lambda found: found["confirmedAt"] is not None)
    destination = created["checkoutBlock"]["destination"]
    assert await shop.chain.balance(USDT, destination) == AMOUNT == int(intent["amountReceived"])
    assert await shop.chain.balance(USDT, wallet.address) == 0
    assert [sent["to"].lower() for sent in wallet.sent] == (
        [USDT.lower(), PROXY.lower()] if rail == "proxy" else [USDT.lower()]
    )
    left = await shop.chain.call(USDT, "allowance(address,address)", wallet.address, PROXY)
    assert int(left or "0x0", 16) == 0  # the proxy was allowed what it took, and no more
    (added,) = wallet.added
    assert added["chainId"] == "0x61"
    assert shop.chain.url not in added["rpcUrls"]
    assert all(each.startswith("https://") for each in added["rpcUrls"])


async def test_a_wallet_without_an_announcement_pays_the_rest(shop: Shop) -> None:
    created, url = await shop.created(amount="1000", **RAILS["direct"])
    wallet = Wallet(shop.chain, chain_id="0x61")
    await wallet.own(USDT, 600)
    await shop.chain.transfer(USDT, DIRECT, 400)

    async with opened(shop.browser, url) as watched:
        await wallet.inject(watched.page, announced=False)
        await watched.page.reload()
        await state_is(watched.page, "partial")
        await watched.page.get_by_role("button", name="Pay with browser wallet").click()
        await state_is(watched.page, "confirming")

    assert (await shop.scanner.api.intent(created["intentId"]))["amountReceived"] == "1000"
    assert wallet.added == []


async def test_a_wallet_that_cannot_or_will_not_pay_says_so(shop: Shop) -> None:
    _, url = await shop.created(amount="1000", **RAILS["proxy"])
    poor, unwilling = Wallet(shop.chain), Wallet(shop.chain, refuses=frozenset({"eth_sendTransaction"}))
    await poor.own(USDT, 999)
    await unwilling.own(USDT, AMOUNT)

    for wallet, said in ((poor, "This wallet holds"), (unwilling, "You declined in the wallet. Nothing was paid.")):
        async with opened(shop.browser, url, wallet=wallet) as watched:
            await watched.page.get_by_role("button", name="Pay with Test wallet").click()
            await expect(watched.page.locator("#wallet-said")).to_contain_text(said)
            await expect(watched.page.locator("#wallets button")).to_be_enabled()
        assert wallet.sent == []


async def test_a_wallet_pays_nothing_and_says_so_when_it_was_cancelled_meanwhile(shop: Shop) -> None:
    created, url = await shop.created(amount="1000", **RAILS["direct"])

    class Slow(Wallet):
        async def _answer(self, method: str, params: list[Any]) -> Any:
            if method == "eth_call":
                await shop.scanner.api.call("DELETE", f"/intents/{created['intentId']}")
                await state_is(watched.page, "cancelled")
            return await super()._answer(method, params)

    wallet = Slow(shop.chain, chain_id="0x61")
    await wallet.own(USDT, 1000)

    async with opened(shop.browser, url, wallet=wallet) as watched:
        await watched.page.get_by_role("button", name="Pay with Test wallet").click()
        await expect(watched.page.locator("#wallet-said")).to_contain_text("Nothing was paid from this wallet.")

    assert wallet.sent == []


async def test_a_wallet_that_holds_an_allowance_already_is_not_asked_for_another(shop: Shop) -> None:
    _, url = await shop.created(amount="1000", rail="proxy")
    wallet = Wallet(shop.chain, chain_id="0x61")
    await wallet.own(USDT, 1000)
    await shop.chain.rpc("anvil_impersonateAccount", [wallet.address])
    await shop.chain.send(USDT, call_data("approve(address,uint256)", PROXY, 1000), sender=wallet.address)

    async with opened(shop.browser, url, wallet=wallet) as watched:
        await watched.page.get_by_role("button", name="Pay with Test wallet").click()
        await state_is(watched.page, "confirming")

    assert [sent["to"].lower() for sent in wallet.sent] == [PROXY.lower()]


@pytest.mark.parametrize("scheme", ["light", "dark"])
async def test_the_code_on_the_screen_says_how_to_pay(shop: Shop, scheme: str) -> None:
    direct, direct_url = await shop.created(amount=str(AMOUNT), **RAILS["direct"])
    proxied, proxy_url = await shop.created(amount=str(AMOUNT), **RAILS["proxy"])

    for answer, url, said in (
        (direct, direct_url, direct["checkoutBlock"]["paymentUri"]),
        (proxied, proxy_url, proxied["paymentUrl"]),
    ):
        async with opened(shop.browser, url, color_scheme=scheme) as watched:
            kept = await watched.keep(
                f"waiting-{(answer['checkoutBlock']['proxyAddress'] and 'proxy') or 'direct'}-{scheme}"
            )
            assert codes_in(kept) == [said]
    assert proxied["paymentUrl"].startswith(f"{PUBLIC}/pay/")


async def test_what_happens_is_shown_live_until_it_is_paid(shop: Shop) -> None:
    done = f"{shop.scanner.api.url}/favicon.ico?done"
    created, url = await shop.created(amount="1000", checkout={"redirectUrl": done}, **RAILS["direct"])

    async with opened(shop.browser, url) as watched:
        page = watched.page
        await expect(page.locator("#left")).not_to_be_empty()
        await shop.chain.transfer(USDT, DIRECT, 400)
        await state_is(page, "partial")
        (said,) = codes_in(await watched.keep("partial"))
        assert said.endswith("uint256=600")
        await shop.chain.transfer(USDT, DIRECT, 600)
        await state_is(page, "confirming")
        await expect(page.locator("#status progress")).to_have_attribute("max", "5")
        await shop.chain.mine(5)
        await state_is(page, "paid")
        await expect(page.get_by_role("link", name="Continue")).to_have_attribute("href", done)
        await expect(page.locator("#leaving")).to_be_visible()
        await watched.check()
        await page.wait_for_url(done, timeout=10_000)
    await shop.scanner.api.until(created["intentId"], lambda found: found["confirmedAt"] is not None)


async def test_a_payment_that_was_not_seen_is_looked_for(shop: Shop) -> None:
    _, url = await shop.created(amount="1000", **RAILS["direct"])

    async with opened(shop.browser, url) as watched:
        page = watched.page
        await page.get_by_label("Transaction hash").fill("0x12")
        await page.get_by_role("button", name="Look now").click()
        await expect(page.locator("#recheck-said")).to_have_text("This is not the hash of a transaction.")
        tx = await shop.chain.transfer(USDT, DIRECT, 1000)
        await page.get_by_label("Transaction hash").fill(tx)
        await page.get_by_role("button", name="Look now").click()
        await expect(page.locator("#recheck-said")).to_have_text("This payment was found.")


async def test_without_a_script_address_amount_and_code_are_there(shop: Shop) -> None:
    created, url = await shop.created(amount=str(AMOUNT), **RAILS["direct"])

    async with opened(shop.browser, url, java_script_enabled=False) as watched:
        page = watched.page
        await expect(page.get_by_text(DIRECT, exact=True)).to_be_visible()
        await expect(page.locator(".figure")).to_have_text("12.5")
        await expect(page.get_by_role("link", name="Open in a wallet")).to_be_visible()
        await expect(page.locator("#check, #wallet, button.copy").first).to_be_hidden()
        assert codes_in(await watched.keep("without-a-script")) == [created["checkoutBlock"]["paymentUri"]]


async def test_the_persian_page_is_laid_out_from_right_to_left(shop: Shop) -> None:
    _, url = await shop.created(amount=str(AMOUNT), checkout={"locale": "fa", "title": "سفارش"}, **RAILS["direct"])

    async def sides(page: Page) -> tuple[float, float]:
        code, facts = await page.locator("#qr").bounding_box(), await page.locator("div.facts").bounding_box()
        assert code
        assert facts
        return code["x"], facts["x"]

    async with opened(shop.browser, url) as watched:
        page = watched.page
        assert await page.evaluate("getComputedStyle(document.body).direction") == "rtl"
        code, facts = await sides(page)
        assert code < facts
        await expect(page.get_by_role("heading", name="در انتظار پرداخت شما")).to_be_visible()
        # Addresses and amounts keep their direction: one that is turned round is another one.
        for part in (page.get_by_text(DIRECT, exact=True), page.locator(".money").first):
            assert await part.evaluate("e => getComputedStyle(e).direction") == "ltr"
        await watched.keep("persian")
        await page.get_by_role("link", name="English").click()
        await expect(page.get_by_role("heading", name="Waiting for your payment")).to_be_visible()
        code, facts = await sides(page)
        assert code > facts


async def test_a_keyboard_alone_is_enough(shop: Shop) -> None:
    _, url = await shop.created(amount=str(AMOUNT), **RAILS["direct"])
    wallet = Wallet(shop.chain)
    await wallet.own(USDT, AMOUNT)

    async with opened(shop.browser, url, wallet=wallet, permissions=["clipboard-read", "clipboard-write"]) as watched:
        page = watched.page
        await expect(page.get_by_role("button", name="Pay with Test wallet")).to_be_visible()

        async def tab_to(name: str) -> None:
            for _ in range(40):
                await page.keyboard.press("Tab")
                shown = await page.evaluate(
                    "(e => [e.getAttribute('aria-label') ?? e.labels?.[0]?.innerText ?? e.innerText,"
                    " getComputedStyle(e).outlineStyle])(document.activeElement)"
                )
                if name in str(shown[0]):
                    assert shown[1] != "none", f"nobody sees that {name} has the focus"
                    return
            pytest.fail(f"{name} cannot be reached")

        await tab_to("Copy the amount")
        await page.keyboard.press("Enter")
        await expect(page.get_by_role("button", name="Copied")).to_be_focused()
        assert await page.evaluate("navigator.clipboard.readText()") == "12.5"
        await tab_to("Copy the address")
        await page.keyboard.press("Space")
        await expect(page.get_by_role("button", name="Copied").first).to_be_visible()
        await tab_to("Pay with Test wallet")
        await page.keyboard.press("Enter")
        await state_is(page, "confirming")
        await tab_to("Transaction hash")
        await page.keyboard.press("Enter")
        await expect(page.locator("#recheck-said")).not_to_be_empty()


@pytest.mark.parametrize("language", ["en", "fa"])
async def test_a_narrow_screen_is_wide_enough(shop: Shop, language: str) -> None:
    token = await shop.chain.token("AVERYLONGSYMBOLINDEED", 18)
    long = {"title": LONG, "description": "w" * 500, "redirectUrl": "https://shop.example/"}
    _, url = await shop.created(amount="1" + "2" * 59, token=None, tokenAddress=token, checkout=long, **RAILS["proxy"])

    async with opened(shop.browser, f"{url}?lang={language}", viewport={"width": 360, "height": 640}) as watched:
        page = watched.page
        await expect(page.locator("#check")).to_be_visible()
        assert await page.evaluate("document.documentElement.scrollWidth") <= 360
        code = await page.locator("#qr").bounding_box()
        assert code
        assert code["x"] >= 0
        assert code["x"] + code["width"] <= 360
        for button in await page.locator("button:visible:not(.copy)").all():
            box = await button.bounding_box()
            assert box
            assert box["height"] >= 44  # of a finger
        await watched.keep(f"narrow-{language}")


@pytest.mark.parametrize("scheme", ["light", "dark"])
async def test_nothing_keeps_a_screen_reader_out(shop: Shop, scheme: str) -> None:
    axe = (resources.files("axe_playwright_python") / "axe.min.js").read_text()
    found: dict[str, list[str]] = {}
    _, url = await shop.created(
        amount="1000", checkout={"title": "Order 7", "description": "Two chairs"}, **RAILS["direct"]
    )

    async def judge(page: Page, name: str) -> None:
        await page.evaluate(axe)
        violations = (await page.evaluate("axe.run()"))["violations"]
        serious = [v for v in violations if v["impact"] in SERIOUS]
        found[name] = [f"{v['id']}: {v['nodes'][0]['html']}" for v in serious]

    wallet = Wallet(shop.chain)
    async with opened(shop.browser, url, color_scheme=scheme, wallet=wallet) as watched:
        page = watched.page
        await expect(page.locator("#wallets button")).to_be_visible()
        await judge(page, "waiting")
        await page.goto(f"{url}?lang=fa")
        await judge(page, "waiting in Persian")
        await page.goto(url)
        await shop.chain.transfer(USDT, DIRECT, 400)
        await state_is(page, "partial")
        await judge(page, "partial")
        await shop.chain.transfer(USDT, DIRECT, 600)
        await state_is(page, "confirming")
        await judge(page, "confirming")
        await shop.chain.mine(5)
        await state_is(page, "paid")
        await judge(page, "paid")
        await page.goto(f"{shop.scanner.api.url}/pay/unknown")
        await judge(page, "unknown")

    assert found == {name: [] for name in found}
    assert len(found) == 6


async def test_a_page_that_loses_its_connection_says_so(shop: Shop) -> None:
    _, url = await shop.created(amount="1000", **RAILS["direct"])

    async with opened(shop.browser, url) as watched:
        await expect(watched.page.locator("#offline")).to_be_hidden()
        await watched.page.context.set_offline(True)
        shop.scanner.daemon.pages.close()
        await expect(watched.page.locator("#offline")).to_be_visible(timeout=10_000)


async def test_a_page_without_a_connection_asks_for_nothing_when_its_time_is_over(shop: Shop) -> None:
    _, url = await shop.created(amount="1000", **RAILS["direct"])

    async with opened(shop.browser, url) as watched:
        page = watched.page
        await expect(page.locator("#left")).not_to_be_empty()
        await page.context.set_offline(True)
        shop.scanner.daemon.pages.close()
        await expect(page.locator("#offline")).to_be_visible(timeout=10_000)
        await page.evaluate("now = performance.now.bind(performance); performance.now = () => now() + 90_000_000")

        await expect(page.locator("#over")).to_have_text("Time is up. If you paid in time, it will be found.")
        await expect(page.locator("#due")).to_be_hidden()


async def test_a_page_that_was_away_for_long_asks_anew(shop: Shop) -> None:
    _, url = await shop.created(amount="1000", **RAILS["direct"])
    seen = "Object.defineProperty(document, 'visibilityState', {{ value: '{}', configurable: true }});"
    told = "document.dispatchEvent(new Event('visibilitychange'));"

    async with opened(shop.browser, url) as watched:
        page = watched.page
        await page.evaluate(seen.format("hidden") + told)
        async with page.expect_request("**/events*", timeout=10_000):
            await page.evaluate("now = Date.now; Date.now = () => now() + 31_000;" + seen.format("visible") + told)
