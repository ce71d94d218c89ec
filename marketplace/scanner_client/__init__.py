"""A typed client of the scanner's HTTP API and webhooks, for any backend: docs/client.md says how to copy it."""

from __future__ import annotations

from marketplace.scanner_client.client import ScannerClient
from marketplace.scanner_client.errors import (
    BrokenAnswer,
    Conflict,
    InvalidWebhook,
    MalformedWebhook,
    NotFound,
    ScannerError,
    ScannerRefused,
    ScannerUnavailable,
)
from marketplace.scanner_client.facts import (
    Balance,
    ChainStatus,
    CheckoutBlock,
    Intent,
    IntentTransfer,
    KnownToken,
    Page,
    Readiness,
    Recheck,
    RecheckedTransfer,
    Registered,
    Unmatched,
    Watch,
)
from marketplace.scanner_client.webhooks import (
    BalanceEvent,
    Event,
    EventTransfer,
    IntentEvent,
    read_event,
    verify_webhook,
)

__all__ = [
    "Balance",
    "BalanceEvent",
    "BrokenAnswer",
    "ChainStatus",
    "CheckoutBlock",
    "Conflict",
    "Event",
    "EventTransfer",
    "Intent",
    "IntentEvent",
    "IntentTransfer",
    "InvalidWebhook",
    "KnownToken",
    "MalformedWebhook",
    "NotFound",
    "Page",
    "Readiness",
    "Recheck",
    "RecheckedTransfer",
    "Registered",
    "ScannerClient",
    "ScannerError",
    "ScannerRefused",
    "ScannerUnavailable",
    "Unmatched",
    "Watch",
    "read_event",
    "verify_webhook",
]
