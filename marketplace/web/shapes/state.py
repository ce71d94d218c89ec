"""How the service is."""

from __future__ import annotations

from msgspec import UNSET, UnsetType

from marketplace.web.shapes.basics import Count, State
from protocol.wire import Wire


class Ping(Wire):
    status: str


class Version(Wire):
    version: str


class Check(Wire):
    status: State
    detail: str | UnsetType = UNSET


class ScreeningCheck(Wire):
    status: State
    entries: Count
    unreadable: Count
    detail: str | UnsetType = UNSET


class Checks(Wire):
    db: Check
    scanner: Check
    webhooks: Check
    ledger: Check
    registry: Check
    screening: ScreeningCheck
    prices: Check | UnsetType = UNSET


class Health(Wire):
    status: State
    version: str
    uptime_sec: int
    checks: Checks
