"""The composition root: builds every part, hands each what it needs, starts and stops them in order."""

from __future__ import annotations

import asyncio
import importlib
import logging
import os
import socket
from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass
from functools import partial
from typing import Protocol, cast
from urllib.parse import urlsplit

import aiohttp
from aiohttp import web

from clients.python.amn_scanner_client import ScannerClient
from kernel.clock import Clock, SystemClock
from kernel.sealing.secret_cipher import SecretCipher
from kernel.store.clock_follower import ClockFollower
from kernel.store.leases import Leases
from kernel.store.lock import exclusive_store_lock
from kernel.store.postgresql import once_reachable, warn_of_replication
from kernel.web.connections import default_limits
from kernel.web.listener import listening
from kernel.web.rate_limiter import RateLimiter
from kernel.web.shared_rates import SharedRates
from marketplace import VERSION
from marketplace.catalog import Catalog, load_catalog
from marketplace.errors import ConfigError
from marketplace.goods.keys import GoodsSeal
from marketplace.goods.purchases import PurchasedGoods
from marketplace.goods.stock import Stock
from marketplace.goods.upkeep import GoodsUpkeep
from marketplace.health import HealthChecks
from marketplace.identity.accounts import Accounts
from marketplace.identity.admin_sessions import AdminSessions
from marketplace.identity.links import Links
from marketplace.identity.lockout import ACCOUNT, CODES, Lockout
from marketplace.identity.members import Members
from marketplace.identity.passwords import Passwords
from marketplace.identity.rate_limit import parse_limits
from marketplace.identity.second_factors import CodeCheck, SecondFactors
from marketplace.identity.standing import Standings
from marketplace.identity.tokens import AccessTokens
from marketplace.model import Channel, Provider
from marketplace.networks import Networks
from marketplace.notifications.alerts import BookWatch, WebhookWatch
from marketplace.notifications.announcer import Announcer
from marketplace.notifications.channels import Channels
from marketplace.notifications.courier import Courier, Sender
from marketplace.notifications.feed import Notifications
from marketplace.notifications.follower import NotificationFollower
from marketplace.notifications.mail import Mail
from marketplace.notifications.telegram import TELEGRAM, Telegram, TelegramLinks
from marketplace.payments.checkout import Checkout
from marketplace.payments.choice import ProviderChoice
from marketplace.payments.deposit_addresses import open_destinations, open_treasuries
from marketplace.payments.derived_addresses import DerivedAddresses
from marketplace.payments.expiry import Expiry
from marketplace.payments.fees import Fees
from marketplace.payments.history import PaymentHistory
from marketplace.payments.hosted.opening import open_hosted
from marketplace.payments.hosted.webhook_receiver import HostedWebhookReceiver
from marketplace.payments.options import PaymentOptions
from marketplace.payments.payout_addresses import PayoutAddresses
from marketplace.payments.payout_settlement import PayoutSettlements
from marketplace.payments.payouts import Payouts
from marketplace.payments.providers import Providers
from marketplace.payments.reconciliation import Reconciliation
from marketplace.payments.scanner_outbox import LONGEST_PAUSE_S, CommandDispatcher
from marketplace.payments.scanner_provider import Callback, ScannerProvider
from marketplace.payments.sweeps.builder import Sweeps
from marketplace.payments.verification import PaymentVerifier
from marketplace.payments.webhook_receiver import WebhookReceiver
from marketplace.pricing.opening import open_quoting
from marketplace.pricing.quoting import Quoting
from marketplace.retention import Retention
from marketplace.risk.contract_senders import ContractSenderCheck
from marketplace.risk.gate import NoList, RiskGate
from marketplace.risk.own_node import OwnNode
from marketplace.risk.proof_decision import ProofCheck
from marketplace.risk.screening import OfacScreener, from_path, from_url
from marketplace.risk.thresholds import Thresholds
from marketplace.scheduler import SWEEP, Scheduler
from marketplace.services import Services
from marketplace.settings import HttpSettings, Settings
from marketplace.shops.orders import Orders
from marketplace.shops.shops import Shops
from marketplace.store.database import Database, open_database, open_shared
from marketplace.store.migrate import migrate, migrate_postgresql, postgres_settings
from marketplace.store.sealing import open_sealing
from marketplace.store.waits import MarketplaceWaits
from marketplace.trade.dispute_deadlines import DisputeDeadlines
from marketplace.trade.dispute_messages import DisputeMessages
from marketplace.trade.disputes import Disputes
from marketplace.trade.fulfilment import Fulfilment
from marketplace.trade.negotiation import Negotiations
from marketplace.trade.offers import Offers
from marketplace.trade.requests import Requests
from marketplace.unit_of_work import UnitOfWorkFactory
from marketplace.web.app import build_app

log = logging.getLogger(__name__)

DATABASE = "MARKETPLACE_DATABASE_URL"
LEASE_S = 6.0
MAX_ACCOUNTS = 100_000  # tries of so many are counted at once


class Messenger(Protocol):
    """Something that runs for ever."""

    async def run(self) -> None:
        """Run."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Marketplace:
    """Everything that runs, built and not yet started."""

    http: HttpSettings
    services: Services
    app: web.Application
    callback: Callback
    commands: CommandDispatcher
    sweep: Scheduler
    follower: ClockFollower
    screener: OfacScreener | None
    clock: Clock
    messengers: Mapping[str, Messenger]  # who tells people elsewhere as well, by what they do
    sharing: Sharing | None  # where other processes use the same store
    listening: asyncio.Future[str]  # the base URL, once it listens

    async def run(self, stop: asyncio.Event) -> None:
        """
        Run until `stop` is set; then close the front door and let what is under way finish.

        Any task that ends by itself takes the process down: whoever supervises it starts it again.
        """
        async with asyncio.TaskGroup() as group:
            api = group.create_task(self._serve(), name="api")
            await asyncio.shield(self.listening)  # commands name the address we are reached at
            chores = [
                group.create_task(self.commands.run(), name="commands"),
                group.create_task(self.sweep.run(), name="sweep"),
                group.create_task(Announcer(self.services.units).run(), name="announcements"),
                *(group.create_task(each.run(), name=name) for name, each in self.messengers.items()),
            ]
            if self.sharing is None:
                chores.append(group.create_task(self.follower.run(), name="clock"))
            else:  # several processes go by the database's clock
                chores += [
                    group.create_task(self.sharing.leases.run(), name="leases"),
                    group.create_task(self.sharing.rates.run(), name="rate limits"),
                    group.create_task(self.sharing.news.run(), name="notifications"),
                ]
            if self.screener is not None:
                chores.append(group.create_task(self.screener.run(self.clock.sleep), name="sanctions list"))
            await stop.wait()
            self.services.units.subscribers.close()
            await _cancel([api])
            await _cancel(chores)
        if self.sharing is not None:
            await self.sharing.leases.leave()

    async def _serve(self) -> None:
        limits = default_limits(trusted_hops=self.http.trusted_hops)
        async with listening(self.app, host=self.http.host, port=self.http.port, limits=limits) as url:
            log.info("[api] listening on %s", url)
            self.callback.base = self.callback.base or url
            if not self.listening.done():
                self.listening.set_result(url)
            await asyncio.Event().wait()


async def _cancel(tasks: Sequence[asyncio.Task[None]]) -> None:
    for task in tasks:
        task.cancel()
    if tasks:
        await asyncio.wait(tasks)


@asynccontextmanager
async def open_marketplace(settings: Settings, *, clock: Clock | None = None) -> AsyncIterator[Marketplace]:
    """
    Build the backend from its settings; what was built is undone in reverse.

    Raises:
        ConfigError: an operator must change something.
        StoreError: the store cannot be used.
    """
    clock = clock or SystemClock()
    catalog = load_catalog(settings.chains_path, settings.tokens_path)
    async with AsyncExitStack() as stack:
        db, leases = await _open_store(stack, settings, clock)
        seal = partial(open_sealing, db, settings.db_path, settings.sealing)
        cipher = await once_reachable(DATABASE, seal, clock.sleep)
        goods = GoodsSeal(settings.goods)
        await once_reachable(DATABASE, partial(goods.open, db), clock.sleep)
        units = UnitOfWorkFactory(db, clock)
        session = await stack.enter_async_context(aiohttp.ClientSession())
        identity = _identity(settings, clock, units, stack.enter_context(Passwords()), cipher)
        parts = _build(settings, clock, catalog, units, session, identity, leases, goods)
        if leases is None:
            await parts.follower.doubt()
        await _first_admin(settings, parts.services.accounts, clock)
        yield parts


async def _first_admin(settings: Settings, accounts: Accounts, clock: Clock) -> None:
    """Let the first admin in, or say that nobody can come in."""
    if settings.admin_email is not None and settings.admin_password is not None:
        admin = partial(accounts.ensure_admin, settings.admin_email, settings.admin_password)
        await once_reachable(DATABASE, admin, clock.sleep)
    elif not await once_reachable(DATABASE, accounts.anybody, clock.sleep):
        log.warning(
            "[accounts] nobody has an account: set MARKETPLACE_ADMIN_EMAIL and MARKETPLACE_ADMIN_PASSWORD,"
            " and start again"
        )


async def _open_store(stack: AsyncExitStack, settings: Settings, clock: Clock) -> tuple[Database, Leases | None]:
    """Open the store, and take part in what shares it."""
    if settings.database_url is None:
        stack.enter_context(
            exclusive_store_lock(settings.db_path, service="marketplace", setting="MARKETPLACE_DB_PATH")
        )
        await asyncio.to_thread(migrate, settings.db_path)
        return await stack.enter_async_context(open_database(settings.db_path)), None
    node_id = f"{socket.gethostname()}:{os.getpid()}"
    database = postgres_settings(settings.database_url, node_id)
    await once_reachable(DATABASE, partial(migrate_postgresql, database), clock.sleep)
    shared = await stack.enter_async_context(open_shared(database))
    await once_reachable(DATABASE, partial(warn_of_replication, shared), clock.sleep)
    if settings.http.public_url is None:
        log.warning(
            "[marketplace] MARKETPLACE_PUBLIC_URL is not set: the scanner calls the process that registered a payment,"
            " and waits for it when it is gone"
        )
    leases = Leases(shared, clock, node_id=node_id, version=VERSION, lease_s=LEASE_S, names=(SWEEP, TELEGRAM))
    await once_reachable(DATABASE, leases.join, clock.sleep)
    return shared, leases


@dataclass(frozen=True, slots=True, kw_only=True)
class Sharing:
    """What keeps several processes on one store together."""

    leases: Leases
    rates: SharedRates
    news: NotificationFollower


@dataclass(frozen=True, slots=True, kw_only=True)
class _Identity:
    """Who people are, and how often they may try to be somebody."""

    tokens: AccessTokens
    standings: Standings
    accounts: Accounts
    members: Members
    links: Links
    second_factors: SecondFactors
    limiter: RateLimiter
    limiters: Sequence[RateLimiter]


@dataclass(frozen=True, slots=True, kw_only=True)
class _PaymentParts:
    """What talks to the scanner, and what judges and pays out what it tells."""

    session: aiohttp.ClientSession
    scanner: ScannerClient
    quoting: Quoting
    screener: OfacScreener | None
    callback: Callback
    commands: CommandDispatcher
    verifier: PaymentVerifier
    providers: Providers
    choice: ProviderChoice
    hosted_webhooks: HostedWebhookReceiver
    expiry: Expiry
    payouts: Payouts
    payout_settlements: PayoutSettlements
    webhook_receiver: WebhookReceiver


def _identity(
    settings: Settings, clock: Clock, units: UnitOfWorkFactory, passwords: Passwords, cipher: SecretCipher
) -> _Identity:
    pepper = settings.jwt_secret.get_secret_value()
    limiters = _limiters(settings, clock)
    lockout = Lockout(limiters[1], pepper)
    check = CodeCheck(cipher, lockout)
    tokens, standings = AccessTokens(pepper, clock.now_ms), Standings(units)
    accounts = Accounts(units, passwords, tokens, standings, lockout, check)
    members = Members(units, standings)
    return _Identity(
        tokens=tokens,
        standings=standings,
        accounts=accounts,
        members=members,
        links=Links(units, accounts, members, passwords, registration=settings.registration),
        second_factors=SecondFactors(units, accounts, members, cipher, check, required=settings.second_factor),
        limiter=limiters[0],
        limiters=limiters,
    )


def _build(
    settings: Settings,
    clock: Clock,
    catalog: Catalog,
    units: UnitOfWorkFactory,
    session: aiohttp.ClientSession,
    identity: _Identity,
    leases: Leases | None,
    goods: GoodsSeal,
) -> Marketplace:
    parts = _payment_parts(settings, clock, catalog, units, session)
    news = NotificationFollower(units)
    services = _services(settings, clock, catalog, units, identity, parts, news, goods)
    return Marketplace(
        http=settings.http,
        services=services,
        app=build_app(services, settings.http),
        callback=parts.callback,
        commands=parts.commands,
        sweep=Scheduler(
            units,
            parts.expiry,
            parts.payouts,
            parts.payout_settlements,
            Retention(units, settings.keeping),
            parts.webhook_receiver,
            parts.hosted_webhooks,
            GoodsUpkeep(units, goods),
            services.dispute_deadlines,
            every_s=settings.sweep_s,
            books=BookWatch(units, services.reconciliation),
            webhooks=WebhookWatch(units, parts.scanner),
            leases=leases,
        ),
        follower=ClockFollower(clock, units.db, MarketplaceWaits(LONGEST_PAUSE_S * 1000)),
        screener=parts.screener,
        messengers=_messengers(settings, units, session, leases),
        clock=clock,
        sharing=None
        if leases is None
        else Sharing(
            leases=leases, rates=SharedRates(units.db, identity.limiters, clock, leases.incarnation), news=news
        ),
        listening=asyncio.get_running_loop().create_future(),
    )


def _messengers(
    settings: Settings, units: UnitOfWorkFactory, session: aiohttp.ClientSession, leases: Leases | None
) -> Mapping[str, Messenger]:
    """Return who tells people elsewhere as well; nobody where nothing is configured."""
    channels, found = settings.channels, dict[str, Messenger]()
    senders: dict[Channel, Sender] = {}
    if channels.telegram_token is not None:
        telegram = Telegram(session, channels.telegram_token, channels.telegram_url)
        senders[Channel.TELEGRAM] = telegram
        found["telegram"] = TelegramLinks(units, telegram, leases)
    if channels.mail_server is not None and channels.mail_from is not None:
        senders[Channel.EMAIL] = Mail(channels.mail_server, channels.mail_from)
    if senders:
        found["messages"] = Courier(units, senders)
    return found


def _payment_parts(
    settings: Settings, clock: Clock, catalog: Catalog, units: UnitOfWorkFactory, session: aiohttp.ClientSession
) -> _PaymentParts:
    money, secret = settings.money, settings.scanner.webhook_secret
    scanner = _scanner(settings, session)
    screener = _screener(settings, clock, session)
    gate = RiskGate(
        catalog,
        screener or NoList(),
        ContractSenderCheck(session, money.rpc_urls),
        require_eoa_sender=money.require_eoa_sender,
        proofs=_proofs(scanner, OwnNode(session, money.rpc_urls)) if money.require_proof else None,
    )
    callback = Callback(settings.http.public_url, secret)
    by_scanner = ScannerProvider(units, scanner, catalog, callback)
    hosted = open_hosted(settings.hosted, units, session, scanner, catalog, callback, money.escrow_addresses)
    providers = Providers({Provider.SCANNER: by_scanner, **hosted})
    commands = CommandDispatcher(units, providers)
    verifier = PaymentVerifier(units, providers, gate, commands)
    return _PaymentParts(
        session=session,
        scanner=scanner,
        quoting=open_quoting(catalog, settings.oracle, money.rpc_urls, session, clock),
        screener=screener,
        callback=callback,
        commands=commands,
        verifier=verifier,
        providers=providers,
        choice=ProviderChoice(hosted),
        hosted_webhooks=HostedWebhookReceiver(units, hosted, verifier),
        expiry=Expiry(units, providers, verifier),
        payouts=Payouts(units, catalog, money.escrow_addresses, grace_h=money.release_grace_h),
        payout_settlements=PayoutSettlements(units, catalog, scanner),
        webhook_receiver=WebhookReceiver(units, catalog, verifier, by_scanner),
    )


def _proofs(scanner: ScannerClient, node: OwnNode) -> ProofCheck:
    """Return what proves payments; its libraries are loaded for nobody else."""
    module = importlib.import_module("marketplace.risk.payment_proofs")
    return cast("ProofCheck", module.PaymentProofs(scanner, node))


def _services(
    settings: Settings,
    clock: Clock,
    catalog: Catalog,
    units: UnitOfWorkFactory,
    identity: _Identity,
    parts: _PaymentParts,
    news: NotificationFollower,
    goods: GoodsSeal,
) -> Services:
    money, pepper = settings.money, settings.jwt_secret.get_secret_value()
    reconciliation = Reconciliation(units)
    fees = Fees(units, platform_bps=money.platform_fee_bps)
    destinations = open_destinations(catalog, money)
    networks = Networks(parts.scanner, catalog, clock)
    offers = Offers(units, fees, parts.quoting)
    checkout = Checkout(
        units,
        catalog,
        destinations,
        parts.commands,
        parts.choice,
        parts.quoting,
        parts.expiry,
        ttl_h=money.payment_ttl_h,
    )
    return Services(
        units=units,
        tokens=identity.tokens,
        limiter=identity.limiter,
        trusted_hops=settings.http.trusted_hops,
        catalog=catalog,
        accounts=identity.accounts,
        standings=identity.standings,
        second_factors=identity.second_factors,
        members=identity.members,
        links=identity.links,
        admin_sessions=AdminSessions(units, identity.accounts),
        requests=Requests(units),
        offers=offers,
        negotiations=Negotiations(units, fees, parts.quoting),
        fees=fees,
        notifications=Notifications(units, news),
        channels=Channels(units),
        checkout=checkout,
        shops=Shops(units, parts.quoting),
        orders=Orders(units, offers, checkout),
        networks=networks,
        payment_options=PaymentOptions(
            units,
            catalog,
            destinations,
            networks,
            parts.choice,
            parts.quoting,
            own_nodes=settings.money.rpc_urls if settings.money.require_proof else None,
        ),
        payments=PaymentHistory(units, parts.providers),
        verifier=parts.verifier,
        webhook_receiver=parts.webhook_receiver,
        hosted_webhooks=parts.hosted_webhooks,
        payouts=parts.payouts,
        payout_settlements=parts.payout_settlements,
        payout_addresses=PayoutAddresses(units, catalog, domain=_domain(settings)),
        derived_addresses=DerivedAddresses(units, catalog, destinations, parts.scanner),
        sweeps=Sweeps(
            units,
            catalog,
            destinations,
            parts.session,
            rpc_urls=money.rpc_urls,
            treasuries=open_treasuries(catalog, money),
        ),
        fulfilment=Fulfilment(units, pepper=pepper),
        disputes=Disputes(units, deadline_h=money.dispute_deadline_h),
        dispute_messages=DisputeMessages(units),
        dispute_deadlines=DisputeDeadlines(units),
        stock=Stock(units, goods),
        purchased_goods=PurchasedGoods(units, goods),
        thresholds=Thresholds(units, catalog),
        reconciliation=reconciliation,
        health=_health(settings, catalog, units, parts, reconciliation),
    )


def _health(
    settings: Settings,
    catalog: Catalog,
    units: UnitOfWorkFactory,
    parts: _PaymentParts,
    reconciliation: Reconciliation,
) -> HealthChecks:
    return HealthChecks(
        units,
        parts.scanner,
        catalog,
        reconciliation,
        quoting=parts.quoting,
        screener=parts.screener,
        verifies_webhooks=settings.scanner.webhook_secret is not None,
    )


def _scanner(settings: Settings, session: aiohttp.ClientSession) -> ScannerClient:
    key = settings.scanner.api_key
    return ScannerClient(
        settings.scanner.url,
        None if key is None else key.get_secret_value(),
        session,
        timeout_s=settings.scanner.timeout_s,
        retry_delays=(),  # the outbox and the sweep come again; a buyer who waits is told at once
    )


def _screener(settings: Settings, clock: Clock, session: aiohttp.ClientSession) -> OfacScreener | None:
    if settings.money.ofac_path is not None:
        return OfacScreener(from_path(settings.money.ofac_path), clock.now_ms)
    if settings.money.ofac_url is not None:
        return OfacScreener(from_url(session, settings.money.ofac_url, clock.now_ms), clock.now_ms)
    return None


def _domain(settings: Settings) -> str:
    """Return whom a wallet is asked to prove something to."""
    return urlsplit(settings.http.public_url or "").hostname or "localhost"


def _limiters(settings: Settings, clock: Clock) -> tuple[RateLimiter, RateLimiter]:
    """Return what counts addresses, and what counts accounts: many addresses do not push accounts out of memory."""
    try:
        limits = parse_limits(settings.http.rate_limits)
    except ValueError as exc:
        raise ConfigError(f"MARKETPLACE_RATE_LIMITS: {exc}") from exc
    of_accounts = {name: limit for name, limit in limits.items() if name in (ACCOUNT, CODES)}
    of_addresses = {name: limit for name, limit in limits.items() if name not in of_accounts}
    return (
        RateLimiter(of_addresses, clock.elapsed_ms),
        RateLimiter(of_accounts, clock.elapsed_ms, max_clients=MAX_ACCOUNTS),
    )
