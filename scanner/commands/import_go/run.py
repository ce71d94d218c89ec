"""Shows what would be taken over, and with `--apply` takes it over in one transaction."""

from __future__ import annotations

import argparse
import asyncio
import sys
import time
from collections.abc import Mapping
from pathlib import Path

from chains.types import Cursor
from config.catalog import load_catalog
from config.settings import Settings, load_settings
from kernel.errors import ConfigError
from kernel.process import EXIT_FIX
from kernel.sealing.secret_cipher import SecretCipher, open_cipher
from kernel.store.database import open_database
from kernel.store.lock import exclusive_store_lock
from scanner.commands.import_go.plan import Plan, Planner
from scanner.model import LIVE, Intent
from scanner.store import checkpoints, intents, rotations, watches
from scanner.store.go_scanner import read_store
from scanner.store.migrate import migrate
from webhooks.ssrf_guard import SsrfGuard

HOUR_MS = 3_600_000
KEEP_ALL = -1
MOST_SHOWN = 100


def run(asked: argparse.Namespace, environ: Mapping[str, str]) -> int:
    """Plan, show, perhaps do it, and return the exit code: 1 where a row was refused."""
    settings = load_settings(environ, env_file=Path(".env"))
    if settings.store.url is not None:
        raise ConfigError("DATABASE_URL: import into a file first (DB_PATH), then `amn-scanner copy` moves it there")
    now = round(time.time() * 1000)
    guard = SsrfGuard(settings.webhooks.allowed_hosts, production=settings.webhooks.production)
    planner = Planner(
        load_catalog(settings), guard.check_url, ttl_ms=int(settings.scan.intent_ttl_h * HOUR_MS), now=now
    )
    plan = planner.plan(read_store(asked.path))
    _show(plan)
    if not asked.apply:
        _say("nothing was written: --apply does it, with the daemons of both scanners stopped")
    elif plan.refused and not asked.skip:
        _say("nothing was written: correct what is refused, or leave it out with --skip")
    else:
        store = settings.store.path
        with exclusive_store_lock(store, service="scanner", setting="DB_PATH"):
            migrate(store)
            _say(asyncio.run(_apply(plan, settings, now)))
    return EXIT_FIX if plan.refused else 0


def _show(plan: Plan) -> None:
    waiting = sum(intent.status in LIVE for intent in plan.intents)
    _say(f"intents that wait for their payment: {waiting}; that ended unpaid: {len(plan.intents) - waiting}")
    _say(f"intents that are confirmed and told: {plan.settled_there}, which stay there")
    _say(f"watches: {len(plan.watches)}; ended and left out: {plan.ended_watches}")
    for each in plan.checkpoints:
        _say(f"chain {each.chain_id}, {each.rail} rail: read on from {each.position}")
    for chain_id in sorted(plan.unread):
        _say(f"WARNING chain {chain_id} has no checkpoint there: earlier payments are found by recheck alone")
    for intent_id, tx_hash in plan.untold[:MOST_SHOWN]:
        _say(f"UNTOLD intent {intent_id} is confirmed there and nobody knows: recheck it here with {tx_hash}")
    if len(plan.untold) > MOST_SHOWN:
        _say(f"UNTOLD {len(plan.untold) - MOST_SHOWN} more")
    for refusal in plan.refused[:MOST_SHOWN]:
        _say(f"REFUSED {refusal.what}: {refusal.why}")
    if len(plan.refused) > MOST_SHOWN:
        _say(f"REFUSED {len(plan.refused) - MOST_SHOWN} more")


async def _apply(plan: Plan, settings: Settings, now: int) -> str:
    """Write what is not there yet, all or nothing; doing it again changes nothing."""
    async with open_database(settings.store.path) as db:
        async with db.read() as tx:
            sealed = await rotations.one_of_each_key(tx)
        cipher = await asyncio.to_thread(
            open_cipher, settings.store.path, settings.sealing, sealed, setting="SCANNER_SECRET_KEY"
        )
        async with db.write() as tx:
            known = await intents.get_many(tx, {intent.intent_id for intent in plan.intents})
            new = [_sealed(intent, cipher) for intent in plan.intents if intent.intent_id not in known]
            await intents.add_many(tx, new)
            added = 0
            for watch in plan.watches:
                if await watches.get(tx, watch.watch_id) is None:
                    await watches.add(tx, watch._replace(callback_secret=cipher.encrypt(watch.callback_secret)))
                    added += 1
            for chain_id, rail, position in plan.checkpoints:
                if await checkpoints.get(tx, chain_id, rail) is None:
                    cursor = Cursor(position)
                    await checkpoints.put(tx, chain_id, rail, cursor, time=None, now=now, keep_from=KEEP_ALL)
    return f"written: {len(new)} intents, {added} watches; {len(plan.intents) - len(new)} intents were there already"


def _sealed(intent: Intent, cipher: SecretCipher) -> Intent:
    return intent._replace(callback_secret=cipher.encrypt(intent.callback_secret))


def _say(line: str) -> None:
    sys.stdout.write(f"{''.join(char if char.isprintable() else '?' for char in line)}\n")
