"""The composition root: builds every part, hands each what it needs, starts and stops them in order."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import AsyncIterator, Iterable, Mapping, Sequence
from contextlib import AsyncExitStack, asynccontextmanager, suppress
from dataclasses import dataclass
from typing import assert_never

from aiohttp import web

from api.app import build_app
from chains.base import Access, open_adapter
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
                chains = [
                    group.create_task(Watchdog(worker, self.metrics).run(), name=f"watchdog {chain_id}")
                    for chain_id, worker in self.workers.items()
                ]
                chains += [
                    group.create_task(worker.second.run(), name=f"second reading {chain_id}")
                    for chain_id, worker in self.workers.items()
                ]
                chains += [
                    group.create_task(watcher.run(), name=f"balances {chain_id}")
                    for chain_id, watcher in self.watchers.items()
                ]
                chains += [
                    group.create_task(notice.run(), name=f"coins {chain_id}")
                    for chain_id, notice in self.notices.items()
                ]
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


@asynccontextmanager
async def open_daemon(settings: Settings, *, clock: Clock | None = None) -> AsyncIterator[Daemon]:
    """
    Build the daemon from its settings; what was built is undone in reverse.

    Raises:
        ConfigError: an operator must change something.
        StoreError: the store cannot be used.
    """
    clock = clock or SystemClock()
    catalog = load_catalog(settings)
    metrics = Metrics()
    async with AsyncExitStack() as stack:
        stack.enter_context(exclusive_store_lock(settings.store.path, service="scanner", setting="DB_PATH"))
        await asyncio.to_thread(migrate, settings.store.path)
        db = await stack.enter_async_context(open_database(settings.store.path))
        cipher = await _open_cipher(settings, db)
        guard = SsrfGuard(settings.webhooks.allowed_hosts, production=settings.webhooks.production)
        client = await stack.enter_async_context(open_sender(guard, timeout_s=settings.webhooks.timeout_s))
        schedule = RetrySchedule(settings.webhooks.retry_delays_s)
        dispatcher = WebhookDispatcher(
            db=db,
            client=client,
            schedule=schedule,
            clock=clock,
            metrics=metrics,
            open_secret=cipher.decrypt,
        )
        waits = ScannerWaits(round(schedule.longest_s * 1000))
        follower = ClockFollower(clock, db, waits, on_moved=dispatcher.wakeup.wake)
        await follower.doubt()
        workers = await _open_workers(stack, settings, catalog, db, clock, metrics, dispatcher)
        for chain_id, worker in workers.items():
            labels = [endpoint.label for endpoint in worker.adapter.condition().endpoints]
            metrics.begin(chain_id, worker.chain.chain_type, labels)
        registrations = Registrations(
            db,
            clock,
            ttl_hours=settings.scan.intent_ttl_h,
            cipher=cipher,
            chain_time=lambda chain_id: workers[chain_id].chain_time(),
        )
        redelivery = Redelivery(
            db,
            clock,
            retry_hours=settings.webhooks.retry_hours,
            on_events=dispatcher.wakeup.wake,
            retention=Retention(
                db, clock, metrics, settings.retention, chain_time=lambda: _newest_block_ms(workers.values())
            ),
        )
        watchers = _watchers(workers, db, clock, dispatcher)
        notices = _notices(settings, workers, db, clock, metrics, dispatcher)
        services = Services(
            catalog=catalog,
            workers=workers,
            db=db,
            clock=clock,
            metrics=metrics,
            registrations=registrations,
            redelivery=redelivery,
            callbacks=CallbackValidator(guard),
            late_watch_ms=int(settings.scan.late_watch_h * HOUR_MS),
            on_events=dispatcher.wakeup.wake,
            on_watch=lambda chain_id: watchers[chain_id].wakeup.wake(),
            cipher=cipher,
        )
        await services.secrets.rotate_at_rest()
        yield Daemon(
            http=settings.http,
            database=db,
            metrics=metrics,
            app=build_app(services, settings.http, metrics),
            workers=workers,
            registrations=registrations,
            probe=services.probe,
            follower=follower,
            redelivery=redelivery,
            dispatcher=dispatcher,
            watchers=watchers,
            notices=notices,
            wakeups=_bells(settings, workers, watchers, notices, redelivery),
            listening=asyncio.get_running_loop().create_future(),
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


async def _open_workers(
    stack: AsyncExitStack,
    settings: Settings,
    catalog: Catalog,
    db: Database,
    clock: Clock,
    metrics: Metrics,
    dispatcher: WebhookDispatcher,
) -> dict[int, ChainWorker]:
    workers = {}
    for chain_id in catalog.enabled:
        chain = catalog.chains[chain_id]
        try:
            adapter = await stack.enter_async_context(
                open_adapter(
                    chain,
                    timeout_s=settings.scan.rpc_timeout_s,
                    telemetry=ChainTelemetry(metrics, chain_id),
                    balance_batch=settings.balances.batch_size,
                    access=_access(settings, chain),
                    wall=lambda: clock.now_ms() / 1000,
                )
            )
        except ChainMisconfigured as exc:
            raise ConfigError(str(exc)) from exc
        workers[chain_id] = ChainWorker(
            chain=chain,
            adapter=adapter,
            tokens=catalog.tokens(chain_id),
            db=db,
            clock=clock,
            metrics=metrics,
            late_watch_ms=int(settings.scan.late_watch_h * HOUR_MS),
            on_events=dispatcher.wakeup.wake,
            sweep_interval_s=settings.scan.sweep_interval_s,
        )
    return workers


def _watchers(
    workers: Mapping[int, ChainWorker], db: Database, clock: Clock, dispatcher: WebhookDispatcher
) -> dict[int, BalanceWatcher]:
    return {
        chain_id: BalanceWatcher(
            chain=worker.chain,
            adapter=worker.adapter,
            db=db,
            clock=clock,
            on_events=dispatcher.wakeup.wake,
            chain_time=worker.chain_time,
        )
        for chain_id, worker in workers.items()
    }


def _notices(
    settings: Settings,
    workers: Mapping[int, ChainWorker],
    db: Database,
    clock: Clock,
    metrics: Metrics,
    dispatcher: WebhookDispatcher,
) -> dict[int, NativeDepositDetector]:
    return {
        chain_id: NativeDepositDetector(
            chain=worker.chain,
            adapter=worker.adapter,
            db=db,
            clock=clock,
            metrics=metrics,
            late_watch_ms=int(settings.scan.late_watch_h * HOUR_MS),
            on_events=dispatcher.wakeup.wake,
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


def _bells(
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
