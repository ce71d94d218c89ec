"""What the scanner answers, one struct a JSON object (docs/api.md). The order of fields is that of the answer."""

from __future__ import annotations

from typing import Annotated, TypeAlias

from msgspec import Meta

from protocol import words
from protocol.wire import Moment, Units, Wire, one_of

# Text of a known set of words.
ChainType: TypeAlias = Annotated[str, one_of(words.ChainType)]
Rail: TypeAlias = Annotated[str, one_of(words.Rail)]
IntentStatus: TypeAlias = Annotated[str, one_of(words.IntentStatus)]
PaymentState: TypeAlias = Annotated[str, one_of(words.PaymentState)]
Reason: TypeAlias = Annotated[str, one_of(words.Reason)]
EventType: TypeAlias = Annotated[str, one_of(words.EventType)]
DeliveryStatus: TypeAlias = Annotated[str, one_of(words.DeliveryStatus)]
WatchStatus: TypeAlias = Annotated[str, one_of(words.WatchStatus)]
ChainState: TypeAlias = Annotated[str, one_of(words.ChainState)]
EndpointState: TypeAlias = Annotated[str, one_of(words.EndpointState)]
SocketState: TypeAlias = Annotated[str, one_of(words.SocketState)]
Count: TypeAlias = Annotated[int, Meta(ge=1)]

# -- intents -------------------------------------------------------------------------------------------


class CheckoutBlock(Wire):
    """What a wallet needs to pay."""

    destination: str
    token_address: str
    token_symbol: str | None
    decimals: int | None
    chain_id: int
    proxy_address: str | None
    payment_reference: Annotated[str, Meta(pattern="^0x[0-9a-f]{16}$")]
    fee_amount: Units
    fee_address: str
    amount_wei: Units
    payment_uri: str | None
    calldata: str | None


class RailWarning(Wire):
    """What the chain's endpoints cannot see of the intent's rail."""

    code: str
    message: str


class CreatedIntent(Wire):
    """A registered intent."""

    intent_id: str
    payment_reference: str
    checkout_block: CheckoutBlock
    status: IntentStatus
    expires_at: Moment | None
    warnings: tuple[RailWarning, ...]
    payment_url: str | None


class Intent(Wire):
    """One intent. Amounts are base-unit integer strings, times RFC 3339 UTC."""

    intent_id: str
    chain_id: int
    chain_type: ChainType
    rail: Rail
    token_address: str
    token_symbol: str | None
    decimals: int | None
    destination: str
    amount: Units
    amount_received: Units
    fee_amount: Units
    fee_address: str
    payment_reference: str
    status: IntentStatus
    callback_url: str
    events: tuple[EventType, ...]
    confirmations_required: int
    tx_hash: str | None
    log_index: int | None
    block_number: int | None
    block_hash: str | None
    confirmations: int
    sender: str | None
    webhook_delivered_at: Moment | None
    confirmed_at: Moment | None
    cancelled_at: Moment | None
    expires_at: Moment | None
    created_at: Moment
    updated_at: Moment


class Transfer(Wire):
    """One transfer that named an intent; or `count` worthless ones of one transaction, `amount` being their sum."""

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
    reason: Reason | None
    count: Count
    seen_at: Moment


class TransferPage(Wire):
    """A page of an intent's transfers, rejected ones included, oldest first."""

    transfers: tuple[Transfer, ...]
    next_cursor: str | None


class ProofTransfer(Wire):
    """What shows by hashes alone that a token moved: all in hex, and how a client checks it is in docs/client.md."""

    tx_hash: str
    block_number: int
    block_hash: str
    header: str
    transaction_index: int
    receipt: str
    nodes: tuple[str, ...]
    log_position: int


class Proof(Wire):
    """Proofs of all transfers that count for an intent."""

    chain_id: int
    intent_id: str
    transfers: tuple[ProofTransfer, ...]


class OneProof(Wire):
    """The proof of an intent's payment."""

    proof: Proof


class Attempt(Wire):
    """One delivery attempt."""

    at: Moment
    ok: bool
    status: int | None
    latency_ms: int
    response: str
    error: str | None


class Delivery(Wire):
    """One webhook event and its attempts."""

    event_id: str
    event_type: EventType
    status: DeliveryStatus
    round: int
    next_attempt_at: Moment | None
    delivered_at: Moment | None
    created_at: Moment
    attempts: tuple[Attempt, ...]


class FullIntent(Intent):
    """An intent with its 20 newest transfers and deliveries, and how many there are."""

    transfers: tuple[Transfer, ...]
    transfer_count: int
    delivery_count: int
    deliveries: tuple[Delivery, ...]


class OneIntent(Wire):
    """An intent with its transfers and deliveries."""

    intent: FullIntent


class ChangedIntent(Wire):
    """An intent after a change."""

    intent: Intent


class IntentPage(Wire):
    """A page of intents."""

    intents: tuple[Intent, ...]
    next_cursor: str | None


class RecheckedTransfer(Wire):
    """What a recheck saw, and why it does or does not count."""

    tx_hash: str | None
    event_key: str
    block_number: int
    amount: Units
    counts: bool
    reason: Reason | None


class Rechecked(Wire):
    """The answer to a recheck."""

    intent: FullIntent
    seen: tuple[RecheckedTransfer, ...]
    settled: bool
    missing: Units


class InspectedTransfer(Wire):
    """One movement of a token, as the token itself reports it; `eventKey` tells it from others of its transaction."""

    event_key: str
    token: str
    sender: str
    destination: str
    amount: Units


class InspectedTransaction(Wire):
    """
    What a transaction did; null is not known, or there is none.

    `depth` is null where positions are no blocks. While `final` is false it may still change, or be taken back.
    """

    chain_id: int
    tx_hash: str
    found: bool
    success: bool | None
    block_number: int | None
    block_hash: str | None
    block_time: Moment | None
    depth: int | None
    final: bool
    transfers: Annotated[tuple[InspectedTransfer, ...], Meta(max_length=5000)]


class Handled(Wire):
    """Somebody saw to it: what was done, the slot of the API key (`1`, `2`) or the name of the session, and when."""

    note: str
    by: str
    at: Moment


class LookedAt(Wire):
    """What looking at the chain for a payment has shown its buyer, and a sentence that says so."""

    state: PaymentState
    found: bool
    counts: bool
    reason: Reason | None
    missing: Units
    message: str


class UnmatchedTransfer(Wire):
    """
    A transfer, or the surplus of one, that settled nothing; or `count` of them as one.

    Of several `amount` is the sum of those of `token`, `txHash`, `eventKey` and `blockNumber` are of the first, and
    `lastTxHash` and `lastBlockNumber` of the newest.
    """

    id: str
    chain_id: int
    tx_hash: str | None
    event_key: str
    block_number: int
    count: Count
    last_tx_hash: str | None
    last_block_number: int
    token: str
    sender: str | None
    destination: str
    amount: Units
    transfer_amount: Units
    intent_id: str | None
    reason: Reason
    seen_at: Moment
    handled: Handled | None


class OneUnmatched(Wire):
    """A row of the unmatched."""

    unmatched: UnmatchedTransfer


class UnmatchedPage(Wire):
    """A page of unmatched transfers."""

    unmatched: tuple[UnmatchedTransfer, ...]
    next_cursor: str | None


class StatsPoint(Wire):
    """How a chain was doing for a minute, or several as one; null: not known, or nobody paid."""

    at: Moment
    head: int | None
    lag_seconds: int | None
    detection_seconds: float | None


class Stats(Wire):
    """The last hours of a chain, the oldest first."""

    chain_id: int
    points: Annotated[tuple[StatsPoint, ...], Meta(max_length=1441)]


# -- webhooks ------------------------------------------------------------------------------------------


class Webhook(Wire):
    """One event that is told to a receiver (`host:port`); `attempts` in all rounds, as far as they are kept."""

    event_id: str
    event_type: EventType
    subject_kind: str
    subject_id: str
    receiver: str
    status: DeliveryStatus
    attempts: int
    next_attempt_at: Moment | None
    created_at: Moment
    delivered_at: Moment | None


class WebhookPage(Wire):
    """A page of webhooks in the order they were queued; one that holds few is not the last while there is a cursor."""

    webhooks: tuple[Webhook, ...]
    next_cursor: str | None


class FullWebhook(Webhook):
    """A webhook with its body as it is sent, and its 100 newest tries, the oldest of them first."""

    body: str
    tries: Annotated[tuple[Attempt, ...], Meta(max_length=100)]


class OneWebhook(Wire):
    """A webhook with its body and tries."""

    webhook: FullWebhook


class TestedWebhook(Wire):
    """What a receiver answered to a test event; `status` null: it did not answer."""

    event_id: str
    status: int | None
    latency_ms: int
    response: str
    error: str | None


# -- chains --------------------------------------------------------------------------------------------


class LearntLimits(Wire):
    """The most an endpoint takes in one question; null: not learnt."""

    batch: int | None
    blocks: int | None
    topics: int | None
    addresses: int | None
    owners: int | None
    addressless_logs: bool | None


class Endpoint(Wire):
    """How one endpoint of a chain is doing."""

    label: str
    state: EndpointState
    head: int | None
    head_time: Moment | None
    latency_ms: int | None
    last_error: str | None
    limits: LearntLimits


class Socket(Wire):
    """How one socket for new heads is doing; it is no more than a hint when to ask the endpoints."""

    label: str
    state: SocketState
    head: int | None
    last_error: str | None


class StuckTransfer(Wire):
    """A transfer that is deep enough and cannot be judged."""

    tx_hash: str
    since: Moment
    why: str


class Sweep(Wire):
    """Up to when what came late was looked for, and when."""

    covered_to: Moment | None
    at: Moment | None


class Token(Wire):
    """A token of the registry."""

    address: str
    symbol: str
    decimals: int


class ChainStatus(Wire):
    """One chain's condition; `lag` in blocks (EVM), milliseconds (Tron) or seconds (TON)."""

    chain_id: int
    name: str
    chain_type: ChainType
    state: ChainState
    last_scanned_block: int | None
    chain_head: int | None
    finalized_head: int | None
    lag: int | None
    lag_seconds: int | None
    pending_intents: int
    active_balance_watches: int
    endpoint: str | None
    last_error: str | None
    last_success_at: Moment | None
    restarts: int
    problems: tuple[str, ...]
    endpoints: tuple[Endpoint, ...]
    sockets: tuple[Socket, ...]
    stuck: Annotated[tuple[StuckTransfer, ...], Meta(max_length=20)]
    stuck_count: int
    sweep: Sweep
    undelivered_webhooks: int
    oldest_undelivered_age_seconds: int | None
    tokens: tuple[Token, ...]
    leader: str | None


class Node(Wire):
    """One process, and which chains it leads."""

    node_id: str
    version: str
    started_at: Moment
    seen_at: Moment
    leads: tuple[int, ...]


class Status(Wire):
    """Every enabled chain, and every process on the store."""

    chains: tuple[ChainStatus, ...]
    nodes: tuple[Node, ...]


# -- balances ------------------------------------------------------------------------------------------


class Balance(Wire):
    """One balance at one block, in base units; `tokenAddress` null is the chain's own coin."""

    chain_id: int
    chain_type: ChainType
    address: str
    token_address: str | None
    token_symbol: str | None
    decimals: int | None
    balance: Units
    block_number: int
    checked_at: Moment


class Watch(Wire):
    """One balance watch. Balances are base-unit integer strings, never null."""

    watch_id: str
    chain_id: int
    chain_type: ChainType
    token_address: str | None
    token_symbol: str | None
    decimals: int | None
    address: str
    baseline_balance: Units
    current_balance: Units
    status: WatchStatus
    callback_url: str
    last_checked_at: Moment | None
    next_check_at: Moment | None
    change_count: int
    last_notified_at: Moment | None
    expires_at: Moment
    created_at: Moment
    updated_at: Moment


class OneWatch(Wire):
    """A balance watch."""

    watch: Watch


# -- operations ----------------------------------------------------------------------------------------


class Retried(Wire):
    """How many intents' webhooks were queued again."""

    retried: int


class RotatedSecret(Wire):
    """From when the new secret signs, and until when the former one signs as well."""

    since: Moment
    overlap_until: Moment


class Health(Wire):
    """Alive."""

    status: str


class Readiness(Wire):
    """Ready, or why not."""

    status: str
    reasons: tuple[str, ...]

    @property
    def is_ready(self) -> bool:
        return self.status == READY


READY = "ready"
