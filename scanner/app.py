"""The composition root: builds every part, hands each what it needs, starts and stops them in order."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import AsyncIterator, Callable, Mapping, Sequence
from contextlib import AsyncExitStack, asynccontextmanager, suppress
from dataclasses import dataclass
from functools import partial
from typing import assert_never

from aiohttp import web
from pydantic import SecretStr

from api.app import build_app
from api.pay.doors import LIMITS as PAGE_LIMITS
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
from kernel.store.postgresql import PostgresSettings, once_reachable, open_postgresql, warn_of_replication
from kernel.tasks.schedule import schedules
from kernel.tasks.wakeup import Wakeup
from kernel.web.connections import default_limits
from kernel.web.listener import listening
from kernel.web.rate_limiter import RateLimiter
from kernel.web.shared_rates import SharedRates
from scanner.balance_watcher import BalanceWatcher
from scanner.checkout.live import LivePayments
from scanner.cluster import Alone, Together, chain_lock
from scanner.native_deposits import NativeDepositDetector
from scanner.redelivery import Redelivery
from scanner.registration.intents import Registrations
from scanner.services import Services
from scanner.store import rotations
from scanner.store.migrate import SCHEMA, migrate, migrate_postgresql
from scanner.store.waits import ScannerWaits
from scanner.upkeep.metrics import ChainTelemetry, Metrics
from scanner.upkeep.retention import Retention
from scanner.upkeep.samples import Sampler
from scanner.upkeep.store_probe import StoreProbe
from scanner.version import VERSION
from scanner.watchdog import Watchdog
from scanner.worker import ChainWorker
from webhooks.callback_validator import CallbackValidator
from webhooks.dispatcher import WebhookDispatcher
from webhooks.http_sender import open_sender
from webhooks.sample_sender import SampleSender
from webhooks.schedule import RetrySchedule
from webhooks.ssrf_guard import SsrfGuard

log = logging.getLogger(__name__)

DATABASE = "DATABASE_URL"
HOUR_MS = 3_600_000
HOUSEKEEPING_S = 60
SAMPLE_S = 60
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
    pages: LivePayments
    redelivery: Redelivery
    dispatcher: WebhookDispatcher
    watchers: Mapping[int, BalanceWatcher]
    notices: Mapping[int, NativeDepositDetector]
    sampler: Sampler
    wakeups: Mapping[str, tuple[Wakeup, float]]
    cluster: Alone | Together
    rates: SharedRates | None  # where other processes use the same store
    listening: asyncio.Future[str]  # the API's base URL, once it listens

    async def run(self, stop: asyncio.Event) -> None:
        """
        Run until `stop` is set; then close the front door, stop the chains, and let webhooks finish.

        Any task that ends by itself takes the process down: whoever supervises it starts it again.
        """
        with schedules(self.wakeups):
            async with asyncio.TaskGroup() as group:
                api = group.create_task(self._serve(), name="api")
                chains = [
                    group.create_task(
                        self.cluster.lead(chain_id, partial(self._lead, chain_id)), name=f"chain {chain_id}"
                    )
                    for chain_id in self.workers
                ]
                log.info("[scanner] balance watch scheduler started")
                webhooks = group.create_task(self.dispatcher.run(), name="webhooks")
                chores = [
                    group.create_task(self.cluster.lead_housekeeping(self.redelivery.run), name="housekeeping"),
                    group.create_task(self.sampler.run(), name="samples"),
                    group.create_task(self.registrations.run(), name="registrations"),
                    group.create_task(self.probe.run(), name="store probe"),
                    group.create_task(self.pages.run(), name="payment pages"),
                ]
                if self.rates is not None:
                    chores.append(group.create_task(self.rates.run(), name="rate limits"))
                if isinstance(self.cluster, Together):
                    chores.append(group.create_task(self.cluster.run(), name="cluster"))
                else:  # several processes go by the database's clock
                    chores.append(group.create_task(self.follower.run(), name="clock"))
                await stop.wait()
                self.pages.close()
                await _cancel([api])
                await _cancel(chains)
                self.dispatcher.stop()
                with suppress(TimeoutError):
                    async with asyncio.timeout(DRAIN_S):
                        await asyncio.wait([webhooks])
                await _cancel([webhooks, *chores])
        if isinstance(self.cluster, Together):
            await self.cluster.leases.leave()

    async def _lead(self, chain_id: int) -> None:
        """Do everything that is done once a chain."""
        async with asyncio.TaskGroup() as group:
            worker = self.workers[chain_id]
            group.create_task(Watchdog(worker, self.metrics).run(), name=f"watchdog {chain_id}")
            group.create_task(worker.second.run(), name=f"second reading {chain_id}")
            group.create_task(
                worker.adapter.follow_heads(worker.announced, self.metrics.sockets_of(chain_id)),
                name=f"push {chain_id}",
            )
            group.create_task(self.watchers[chain_id].run(), name=f"balances {chain_id}")
            if chain_id in self.notices:
                group.create_task(self.notices[chain_id].run(), name=f"coins {chain_id}")

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
    samples: SampleSender
    cluster: Alone | Together

    @property
    def on_events(self) -> Callable[[], None]:
        """What is called when there are events to send."""
        return self.dispatcher.wakeup.wake

    @property
    def locks(self) -> list[str]:
        """What is locked by whoever decides about intents of any chain."""
        return [chain_lock(chain_id) for chain_id in self.catalog.enabled]

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
        if isinstance(base.cluster, Alone):
            await follower.doubt()
        workers = await _open_workers(stack, base)
        base.cluster.workers = workers
        watchers, notices = _watchers(base, workers), _notices(base, workers)
        sampler = Sampler(workers, base.db, base.clock, base.cluster)
        registrations, redelivery = _registrations(base), _redelivery(base)
        services = _services(base, workers, watchers, registrations, redelivery)
        page_limiter = RateLimiter(PAGE_LIMITS, base.clock.elapsed_ms)
        await once_reachable(DATABASE, services.secrets.rotate_at_rest, base.clock.sleep)
        await once_reachable(DATABASE, redelivery.ensure_confirmed_events, base.clock.sleep)
        yield Daemon(
            http=settings.http,
            database=base.db,
            metrics=base.metrics,
            app=build_app(services, settings.http, base.metrics, page_limiter),
            workers=workers,
            registrations=registrations,
            probe=services.probe,
            follower=follower,
            pages=services.payments.live,
            redelivery=redelivery,
            dispatcher=base.dispatcher,
            watchers=watchers,
            notices=notices,
            sampler=sampler,
            wakeups=_wakeups(settings, workers, watchers, notices, sampler, redelivery),
            cluster=base.cluster,
            rates=_rates(base, [*services.limiters, page_limiter]),
            listening=asyncio.get_running_loop().create_future(),
        )


async def _open_base(stack: AsyncExitStack, settings: Settings, clock: Clock) -> _Base:
    catalog, metrics = load_catalog(settings), Metrics()
    db, cluster = await _open_store(stack, settings, catalog, clock)
    cipher = await _open_cipher(settings, db)
    guard = SsrfGuard(settings.webhooks.allowed_hosts, production=settings.webhooks.production)
    client = await stack.enter_async_context(open_sender(guard, timeout_s=settings.webhooks.timeout_s))
    dispatcher = WebhookDispatcher(
        db=db,
        client=client,
        schedule=RetrySchedule(settings.webhooks.retry_delays_s),
        clock=clock,
        metrics=metrics,
        open_secret=cipher.decrypt,
        lanes=cluster.leases if isinstance(cluster, Together) else None,
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
        samples=SampleSender(client, clock),
        cluster=cluster,
    )


def database_of(settings: Settings) -> PostgresSettings | None:
    """Return where the store is on PostgreSQL; None where it is a file."""
    store = settings.store
    if store.url is None:
        return None
    return PostgresSettings(
        url=store.url,
        schema=SCHEMA,
        setting=DATABASE,
        name=f"amn scanner {store.node_id}",
        idle_s=store.lease_s / 2,
    )


async def _open_store(
    stack: AsyncExitStack, settings: Settings, catalog: Catalog, clock: Clock
) -> tuple[Database, Alone | Together]:
    """Open the store, and take part in what shares it."""
    store, database = settings.store, database_of(settings)
    if database is None:
        stack.enter_context(exclusive_store_lock(store.path, service="scanner", setting="DB_PATH"))
        await asyncio.to_thread(migrate, store.path)
        db = await stack.enter_async_context(open_database(store.path))
        return db, Alone(db, clock, store.node_id, VERSION)
    await once_reachable(DATABASE, partial(migrate_postgresql, database), clock.sleep)
    shared = await stack.enter_async_context(open_postgresql(database))
    await once_reachable(DATABASE, partial(warn_of_replication, shared), clock.sleep)
    cluster = Together(
        shared, clock, node_id=store.node_id, version=VERSION, lease_s=store.lease_s, chains=catalog.enabled
    )
    await once_reachable(DATABASE, cluster.join, clock.sleep)
    return shared, cluster


def _rates(base: _Base, limiters: Sequence[RateLimiter]) -> SharedRates | None:
    if isinstance(base.cluster, Alone):
        return None
    return SharedRates(base.db, limiters, base.clock, base.cluster.leases.incarnation)


def _follower(base: _Base) -> ClockFollower:
    longest_s = RetrySchedule(base.settings.webhooks.retry_delays_s).longest_s
    return ClockFollower(base.clock, base.db, ScannerWaits(round(longest_s * 1000)), on_moved=base.on_events)


def _registrations(base: _Base) -> Registrations:
    return Registrations(
        base.db,
        base.clock,
        ttl_hours=base.settings.scan.intent_ttl_h,
        cipher=base.cipher,
        chain_time=base.cluster.chain_time,
        count_blind=base.cluster.count_blind if isinstance(base.cluster, Together) else None,
    )


def _redelivery(base: _Base) -> Redelivery:
    return Redelivery(
        base.db,
        base.clock,
        retry_hours=base.settings.webhooks.retry_hours,
        on_events=base.on_events,
        retention=Retention(
            base.cluster.housekeeping_database(),
            base.clock,
            base.metrics,
            base.settings.retention,
            chain_time=lambda: _newest_ms(base),
            locks=base.locks,
        ),
        leader=base.cluster.housekeeping_database(),
        locks=base.locks,
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
        samples=base.samples,
        cluster=base.cluster,
        public_url=base.settings.http.public_url,
    )


def _newest_ms(base: _Base) -> int | None:
    """Return the time of the newest block of any chain that is known."""
    times = []
    for chain_id, worker in base.cluster.workers.items():
        if base.cluster.leads(chain_id):
            times += [] if worker.health.head is None else [worker.health.head.time * 1000]
        else:
            known = base.cluster.chain_time(chain_id)
            times += [] if known is None else [known.ms]
    return max(times, default=None)


async def _open_cipher(settings: Settings, db: Database) -> SecretCipher:
    """Return what seals callback secrets, and name the key file that has to be kept."""
    store = settings.store.path
    if settings.store.url is not None:
        return SecretCipher(settings.sealing.every, setting="SCANNER_SECRET_KEY")
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
            db=base.cluster.database_of(chain_id),
            clock=base.clock,
            metrics=base.metrics,
            late_watch_ms=base.late_watch_ms,
            on_events=base.on_events,
            sweep_interval_s=base.settings.scan.sweep_interval_s,
        )
        condition = adapter.condition()
        labels = [endpoint.label for endpoint in condition.endpoints]
        base.metrics.begin(chain_id, worker.chain.chain_type, labels)
        base.metrics.begin_sockets(chain_id, [socket.label for socket in condition.sockets])
    return workers


async def _open_adapter(stack: AsyncExitStack, base: _Base, chain: Chain) -> ChainAdapter:
    try:
        return await stack.enter_async_context(
            open_adapter(
                chain,
                timeout_s=base.settings.scan.rpc_timeout_s,
                telemetry=ChainTelemetry(base.metrics, chain.chain_id),
                balance_batch=base.settings.balances.batch_size,
                access=access_of(base.settings, chain),
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
            db=base.cluster.database_of(chain_id),
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
            db=base.cluster.database_of(chain_id),
            clock=base.clock,
            metrics=base.metrics,
            late_watch_ms=base.late_watch_ms,
            on_events=base.on_events,
            chain_time=worker.chain_time,
        )
        for chain_id, worker in workers.items()
        if worker.adapter.reads_many_coins
    }


def access_of(settings: Settings, chain: Chain) -> Access:
    """Return the key and the rate a chain's service is asked with."""
    match chain.chain_type:
        case ChainType.EVM:
            return Access(sockets=settings.sockets.get(chain.rpc_env or "", ()))
        case ChainType.TRON:
            return Access(_plain(settings.tron_api_key), settings.tron_rps, second=settings.tron_solidity_urls)
        case ChainType.TON:
            return Access(_plain(settings.ton_api_key), settings.ton_rps, liteservers=settings.ton_liteservers)
        case _:
            assert_never(chain.chain_type)


def _plain(key: SecretStr | None) -> str | None:
    return None if key is None else key.get_secret_value()


def _wakeups(
    settings: Settings,
    workers: Mapping[int, ChainWorker],
    watchers: Mapping[int, BalanceWatcher],
    notices: Mapping[int, NativeDepositDetector],
    sampler: Sampler,
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
    chores = {"samples": (sampler.wakeup, SAMPLE_S), "housekeeping": (redelivery.wakeup, HOUSEKEEPING_S)}
    return {**polls, **ticks, **chores}
