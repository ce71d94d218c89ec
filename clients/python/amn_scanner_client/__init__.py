"""A typed client of the scanner's HTTP API and webhooks, for any backend: docs/client.md says how to copy it."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from protocol.answers import Balance, ChainStatus, CheckoutBlock, FullIntent, InspectedTransaction, Intent, Transfer
from protocol.events import BalanceEvent, EventTransfer, IntentEvent
from webhooks.signing import check_secret

from .client import ScannerClient
from .errors import (
    BrokenAnswer,
    Conflict,
    InvalidProof,
    InvalidWebhook,
    MalformedWebhook,
    NotFound,
    ScannerError,
    ScannerRefused,
    ScannerUnavailable,
)
from .webhooks import Event, read_event, verify_webhook

if TYPE_CHECKING:
    from .proofs import ProvenTransfer, verify_proof

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
    "InspectedTransaction",
    "Intent",
    "IntentEvent",
    "InvalidProof",
    "InvalidWebhook",
    "MalformedWebhook",
    "NotFound",
    "ProvenTransfer",
    "ScannerClient",
    "ScannerError",
    "ScannerRefused",
    "ScannerUnavailable",
    "Transfer",
    "check_secret",
    "read_event",
    "verify_proof",
    "verify_webhook",
]

_OF_PROOFS = ("ProvenTransfer", "verify_proof")


def __getattr__(name: str) -> Any:
    """Load what verifies proofs when it is asked for: it needs the libraries of the extra `proof`."""
    if name not in _OF_PROOFS:
        raise AttributeError(f"module {__name__} has no attribute {name}")
    try:
        from . import proofs  # noqa: PLC0415 - who verifies webhooks alone has none of those libraries
    except ModuleNotFoundError as exc:
        raise ImportError(f"{name} needs the extra: pip install 'amn-scanner-client[proof]'") from exc
    return getattr(proofs, name)
