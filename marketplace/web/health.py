"""How the backend is, over HTTP."""

from __future__ import annotations

from aiohttp import web

from marketplace import VERSION
from marketplace.web.answers import ok
from marketplace.web.state import SERVICES

DOWN = 503


async def ping(_request: web.Request) -> web.Response:
    """GET /health: alive; touches nothing."""
    return ok({"status": "ok"})


async def version(_request: web.Request) -> web.Response:
    """GET /api/version"""
    return ok({"version": VERSION})


async def deep(request: web.Request) -> web.Response:
    """GET /api/health"""
    health = await request.app[SERVICES].health.report()
    verifier = {
        name: {"status": check.status, **check.facts} | ({} if check.detail is None else {"detail": check.detail})
        for name, check in health.verifier.items()
    }
    told = {"status": health.status, "version": VERSION, "uptimeSec": health.uptime_s, "checks": verifier}
    return ok(told, status=DOWN if health.status == "down" else 200)
