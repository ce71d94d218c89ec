"""What the scanner says: amounts are integers in base units, times aware datetimes."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any

from marketplace.scanner_client.reading import Units


@dataclass(frozen=True, slots=True, kw_only=True)
class CheckoutBlock:
    """What a wallet needs to pay."""

    destination: str
    token_address: str
    token_symbol: str | None
    decimals: int | None
    chain_id: int
    proxy_address: str | None
    payment_reference: str
    fee_amount: Units
    fee_address: str
    amount_wei: Units
    payment_uri: str | None
    calldata: str | None


@dataclass(frozen=True, slots=True, kw_only=True)
class Registered:
    """The answer to a new intent, and to the same one again."""

    intent_id: str
    payment_reference: str
    checkout_block: CheckoutBlock
    status: str
    expires_at: datetime | None
    body: Mapping[str, Any] = field(repr=False)


@dataclass(frozen=True, slots=True, kw_only=True)
class IntentTransfer:
    """One transfer that concerns an intent; `reason` says why it settled nothing. Native coin has no `tx_hash`."""

    tx_hash: str | None
    event_key: str
    block_number: int
    block_hash: str | None
    token: str
    sender: str | None
    destination: str
    amount: Units
    counted: bool
    settled: bool
    reason: str | None
    seen_at: datetime
    count: int = 1  # of several that can never count, `amount` is the sum


@dataclass(frozen=True, slots=True, kw_only=True)
class Intent:
    """A payment the scanner waits for."""

    intent_id: str
    chain_id: int
    chain_type: str
    rail: str
    token_address: str
    token_symbol: str | None
    decimals: int | None
    destination: str
    amount: Units
    amount_received: Units
    payment_reference: str
    status: str  # pending, confirming, confirmed, webhook_failed, expired
    callback_url: str
    confirmations_required: int
    tx_hash: str | None
    log_index: int | None
    block_number: int | None
    block_hash: str | None
    confirmations: int
    sender: str | None
    webhook_delivered_at: datetime | None
    confirmed_at: datetime | None
    cancelled_at: datetime | None
    expires_at: datetime | None
    created_at: datetime
    updated_at: datetime
    transfers: tuple[IntentTransfer, ...] = ()  # the newest; empty in lists: `transfers()` has them all
    transfer_count: int | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class RecheckedTransfer:
    """What a recheck saw."""

    tx_hash: str | None
    event_key: str
    block_number: int
    amount: Units
    counts: bool
    reason: str | None


@dataclass(frozen=True, slots=True, kw_only=True)
class Recheck:
    """The answer to a recheck; `missing` in base units."""

    intent: Intent
    seen: tuple[RecheckedTransfer, ...]
    settled: bool
    missing: Units


@dataclass(frozen=True, slots=True, kw_only=True)
class Balance:
    """A balance as it was read; `token_address` None is the chain's own coin."""

    chain_id: int
    chain_type: str
    address: str
    token_address: str | None
    token_symbol: str | None
    decimals: int | None
    balance: Units
    block_number: int
    checked_at: datetime


@dataclass(frozen=True, slots=True, kw_only=True)
class Watch:
    """A balance the scanner looks at on a schedule."""

    watch_id: str
    chain_id: int
    chain_type: str
    token_address: str | None
    token_symbol: str | None
    decimals: int | None
    address: str
    baseline_balance: Units | None
    current_balance: Units | None
    status: str  # watching, stopped, expired
    callback_url: str
    last_checked_at: datetime | None
    next_check_at: datetime | None
    change_count: int
    last_notified_at: datetime | None
    expires_at: datetime
    created_at: datetime
    updated_at: datetime


@dataclass(frozen=True, slots=True, kw_only=True)
class Unmatched:
    """A transfer that settled nothing; of an overpayment `amount` is the part that did not."""

    chain_id: int
    tx_hash: str
    event_key: str
    block_number: int
    token: str
    sender: str | None
    destination: str
    amount: Units
    transfer_amount: Units
    intent_id: str | None
    reason: str
    seen_at: datetime


@dataclass(frozen=True, slots=True, kw_only=True)
class Page:
    """Part of a list; `next_cursor` None on the last one."""

    rows: tuple[Any, ...]
    next_cursor: str | None


@dataclass(frozen=True, slots=True, kw_only=True)
class KnownToken:
    """A token of the scanner's registry."""

    address: str
    symbol: str
    decimals: int


@dataclass(frozen=True, slots=True, kw_only=True)
class ChainStatus:
    """How a chain is doing."""

    chain_id: int
    name: str
    chain_type: str
    state: str
    last_scanned_block: int | None
    chain_head: int | None
    pending_intents: int
    active_balance_watches: int
    last_error: str | None
    last_success_at: datetime | None
    problems: tuple[str, ...]
    undelivered_webhooks: int
    tokens: tuple[KnownToken, ...] | None = None  # None from a scanner that does not tell


@dataclass(frozen=True, slots=True, kw_only=True)
class Readiness:
    """Whether the scanner is doing its work, and what keeps it from it."""

    ready: bool
    reasons: tuple[str, ...]
