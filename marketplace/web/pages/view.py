"""What every page has in common: its frame, its words, links into explorers."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final

from aiohttp import web

from config.explorers import ExplorerLinks
from kernel.pages import kit
from kernel.pages.headers import page_headers
from kernel.pages.languages import Language
from kernel.web.forms import FORM_TOKEN
from marketplace.model import Role, User
from marketplace.web import middlewares
from marketplace.web.pages.words import HELD, KINDS
from marketplace.web.state import SERVICES

ROOT: Final = middlewares.PAGES
SIGNED_IN: Final = web.RequestKey("signed in", User)
GIVEN: Final = web.RequestKey("what a form held", Mapping)
ENGLISH: Final = Language("en", {})
HEADERS: Final = page_headers()
FOR_STAFF: Final = (
    ("Overview", ROOT),
    ("Disputes", f"{ROOT}/disputes"),
    ("Notifications", f"{ROOT}/notifications"),
    ("Your account", f"{ROOT}/account"),
)
FOR_ADMINS: Final = (
    ("Overview", ROOT),
    ("Awaiting confirmation", f"{ROOT}/awaiting"),
    ("Payments", f"{ROOT}/payments"),
    ("Recoveries", f"{ROOT}/recoveries"),
    ("Disputes", f"{ROOT}/disputes"),
    ("Instructions", f"{ROOT}/instructions"),
    ("Addresses", f"{ROOT}/addresses"),
    ("Payout addresses", f"{ROOT}/payout-addresses"),
    ("Users", f"{ROOT}/users"),
    ("Fees", f"{ROOT}/fees"),
    ("Invitations", f"{ROOT}/invitations"),
    ("Stocks", f"{ROOT}/stocks"),
    ("Templates", f"{ROOT}/templates"),
    ("Networks", f"{ROOT}/networks"),
    ("Reconciliation", f"{ROOT}/reconciliation"),
    ("Notifications", f"{ROOT}/notifications"),
    ("Your account", f"{ROOT}/account"),
)


def show(request: web.Request, template: str, *, status: int = 200, **context: Any) -> web.Response:
    """Answer with a page."""
    return web.Response(text=html(request, template, **context), status=status, headers=HEADERS)


def html(request: web.Request, template: str, **context: Any) -> str:
    """Return a page, or a part of one."""
    user = request.get(SIGNED_IN)
    is_admin = user is not None and user.role is Role.ADMIN
    common = {
        "language": ENGLISH,
        "csrf": request.get(FORM_TOKEN, ""),
        "session": user,
        "is_admin": is_admin,
        "pages": () if user is None else FOR_ADMINS if is_admin else FOR_STAFF,
        "root": ROOT,
        "here": request.path,
        "kind": lambda word: KINDS.get(str(word), "note"),
        "held": lambda reason: HELD.get(str(reason), ""),
        "links": ExplorerLinks(request.app[SERVICES].catalog.chains.get),
        "given": request.get(GIVEN, {}),
        "refused": None,
    }
    return kit.render(request, template, common | context)
