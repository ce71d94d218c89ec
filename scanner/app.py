"""The composition root: builds every part, hands each what it needs, starts and stops them in order."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import AsyncIterator, Callable, Coroutine, Iterable, Iterator, Mapping, Sequence
from contextlib import AsyncExitStack, asynccontextmanager, suppress
from dataclasses import dataclass
from typing import Any, assert_never

from aiohttp import web

from api.app import build_app
from chains.base import Access, ChainAdapter, open_adapter
from chains.errors import ChainMisconfigured
from config.catalog import Catalog, Chain, ChainType, load_catalog
from config.settings import HttpSettings, Settings
from kernel.clock import Clock, SystemClock
from kernel.errors import ConfigError
from kernel.sealing.keys import key_file
from kernel.sealing.secret_cipher import SecretCipher, open_cipher
from kernel.store.clock_follower import ClockFollower
from kernel.store.database import Database, open_database
from kernel.store.lock import exclusive_store_lock
from kernel.tasks.schedule import schedules
from kernel.tasks.wakeup import Wakeup
from kernel.web.connections import default_limits
from kernel.web.listener import listening
from scanner.balance_watcher import BalanceWatcher
from scanner.native_deposits import NativeDepositDetector
from scanner.redelivery import Redelivery
from scanner.registration.intents import Registrations
from scanner.services import Services
from scanner.store import rotations
from scanner.store.migrate import migrate
from scanner.store.waits import ScannerWaits
from scanner.upkeep.metrics import ChainTelemetry, Metrics
from scanner.upkeep.retention import Retention
from scanner.upkeep.store_probe import StoreProbe
from scanner.watchdog import Watchdog
from scanner.worker import ChainWorker
from webhooks.callback_validator import CallbackValidator
from webhooks.dispatcher import WebhookDispatcher
from webhooks.http_sender import open_sender
from webhooks.schedule import RetrySchedule
from webhooks.ssrf_guard import SsrfGuard

log = logging.getLogger(__name__)

HOUR_MS = 3_600_000
HOUSEKEEPING_S = 60
DRAIN_S = 20.0


@dataclass(frozen=True, slots=True, kw_only=True)
class Daemon:
    """Everything that runs, built and not yet started."""

    http: HttpSettings
    database: Database
    metrics: Metrics
    app: web.Application
    workers: Mapping[int, ChainWorker]
    registrations: Registrations
    probe: StoreProbe
    follower: ClockFollower
    redelivery: Redelivery
    dispatcher: WebhookDispatcher
    watchers: Mapping[int, BalanceWatcher]
    notices: Mapping[int, NativeDepositDetector]
    wakeups: Mapping[str, tuple[Wakeup, float]]
    listening: asyncio.Future[str]  # the API's base URL, once it listens

    async def run(self, stop: asyncio.Event) -> None:
        """
        Run until `stop` is set; then close the front door, stop the chains, and let webhooks finish.

        Any task that ends by itself takes the process down: whoever supervises it starts it again.
        """
        await self.redelivery.ensure_confirmed_events()
        with schedules(self.wakeups):
            async with asyncio.TaskGroup() as group:
                api = group.create_task(self._serve(), name="api")
                chains = [group.create_task(work, name=name) for name, work in self._chain_work()]
                log.info("[scanner] balance watch scheduler started")
                webhooks = group.create_task(self.dispatcher.run(), name="webhooks")
                chores = [
                    group.create_task(self.follower.run(), name="clock"),
                    group.create_task(self.redelivery.run(), name="housekeeping"),
                    group.create_task(self.registrations.run(), name="registrations"),
                    group.create_task(self.probe.run(), name="store probe"),
                ]
                await stop.wait()
                await _cancel([api])
                await _cancel(chains)
                self.dispatcher.stop()
                with suppress(TimeoutError):
                    async with asyncio.timeout(DRAIN_S):
                        await asyncio.wait([webhooks])
                await _cancel([webhooks, *chores])

    def _chain_work(self) -> Iterator[tuple[str, Coroutine[Any, Any, None]]]:
        for chain_id, worker in self.workers.items():
            yield f"watchdog {chain_id}", Watchdog(worker, self.metrics).run()
            yield f"second reading {chain_id}", worker.second.run()
        for chain_id, watcher in self.watchers.items():
            yield f"balances {chain_id}", watcher.run()
        for chain_id, notice in self.notices.items():
            yield f"coins {chain_id}", notice.run()

    async def _serve(self) -> None:
        limits = default_limits(trusted_hops=self.http.trusted_hops)
        async with listening(self.app, host=self.http.host, port=self.http.port, limits=limits) as url:
            log.info("[api] listening on %s", url)
            if not self.listening.done():
                self.listening.set_result(url)
            await asyncio.Event().wait()


async def _cancel(tasks: Sequence[asyncio.Task[None]]) -> None:
    for task in tasks:
        task.cancel()
    if tasks:
        await asyncio.wait(tasks)


@dataclass(frozen=True, slots=True, kw_only=True)
class _Base:
    """What every part is built on."""

    settings: Settings
    catalog: Catalog
    clock: Clock
    metrics: Metrics
    db: Database
    cipher: SecretCipher
    guard: SsrfGuard
    dispatcher: WebhookDispatcher

    @property
    def on_events(self) -> Callable[[], None]:
        """What is called when there are events to send."""
        return self.dispatcher.wakeup.wake

    @property
    def late_watch_ms(self) -> int:
        return int(self.settings.scan.late_watch_h * HOUR_MS)


@asynccontextmanager
async def open_daemon(settings: Settings, *, clock: Clock | None = None) -> AsyncIterator[Daemon]:
    """
    Build the daemon from its settings; what was built is undone in reverse.

    Raises:
        ConfigError: an operator must change something.
        StoreError: the store cannot be used.
    """
    async with AsyncExitStack() as stack:
        base = await _open_base(stack, settings, clock or SystemClock())
        follower = _follower(base)
        await follower.doubt()
        workers = await _open_workers(stack, base)
        watchers, notices = _watchers(base, workers), _notices(base, workers)
        registrations, redelivery = _registrations(base, workers), _redelivery(base, workers)
        services = _services(base, workers, watchers, registrations, redelivery)
        await services.secrets.rotate_at_rest()
        yield Daemon(
            http=settings.http,
            database=base.db,
            metrics=base.metrics,
            app=build_app(services, settings.http, base.metrics),
            workers=workers,
            registrations=registrations,
            probe=services.probe,
            follower=follower,
            redelivery=redelivery,
            dispatcher=base.dispatcher,
            watchers=watchers,
            notices=notices,
            wakeups=_wakeups(settings, workers, watchers, notices, redelivery),
            listening=asyncio.get_running_loop().create_future(),
        )


async def _open_base(stack: AsyncExitStack, settings: Settings, clock: Clock) -> _Base:
    catalog, metrics = load_catalog(settings), Metrics()
    stack.enter_context(exclusive_store_lock(settings.store.path, service="scanner", setting="DB_PATH"))
    await asyncio.to_thread(migrate, settings.store.path)
    db = await stack.enter_async_context(open_database(settings.store.path))
    cipher = await _open_cipher(settings, db)
    guard = SsrfGuard(settings.webhooks.allowed_hosts, production=settings.webhooks.production)
    dispatcher = WebhookDispatcher(
        db=db,
        client=await stack.enter_async_context(open_sender(guard, timeout_s=settings.webhooks.timeout_s)),
        schedule=RetrySchedule(settings.webhooks.retry_delays_s),
        clock=clock,
        metrics=metrics,
        open_secret=cipher.decrypt,
    )
    return _Base(
        settings=settings,
        catalog=catalog,
        clock=clock,
        metrics=metrics,
        db=db,
        cipher=cipher,
        guard=guard,
        dispatcher=dispatcher,
    )


def _follower(base: _Base) -> ClockFollower:
    longest_s = RetrySchedule(base.settings.webhooks.retry_delays_s).longest_s
    return ClockFollower(base.clock, base.db, ScannerWaits(round(longest_s * 1000)), on_moved=base.on_events)


def _registrations(base: _Base, workers: Mapping[int, ChainWorker]) -> Registrations:
    return Registrations(
        base.db,
        base.clock,
        ttl_hours=base.settings.scan.intent_ttl_h,
        cipher=base.cipher,
        chain_time=lambda chain_id: workers[chain_id].chain_time(),
    )


def _redelivery(base: _Base, workers: Mapping[int, ChainWorker]) -> Redelivery:
    return Redelivery(
        base.db,
        base.clock,
        retry_hours=base.settings.webhooks.retry_hours,
        on_events=base.on_events,
        retention=Retention(
            base.db,
            base.clock,
            base.metrics,
            base.settings.retention,
            chain_time=lambda: _newest_block_ms(workers.values()),
        ),
    )


def _services(
    base: _Base,
    workers: Mapping[int, ChainWorker],
    watchers: Mapping[int, BalanceWatcher],
    registrations: Registrations,
    redelivery: Redelivery,
) -> Services:
    return Services(
        catalog=base.catalog,
        workers=workers,
        db=base.db,
        clock=base.clock,
        metrics=base.metrics,
        registrations=registrations,
        redelivery=redelivery,
        callbacks=CallbackValidator(base.guard),
        late_watch_ms=base.late_watch_ms,
        on_events=base.on_events,
        on_watch=lambda chain_id: watchers[chain_id].wakeup.wake(),
        cipher=base.cipher,
    )


def _newest_block_ms(workers: Iterable[ChainWorker]) -> int | None:
    return max((worker.health.head.time * 1000 for worker in workers if worker.health.head is not None), default=None)


async def _open_cipher(settings: Settings, db: Database) -> SecretCipher:
    """Return what seals callback secrets, and name the key file that has to be kept."""
    store = settings.store.path
    async with db.read() as tx:
        stored = await rotations.one_of_each_key(tx)
    cipher = await asyncio.to_thread(open_cipher, store, settings.sealing, stored, setting="SCANNER_SECRET_KEY")
    if settings.sealing.current is None:
        log.info("[scanner] callback secrets are sealed with the key in %s: keep a copy elsewhere", key_file(store))
    return cipher


async def _open_workers(stack: AsyncExitStack, base: _Base) -> dict[int, ChainWorker]:
    workers = {}
    for chain_id in base.catalog.enabled:
        adapter = await _open_adapter(stack, base, base.catalog.chains[chain_id])
        workers[chain_id] = worker = ChainWorker(
            chain=base.catalog.chains[chain_id],
            adapter=adapter,
            tokens=base.catalog.tokens(chain_id),
            db=base.db,
            clock=base.clock,
            metrics=base.metrics,
            late_watch_ms=base.late_watch_ms,
            on_events=base.on_events,
            sweep_interval_s=base.settings.scan.sweep_interval_s,
        )
        labels = [endpoint.label for endpoint in adapter.condition().endpoints]
        base.metrics.begin(chain_id, worker.chain.chain_type, labels)
    return workers


async def _open_adapter(stack: AsyncExitStack, base: _Base, chain: Chain) -> ChainAdapter:
    try:
        return await stack.enter_async_context(
            open_adapter(
                chain,
                timeout_s=base.settings.scan.rpc_timeout_s,
                telemetry=ChainTelemetry(base.metrics, chain.chain_id),
                balance_batch=base.settings.balances.batch_size,
                access=_access(base.settings, chain),
                wall=lambda: base.clock.now_ms() / 1000,
            )
        )
    except ChainMisconfigured as exc:
        raise ConfigError(str(exc)) from exc


def _watchers(base: _Base, workers: Mapping[int, ChainWorker]) -> dict[int, BalanceWatcher]:
    return {
        chain_id: BalanceWatcher(
            chain=worker.chain,
            adapter=worker.adapter,
            db=base.db,
            clock=base.clock,
            on_events=base.on_events,
            chain_time=worker.chain_time,
        )
        for chain_id, worker in workers.items()
    }


def _notices(base: _Base, workers: Mapping[int, ChainWorker]) -> dict[int, NativeDepositDetector]:
    return {
        chain_id: NativeDepositDetector(
            chain=worker.chain,
            adapter=worker.adapter,
            db=base.db,
            clock=base.clock,
            metrics=base.metrics,
            late_watch_ms=base.late_watch_ms,
            on_events=base.on_events,
            chain_time=worker.chain_time,
        )
        for chain_id, worker in workers.items()
        if worker.adapter.reads_many_coins
    }


def _access(settings: Settings, chain: Chain) -> Access:
    match chain.chain_type:
        case ChainType.EVM:
            return Access()
        case ChainType.TRON:
            key, rate = settings.tron_api_key, settings.tron_rps
        case ChainType.TON:
            key, rate = settings.ton_api_key, settings.ton_rps
        case _:
            assert_never(chain.chain_type)
    return Access(None if key is None else key.get_secret_value(), rate)


def _wakeups(
    settings: Settings,
    workers: Mapping[int, ChainWorker],
    watchers: Mapping[int, BalanceWatcher],
    notices: Mapping[int, NativeDepositDetector],
    redelivery: Redelivery,
) -> dict[str, tuple[Wakeup, float]]:
    polls = {
        f"chain {chain_id}": (worker.wakeup, worker.chain.poll_interval_s or settings.scan.poll_interval_s)
        for chain_id, worker in workers.items()
    }
    ticks = {
        f"balances {chain_id}": (watcher.wakeup, settings.balances.tick_s) for chain_id, watcher in watchers.items()
    }
    ticks |= {f"coins {chain_id}": (notice.wakeup, settings.balances.tick_s) for chain_id, notice in notices.items()}
    return {**polls, **ticks, "housekeeping": (redelivery.wakeup, HOUSEKEEPING_S)}
