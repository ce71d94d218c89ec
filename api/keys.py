"""What the application carries, typed."""

from __future__ import annotations

from aiohttp import web

from scanner.services import Services

SERVICES = web.AppKey("services", Services)
