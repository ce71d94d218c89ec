"""Create, show and stop balance watches."""

from __future__ import annotations

import logging
import secrets
from collections.abc import Callable
from typing import NoReturn

from chains.types import BalanceKey
from kernel.clock import Clock
from kernel.logging import fields
from kernel.sealing.secret_cipher import SecretCipher
from kernel.store.database import Database
from scanner.balances import read_balance
from scanner.cluster import chain_lock
from scanner.model import Watch, WatchStatus
from scanner.registration.callbacks import CallbackPolicy
from scanner.registration.requests import CreateWatch
from scanner.registration.tokens import NATIVE, TokenResolver, parse_address
from scanner.secrets.rotation import Rotation, signing_secrets
from scanner.store import rotations, watches
from scanner.store.errors import Conflict, NotFound
from scanner.upkeep.watch_schedule import LIFE_MS, next_due
from scanner.worker import ChainWorker

log = logging.getLogger("scanner.watches")


class Watches:
    """The use cases of balance watches."""

    def __init__(
        self,
        *,
        db: Database,
        clock: Clock,
        tokens: TokenResolver,
        callbacks: CallbackPolicy,
        worker_of: Callable[[int], ChainWorker],
        on_created: Callable[[int], None],
        cipher: SecretCipher,
    ) -> None:
        self._cipher = cipher
        self._db = db
        self._clock = clock
        self._tokens = tokens
        self._callbacks = callbacks
        self._worker_of = worker_of
        self._on_created = on_created

    async def create(self, request: CreateWatch) -> Watch:
        """
        Store a watch, or return the stored one when the same was asked before.

        Raises:
            InvalidRequest: names the field.
            Conflict: the id is known with another chain, address, token or callback, which is named.
            BalanceUnreadable: no baseline was given and the chain did not tell one. Nothing is stored.
        """
        wanted = await self._watch(request)
        async with self._db.read() as tx:
            stored = await watches.get(tx, wanted.watch_id)
        if stored is None and request.baseline_balance is None:
            wanted = await self._with_baseline(wanted)
        async with self._db.write() as tx:
            await self._db.lock(tx, f"watch:{wanted.watch_id}")
            stored = await watches.get(tx, wanted.watch_id)
            if stored is None:
                await watches.add(tx, wanted)
            newer = None if stored is None else await rotations.get(tx, stored.callback_url)
        if stored is not None:
            _check_same(wanted, stored)
            self._check_secret(request, stored, newer)
            return stored
        log.info("[api] balance watch created", extra=fields(chain=wanted.chain_id, watch=wanted.watch_id))
        self._on_created(wanted.chain_id)
        return wanted

    async def _watch(self, request: CreateWatch) -> Watch:
        self._tokens.check_known(request.chain_id, request.token_names())
        worker = self._worker_of(request.chain_id)
        receiver = self._callbacks.check_callback(request.callback_url, request.callback_secret)
        holder = parse_address(worker.adapter, "address", request.address)
        shown = key = None
        labels: tuple[str | None, int | None] = (worker.chain.coin or NATIVE, worker.adapter.coin_decimals)
        if (asset := await self._tokens.asset(worker, request.token_names())) is not None:
            shown, key, labels = asset.address, asset.key, (asset.symbol, asset.decimals)
        now = self._clock.now_ms()
        return Watch(
            watch_id=request.watch_id or f"bw_{secrets.token_hex(16)}",
            chain_id=request.chain_id,
            chain_type=worker.chain.chain_type,
            token_address=shown,
            token_key=key,
            token_symbol=labels[0],
            decimals=labels[1],
            address=request.address,
            address_key=holder,
            baseline_balance=request.baseline_balance or 0,
            current_balance=request.baseline_balance or 0,
            status=WatchStatus.WATCHING,
            callback_url=request.callback_url,
            callback_secret=self._cipher.encrypt(request.callback_secret),
            receiver=receiver,
            last_checked_at=None,
            next_check_at=now,
            last_position=None,
            change_count=0,
            last_notified_at=None,
            expires_at=now + LIFE_MS,
            created_at=now,
            updated_at=now,
        )

    async def _with_baseline(self, watch: Watch) -> Watch:
        """
        Start a watch at the balance of this moment.

        Left to the first check of the schedule, whatever was paid while the node was down would be part of
        the baseline, and never be told.
        """
        holding = BalanceKey(watch.address_key, watch.token_key)
        balance, position = await read_balance(self._worker_of(watch.chain_id), holding, confirmed=True)
        now = self._clock.now_ms()
        return watch._replace(
            baseline_balance=balance,
            current_balance=balance,
            last_checked_at=now,
            next_check_at=next_due(watch.created_at, now),
            last_position=position,
        )

    def _check_secret(self, request: CreateWatch, stored: Watch, newer: Rotation | None) -> None:
        accepted = signing_secrets(stored.callback_secret, stored.created_at, newer, self._clock.now_ms())
        if request.callback_secret not in map(self._cipher.decrypt, accepted):
            raise _differs(stored, "callbackSecret")

    async def get(self, watch_id: str) -> Watch:
        """Return a watch."""
        async with self._db.read() as tx:
            return await watches.get(tx, watch_id) or _missing(watch_id)

    async def active(self, *, after: tuple[int, str] | None, limit: int) -> list[Watch]:
        """Return watches that are being watched, the next to be read first, after (when, id) of another."""
        async with self._db.read() as tx:
            return await watches.active(tx, after=after or (0, ""), limit=limit)

    async def stop(self, watch_id: str) -> Watch:
        """Stop a watch, also one that has expired; a change that was not told yet is told. Twice changes nothing."""
        now = self._clock.now_ms()
        async with self._db.write() as tx:
            watch = await watches.get(tx, watch_id) or _missing(watch_id)
            await self._db.lock(tx, chain_lock(watch.chain_id))  # a check may be about to write what it read
            if not await watches.stop(tx, watch_id, now):
                return watch
        return watch._replace(status=WatchStatus.STOPPED, updated_at=now)


def _missing(watch_id: str) -> NoReturn:
    raise NotFound(f"balance watch {watch_id} does not exist")


def _check_same(wanted: Watch, stored: Watch) -> None:
    for field, name in (
        ("chainId", "chain_id"),
        ("address", "address_key"),
        ("tokenAddress", "token_key"),
        ("callbackUrl", "callback_url"),
    ):
        if getattr(wanted, name) != getattr(stored, name):
            raise _differs(stored, field)


def _differs(stored: Watch, field: str) -> Conflict:
    return Conflict(f"balance watch {stored.watch_id} exists with another {field}", field=field)
