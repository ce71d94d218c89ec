"""How the backend is, over HTTP."""

from __future__ import annotations

from collections.abc import Mapping

from aiohttp import web
from msgspec import UNSET, UnsetType

from marketplace import VERSION
from marketplace.health import Check
from marketplace.web import shapes
from marketplace.web.answers import success
from marketplace.web.state import SERVICES

DOWN = 503


async def ping(_request: web.Request) -> web.Response:
    """GET /health: alive; touches nothing."""
    return success(shapes.Ping(status="ok"))


async def version(_request: web.Request) -> web.Response:
    """GET /api/version"""
    return success(shapes.Version(version=VERSION))


async def deep(request: web.Request) -> web.Response:
    """GET /api/health"""
    health = await request.app[SERVICES].health.report()
    told = shapes.Health(
        status=health.status, version=VERSION, uptime_sec=health.uptime_s, checks=_checks(health.checks)
    )
    return success(told, status=DOWN if health.status == "down" else 200)


def _checks(checks: Mapping[str, Check]) -> shapes.Checks:
    """Return every part's condition; only of the sanctions list there is something to count."""
    plain = {name: shapes.Check(status=each.status, detail=_detail(each)) for name, each in checks.items()}
    screening = checks["screening"]
    counted = shapes.ScreeningCheck(status=screening.status, detail=_detail(screening), **screening.facts)
    return shapes.Checks(**{**plain, "screening": counted})  # type: ignore[arg-type]  # one of each name


def _detail(check: Check) -> str | UnsetType:
    return UNSET if check.detail is None else check.detail
