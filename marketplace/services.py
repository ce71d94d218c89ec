"""Every use case the front door can ask for, in one place."""

from __future__ import annotations

from dataclasses import dataclass

from marketplace.health import HealthChecks
from marketplace.identity.accounts import Accounts
from marketplace.identity.rate_limit import RateLimiter
from marketplace.identity.tokens import AccessTokens
from marketplace.notifications.notifications import Notices
from marketplace.payments.checkout import Intents
from marketplace.payments.history import Payments
from marketplace.payments.payouts import Custody
from marketplace.payments.reconciliation import Reconciliation
from marketplace.payments.verification import Checks
from marketplace.payments.webhook_receiver import Inbound
from marketplace.risk.thresholds import Thresholds
from marketplace.trade.disputes import Disputes
from marketplace.trade.fulfilment import Deliveries
from marketplace.trade.negotiation import Negotiations
from marketplace.trade.offers import Offers
from marketplace.trade.requests import Requests
from marketplace.unit_of_work import Works


@dataclass(frozen=True, slots=True, kw_only=True)
class Backend:
    """What handlers call."""

    works: Works
    tokens: AccessTokens
    limiter: RateLimiter
    trusted_hops: int
    accounts: Accounts
    requests: Requests
    offers: Offers
    negotiations: Negotiations
    notices: Notices
    intents: Intents
    payments: Payments
    checks: Checks
    inbound: Inbound
    custody: Custody
    deliveries: Deliveries
    disputes: Disputes
    thresholds: Thresholds
    reconciliation: Reconciliation
    health: HealthChecks
