"""Balance watches that are active: when they are read next, what changed, and their end."""

from __future__ import annotations

from aiohttp import web

from api.bodies import decode_cursor, encode_cursor
from api.console.paging import SHOWN, asked, next_page
from api.console.view import show
from api.keys import SERVICES
from api.schemas import Query
from api.watches import watch_id
from kernel.pages.kit import redirect
from kernel.web.forms import read_form


async def listing(request: web.Request) -> web.Response:
    """GET /console/watches"""
    wanted = asked(request, Query)
    after = decode_cursor(wanted.cursor, int, str) if wanted.cursor else None
    found = await request.app[SERVICES].watches.active(after=after, limit=SHOWN + 1)
    shown = found[:SHOWN]
    cursor = encode_cursor(shown[-1].next_check_at, shown[-1].watch_id) if len(found) > SHOWN else None
    return show(request, "console_watches.html", watches=shown, next=next_page(request, cursor))


async def stop(request: web.Request) -> web.Response:
    """POST /console/watches/{watchId}/stop"""
    await read_form(request)
    await request.app[SERVICES].watches.stop(watch_id(request))
    return redirect(request, "/console/watches")
