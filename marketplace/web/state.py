"""What the application carries, typed."""

from __future__ import annotations

from aiohttp import web

from marketplace.services import Services

SERVICES = web.AppKey("backend", Services)
