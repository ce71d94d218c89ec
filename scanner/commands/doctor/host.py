"""Looks at this machine's side: settings, registries, the store, and whether a receiver can be called."""

from __future__ import annotations

import asyncio
import secrets
import shutil
import time
from pathlib import Path

from chains.findings import Finding, ok, problem, skipped, warning
from config.catalog import Catalog
from config.settings import Settings
from kernel.errors import StoreError
from kernel.sealing.keys import key_file
from kernel.store.postgresql import PostgresSettings
from kernel.store.readiness import database_state, file_state
from protocol.words import EventType
from scanner.sample_event import sample_body
from scanner.store.migrate import MIGRATIONS
from webhooks.http_sender import Attempt, open_sender
from webhooks.signing import check_secret, headers_for
from webhooks.ssrf_guard import BlockedTarget, SsrfGuard

LITTLE_SPACE = 1 << 30
UNAUTHORIZED = {401, 403}


def settings_findings(settings: Settings) -> list[Finding]:
    """Judge the settings, which could be read."""
    listener = f"{settings.http.host}:{settings.http.port}"
    if settings.http.api_keys:
        return [ok("API key", f"set, for {listener}")]
    advice = (
        "SCANNER_API_KEY is not set: only requests of this machine to itself are answered. Set it"
        " (openssl rand -hex 32) before a backend elsewhere calls."
    )
    return [warning("API key", f"none, for {listener}", advice)]


def registry_findings(settings: Settings, catalog: Catalog) -> list[Finding]:
    """Judge the registries, which could be read."""
    found = f"{len(catalog.chains)} chains in {settings.chains_path}, {len(catalog.all_tokens)} tokens"
    if catalog.enabled:
        return [ok("registries", found), ok("enabled", ", ".join(catalog.chains[i].name for i in catalog.enabled))]
    advice = "No chain is enabled: name some in SCANNER_ENABLED_CHAINS, or call one verified in the registry."
    return [ok("registries", found), problem("enabled", "none", advice)]


async def store_findings(settings: Settings, database: PostgresSettings | None) -> list[Finding]:
    """Look whether the store can be used, without changing it."""
    try:
        if database is not None:
            return [ok("store", f"PostgreSQL: {await database_state(database, MIGRATIONS)}")]
        state = await asyncio.to_thread(file_state, settings.store.path, MIGRATIONS, setting="DB_PATH")
    except StoreError as exc:
        setting = "DB_PATH" if database is None else database.setting
        said = str(exc).removeprefix(f"{setting}: ")
        return [problem("store", "cannot be used", f"{setting}: {said}.")]
    return [ok("store", f"{settings.store.path}: {state}"), _space(settings.store.path), _key(settings)]


def _space(path: Path) -> Finding:
    free = shutil.disk_usage(path.parent).free
    found = f"{free / (1 << 30):.1f} GiB free"
    if free >= LITTLE_SPACE:
        return ok("space", found)
    return warning(
        "space", found, f"The disk of {path} is nearly full: a store that cannot be written takes no payment."
    )


def _key(settings: Settings) -> Finding:
    if settings.sealing.current is not None:
        return ok("sealing key", "in SCANNER_SECRET_KEY")
    file = key_file(settings.store.path)
    return ok("sealing key", f"{file}: keep a copy elsewhere" if file.exists() else "none yet: made at the first start")


async def callback_finding(settings: Settings, url: str | None, secret: str | None) -> Finding:
    """Send a signed test event to a receiver, as a delivery would be sent."""
    if url is None:
        return skipped("callback", "not asked for: --callback URL --secret SECRET sends a test event")
    try:
        check_secret(secret or secrets.token_hex())
    except ValueError as exc:
        return problem("callback", "not sent", f"The secret cannot be used: it {exc}.")
    guard = SsrfGuard(settings.webhooks.allowed_hosts, production=settings.webhooks.production)
    try:
        guard.check_url(url)
    except BlockedTarget as exc:
        return problem("callback", "refused", f"The callback {exc}: no intent with it would be taken.")
    async with open_sender(guard, timeout_s=settings.webhooks.timeout_s) as sender:
        event_id = f"evt_doctor_{secrets.token_hex(8)}"
        body = sample_body(event_id, EventType.CONFIRMED, round(time.time() * 1000))
        headers = headers_for(
            event_id=event_id,
            event_type=EventType.CONFIRMED,
            delivery_id=event_id,
            body=body,
            secret=secret or secrets.token_hex(),
            timestamp=int(time.time()),
        )
        return _judged(await sender.send(url, body, headers), has_secret=secret is not None)


def _judged(attempt: Attempt, *, has_secret: bool) -> Finding:
    found = f"{attempt.error or f'HTTP {attempt.status}'} after {attempt.latency_ms} ms"
    if attempt.ok:
        return ok("callback", found)
    if attempt.status in UNAUTHORIZED and not has_secret:
        return ok("callback", f"reached; it refuses a foreign signature (HTTP {attempt.status})")
    if attempt.status in UNAUTHORIZED:
        advice = (
            "The receiver refuses our signature: it has another secret, reads a changed body, or its clock is wrong."
        )
        return problem("callback", found, advice)
    if attempt.status is None:
        advice = f"The receiver cannot be reached ({attempt.error}): check the URL, its certificate, and the way there."
        return problem("callback", found, advice)
    advice = (
        f"The receiver answers HTTP {attempt.status}: deliveries count only with 2xx, and are tried again until then."
    )
    return problem("callback", found, advice)
