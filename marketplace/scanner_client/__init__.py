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
from marketplace.scanner_client.webhooks import Event, read_event, verify_webhook
from protocol.answers import Balance, ChainStatus, CheckoutBlock, FullIntent, Intent, Transfer
from protocol.events import BalanceEvent, EventTransfer, IntentEvent

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
    "read_event",
    "verify_webhook",
]
