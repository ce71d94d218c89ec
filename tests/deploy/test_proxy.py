"""One name in front of both services: each path reaches the service that serves it."""

from __future__ import annotations

import re
from fnmatch import fnmatchcase

from api.app import PAGE_ASSETS
from api.console.routes import CONSOLE
from marketplace.web.pages.routes import ASSETS, PAGES
from marketplace.web.routes import ROUTES as MARKETPLACE
from protocol.routes import PAGES as PAYMENT_PAGES
from protocol.routes import ROUTES as SCANNER
from tests.deploy.files import DEPLOY

HANDLE = re.compile(r"\thandle (?:(/\S*) )?{\n(?:.*\n)*?\t\treverse_proxy (\w+):\d+\n\t}")
BOTH = {"/health", "/metrics", "/openapi.json"}  # of each service by itself; of the two, the scanner's has the name


def reached(path: str) -> str:
    """Return which service Caddy asks: of several paths that match the longest one holds."""
    handles = dict(HANDLE.findall((DEPLOY / "Caddyfile").read_text()))
    assert len(handles) == 6
    filled = re.sub(r"{\w+}", "something", path)
    return handles[max((each for each in handles if not each or fnmatchcase(filled, each)), key=len)]


def test_every_call_and_page_reaches_its_service() -> None:
    scanners = {each.path for each in (*SCANNER, *PAYMENT_PAGES)} | {path for _, path, _ in CONSOLE}
    markets = {each.path for each in MARKETPLACE} | {path for _, path, _, _ in PAGES}

    assert {path for path in scanners if reached(path) != "scanner"} == set()
    assert {path for path in markets if reached(path) != "marketplace"} == BOTH


def test_what_the_marketplaces_pages_are_made_of_is_served_by_the_scanner_too() -> None:
    """`/assets` is one path of one name: whichever service answers, pages of both look as they should."""
    assert ASSETS._files.items() <= PAGE_ASSETS._files.items()
