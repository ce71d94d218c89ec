"""What the application carries, typed."""

from __future__ import annotations

from aiohttp import web

from marketplace.services import Backend

BACKEND = web.AppKey("backend", Backend)
