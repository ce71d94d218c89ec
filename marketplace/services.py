"""Every use case the front door can ask for, in one place."""

from __future__ import annotations

from dataclasses import dataclass

from kernel.web.rate_limiter import RateLimiter
from marketplace.catalog import Catalog
from marketplace.goods.purchases import PurchasedGoods
from marketplace.goods.stock import Stock
from marketplace.health import HealthChecks
from marketplace.identity.accounts import Accounts
from marketplace.identity.admin_sessions import AdminSessions
from marketplace.identity.links import Links
from marketplace.identity.members import Members
from marketplace.identity.second_factors import SecondFactors
from marketplace.identity.standing import Standings
from marketplace.identity.tokens import AccessTokens
from marketplace.networks import Networks
from marketplace.notifications.channels import Channels
from marketplace.notifications.feed import Notifications
from marketplace.payments.checkout import Checkout
from marketplace.payments.derived_addresses import DerivedAddresses
from marketplace.payments.fees import Fees
from marketplace.payments.history import PaymentHistory
from marketplace.payments.hosted.webhook_receiver import HostedWebhookReceiver
from marketplace.payments.options import PaymentOptions
from marketplace.payments.payout_addresses import PayoutAddresses
from marketplace.payments.payout_settlement import PayoutSettlements
from marketplace.payments.payouts import Payouts
from marketplace.payments.reconciliation import Reconciliation
from marketplace.payments.sweeps.builder import Sweeps
from marketplace.payments.verification import PaymentVerifier
from marketplace.payments.webhook_receiver import WebhookReceiver
from marketplace.risk.thresholds import Thresholds
from marketplace.shops.orders import Orders
from marketplace.shops.shops import Shops
from marketplace.trade.dispute_deadlines import DisputeDeadlines
from marketplace.trade.dispute_messages import DisputeMessages
from marketplace.trade.disputes import Disputes
from marketplace.trade.fulfilment import Fulfilment
from marketplace.trade.negotiation import Negotiations
from marketplace.trade.offers import Offers
from marketplace.trade.requests import Requests
from marketplace.unit_of_work import UnitOfWorkFactory


@dataclass(frozen=True, slots=True, kw_only=True)
class Services:
    """What handlers call."""

    units: UnitOfWorkFactory
    tokens: AccessTokens
    limiter: RateLimiter
    trusted_hops: int
    catalog: Catalog
    accounts: Accounts
    standings: Standings
    second_factors: SecondFactors
    members: Members
    links: Links
    admin_sessions: AdminSessions
    requests: Requests
    offers: Offers
    negotiations: Negotiations
    fees: Fees
    notifications: Notifications
    channels: Channels
    checkout: Checkout
    networks: Networks
    payment_options: PaymentOptions
    payments: PaymentHistory
    verifier: PaymentVerifier
    webhook_receiver: WebhookReceiver
    hosted_webhooks: HostedWebhookReceiver
    payouts: Payouts
    payout_settlements: PayoutSettlements
    payout_addresses: PayoutAddresses
    derived_addresses: DerivedAddresses
    sweeps: Sweeps
    fulfilment: Fulfilment
    disputes: Disputes
    shops: Shops
    orders: Orders
    dispute_messages: DisputeMessages
    dispute_deadlines: DisputeDeadlines
    stock: Stock
    purchased_goods: PurchasedGoods
    thresholds: Thresholds
    reconciliation: Reconciliation
    health: HealthChecks
