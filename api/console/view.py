"""What every page of the console has in common: its frame, its words, links into explorers."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final

from aiohttp import hdrs, web

from api.keys import SERVICES
from config import explorers
from kernel.pages import kit
from kernel.pages.headers import page_headers
from kernel.pages.languages import Language
from scanner.console_sessions import Session

SESSION: Final = web.RequestKey("console session", Session)
CSRF: Final = web.RequestKey("form token", str)
ENGLISH: Final = Language("en", {})
HEADERS: Final = page_headers()
PAGES: Final = (
    ("Overview", "/console"),
    ("Intents", "/console/intents"),
    ("Unmatched", "/console/unmatched"),
    ("Webhooks", "/console/webhooks"),
    ("Watches", "/console/watches"),
    ("Chains", "/console/chains"),
)
KINDS: Final[Mapping[str, str]] = {
    "confirmed": "good",
    "delivered": "good",
    "ready": "good",
    "ok": "good",
    "watching": "good",
    "confirming": "note",
    "pending": "note",
    "syncing": "note",
    "webhook_failed": "bad",
    "failed": "bad",
    "failing": "bad",
    "lying": "bad",
    "stale": "warn",
    "resting": "warn",
    "expired": "warn",
    "superseded": "warn",
    "stopped": "warn",
}


def show(request: web.Request, template: str, *, status: int = 200, **context: Any) -> web.Response:
    """Answer with a page."""
    return web.Response(text=html(request, template, **context), status=status, headers=HEADERS)


def html(request: web.Request, template: str, **context: Any) -> str:
    """Return a page, or a part of one."""
    common = {
        "language": ENGLISH,
        "csrf": request.get(CSRF, ""),
        "session": request.get(SESSION),
        "pages": PAGES,
        "here": request.path,
        "kind": lambda word: KINDS.get(str(word), "note"),
        "links": Links(request),
        "token": request.app[SERVICES].listed_token,
    }
    return kit.render(request, template, common | context)


def redirect(request: web.Request, path: str) -> web.Response:
    """Send a browser to another page; relative, for a proxy may serve all of them below a prefix of its own."""
    where = kit.relative(request.path, path)
    return web.Response(status=303, headers={hdrs.LOCATION: where, hdrs.CACHE_CONTROL: "no-store"})


class Links:
    """Where a chain's explorer shows things; None where it has none."""

    def __init__(self, request: web.Request) -> None:
        self._chain = request.app[SERVICES].chain

    def transaction(self, chain_id: int, tx_hash: str | None) -> str | None:
        """Return the page of a transaction."""
        chain = self._chain(chain_id)
        return None if chain is None else explorers.transaction_url(chain, tx_hash)

    def address(self, chain_id: int, address: str | None) -> str | None:
        """Return the page of an address."""
        chain = self._chain(chain_id)
        return None if chain is None or not address else explorers.address_url(chain, address)
