"""A person at pages that ask for a sign-in: every page is looked at wide and narrow, light and dark, and by axe."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from importlib import resources

from playwright.async_api import ConsoleMessage, Page, Request, async_playwright

from tests.browser.conftest import CHROMIUM, SCREENSHOTS

AXE = resources.files("axe_playwright_python") / "axe.min.js"
SERIOUS = {"serious", "critical"}


@dataclass
class Visit:
    """A browser at pages of one name, and what it complained of."""

    page: Page
    url: str
    name: str
    complaints: list[str] = field(default_factory=list)

    def heard(self, message: ConsoleMessage) -> None:
        if message.type in {"error", "warning"}:
            self.complaints.append(message.text)

    def asked(self, request: Request) -> None:
        if not request.url.startswith((self.url, "data:")):
            self.complaints.append(f"asked {request.url}")

    async def open(self, path: str, name: str) -> None:
        """Open a page, keep a picture of it, and see that a narrow screen shows it whole."""
        await self.page.set_viewport_size({"width": 1280, "height": 900})
        await self.page.goto(self.url + path)
        await self.page.screenshot(path=SCREENSHOTS / f"{self.name}-{name}.png", full_page=True)
        await self.page.set_viewport_size({"width": 360, "height": 740})
        wider = "document.documentElement.scrollWidth - document.documentElement.clientWidth"
        assert await self.page.evaluate(wider) <= 0, f"{path} is wider than a narrow screen"
        await self.page.set_viewport_size({"width": 1280, "height": 900})
        for scheme in ("light", "dark"):
            await self.page.emulate_media(color_scheme=scheme)  # type: ignore[arg-type]
            await self.page.evaluate(AXE.read_text())
            violations = (await self.page.evaluate("axe.run()"))["violations"]
            assert [(each["id"], each["nodes"][0]["html"]) for each in violations if each["impact"] in SERIOUS] == []


@asynccontextmanager
async def visiting(url: str, name: str) -> AsyncIterator[Visit]:
    """Open a browser; at the end it must have complained of nothing: no error, no violation, no other host."""
    async with async_playwright() as driver:
        browser = await driver.chromium.launch(executable_path=CHROMIUM, args=["--no-sandbox"])
        found = Visit(await browser.new_page(), url, name)
        found.page.on("console", found.heard)
        found.page.on("request", found.asked)
        found.page.on("pageerror", lambda error: found.complaints.append(str(error)))
        yield found
        await browser.close()
    assert found.complaints == []
