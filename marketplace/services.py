"""Every use case the front door can ask for, in one place."""

from __future__ import annotations

from dataclasses import dataclass

from marketplace.accounts import Accounts
from marketplace.checks import Checks
from marketplace.custody import Custody
from marketplace.deliveries import Deliveries
from marketplace.disputes import Disputes
from marketplace.health import HealthChecks
from marketplace.inbound import Inbound
from marketplace.intents import Intents
from marketplace.negotiation import Negotiations
from marketplace.notices import Notices
from marketplace.offers import Offers
from marketplace.payments import Payments
from marketplace.rate_limit import RateLimiter
from marketplace.reconciliation import Reconciliation
from marketplace.requests import Requests
from marketplace.thresholds import Thresholds
from marketplace.tokens import AccessTokens
from marketplace.work import Works


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
