"""A real browser: the machine's own Chromium, headless. Where there is none these tests are skipped."""

from __future__ import annotations

import io
import shutil
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import pytest
import zxingcpp
from PIL import Image
from playwright.async_api import Browser, Page, Request, async_playwright

from devnet.evm.anvil import Anvil
from tests.harness import ROOT, Running, environment, running

CHROMIUM = next(filter(None, map(shutil.which, ("chromium", "chromium-browser", "google-chrome"))), None)
PUBLIC = "https://pay.example"
SCREENSHOTS = ROOT / "reports" / "screenshots"
WATCH_POLICY = """
window.__violations = [];
document.addEventListener("securitypolicyviolation", (e) => __violations.push(`${e.violatedDirective} ${e.blockedURI}`));
"""


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    if CHROMIUM is None:
        for item in items:
            if Path(__file__).parent in item.path.parents:
                item.add_marker(pytest.mark.skip(reason="there is no Chromium on this machine"))


@dataclass
class Watched:
    """A page, and what it did that no page may do."""

    page: Page
    host: str
    elsewhere: list[str] = field(default_factory=list)
    failures: list[str] = field(default_factory=list)

    def requested(self, request: Request) -> None:
        parts = urlsplit(request.url)
        if parts.scheme not in {"data", "blob"} and parts.netloc != self.host:
            self.elsewhere.append(request.url)

    async def check(self) -> None:
        """Fail on scripts that failed, violations of the policy, and requests to other hosts."""
        violations = await self.page.evaluate("window.__violations ?? []")
        assert (self.failures, violations, self.elsewhere) == ([], [], [])

    async def keep(self, name: str) -> bytes:
        """Take a screenshot of the whole page, and keep it for people."""
        SCREENSHOTS.mkdir(parents=True, exist_ok=True)
        return await self.page.screenshot(path=SCREENSHOTS / f"{name}.png", full_page=True)


def codes_in(screenshot: bytes) -> list[str]:
    """Return what the QR codes of a screenshot say."""
    image = Image.open(io.BytesIO(screenshot)).convert("L")
    return [found.text for found in zxingcpp.read_barcodes(image)]


@pytest.fixture
async def browser() -> AsyncIterator[Browser]:
    async with async_playwright() as playwright:
        # As root, as in a container, Chromium has no sandbox of its own.
        started = await playwright.chromium.launch(executable_path=CHROMIUM, args=["--no-sandbox", "--disable-gpu"])
        yield started
        await started.close()


@asynccontextmanager
async def opened(browser: Browser, url: str, *, wallet: Any = None, **more: Any) -> AsyncIterator[Watched]:
    """Open a page and watch it; at the end it must have done nothing that no page may do."""
    context = await browser.new_context(**{"locale": "en-GB", "viewport": {"width": 1000, "height": 900}, **more})
    page = await context.new_page()
    watched = Watched(page, urlsplit(url).netloc)
    page.on("request", watched.requested)
    page.on("pageerror", lambda error: watched.failures.append(str(error)))
    if more.get("java_script_enabled", True):
        await page.add_init_script(WATCH_POLICY)
    if wallet is not None:
        await wallet.inject(page)
    await page.goto(url)
    yield watched
    if more.get("java_script_enabled", True):
        await watched.check()
    await context.close()


@dataclass
class Shop:
    """A chain, a scanner on it, and a browser in front of its pages."""

    chain: Anvil
    scanner: Running
    browser: Browser

    async def created(self, **fields: Any) -> tuple[dict[str, Any], str]:
        """Register a payment; return the answer, and where its page is on this machine."""
        answer = await self.scanner.api.create(**fields)
        return answer, self.scanner.api.url + str(answer["paymentUrl"]).removeprefix(PUBLIC)


@pytest.fixture
async def shop(chain: Anvil, browser: Browser, tmp_path: Path) -> AsyncIterator[Shop]:
    async with running(environment(tmp_path, chain.url, SCANNER_PUBLIC_URL=PUBLIC)) as scanner:
        yield Shop(chain, scanner, browser)
