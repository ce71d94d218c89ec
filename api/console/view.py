"""What every page of the console has in common: its frame, its words, links into explorers."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final

from aiohttp import web

from api.keys import SERVICES
from api.middlewares import CONSOLE
from config.explorers import ExplorerLinks
from kernel.pages import kit
from kernel.pages.headers import page_headers
from kernel.pages.languages import Language
from kernel.web.forms import FORM_TOKEN
from scanner.console_sessions import Session

SESSION: Final = web.RequestKey("console session", Session)
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
    "connected": "good",
    "watching": "good",
    "confirming": "note",
    "pending": "note",
    "syncing": "note",
    "connecting": "note",
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
        "csrf": request.get(FORM_TOKEN, ""),
        "session": request.get(SESSION),
        "pages": PAGES,
        "root": CONSOLE,
        "here": request.path,
        "kind": lambda word: KINDS.get(str(word), "note"),
        "links": ExplorerLinks(request.app[SERVICES].chain),
        "token": request.app[SERVICES].listed_token,
    }
    return kit.render(request, template, common | context)
