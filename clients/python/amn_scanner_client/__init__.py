"""A typed client of the scanner's HTTP API and webhooks, for any backend: docs/client.md says how to copy it."""

from __future__ import annotations

from protocol.answers import Balance, ChainStatus, CheckoutBlock, FullIntent, Intent, Transfer
from protocol.events import BalanceEvent, EventTransfer, IntentEvent
from webhooks.signing import check_secret

from .client import ScannerClient
from .errors import (
    BrokenAnswer,
    Conflict,
    InvalidWebhook,
    MalformedWebhook,
    NotFound,
    ScannerError,
    ScannerRefused,
    ScannerUnavailable,
)
from .webhooks import Event, read_event, verify_webhook

__all__ = [
    "Balance",
    "BalanceEvent",
    "BrokenAnswer",
    "ChainStatus",
    "CheckoutBlock",
    "Conflict",
    "Event",
    "EventTransfer",
    "FullIntent",
    "Intent",
    "IntentEvent",
    "InvalidWebhook",
    "MalformedWebhook",
    "NotFound",
    "ScannerClient",
    "ScannerError",
    "ScannerRefused",
    "ScannerUnavailable",
    "Transfer",
    "check_secret",
    "read_event",
    "verify_webhook",
]
