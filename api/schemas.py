"""What bodies and answers look like, checked at the edge and described in the OpenAPI document."""

from __future__ import annotations

import re
from datetime import UTC, datetime
from typing import Annotated, Any, Self

from pydantic import AfterValidator, BaseModel, BeforeValidator, ConfigDict, Field, WithJsonSchema, model_validator
from pydantic.alias_generators import to_camel

from chains.types import EndpointReport, Rail
from kernel.clock import rfc3339
from kernel.web.ids import NAME
from kernel.web.ids import check_name as check_id
from scanner.balances import BalanceAnswer, BalanceRequest
from scanner.model import OPT_IN_EVENTS, EventType, Intent, IntentStatus, Reason, StoredTransfer, Watch, WatchStatus
from scanner.reading.folding import first_key
from scanner.registration.tokens import TokenNames
from scanner.registration.watches import WatchRequest
from scanner.services import ChainStatus, IntentRequest, IntentView, Sighting
from scanner.upkeep.health import ChainState

ID_PATTERN = f"^{NAME}$"  # as the description says it: `$` of ECMA-262 is the very end
MAX_CHAIN_ID = 2**53 - 1  # what every JSON reader holds exactly
DIGITS = re.compile(r"[0-9]{1,78}")
MAX_UINT256 = 2**256 - 1
MAX_TIME = 64
STUCK_SHOWN = 20
PROBLEMS_SHOWN = 50
SENTENCE = 500  # characters of what an endpoint or a chain said
NOT_A_TIME = "must be an RFC 3339 time with an offset, such as 2026-01-31T12:00:00Z"


def _base_units(value: Any) -> Any:
    """Amounts travel as text: a JSON number loses digits on the way through most languages."""
    if not isinstance(value, str) or DIGITS.fullmatch(value) is None:
        raise ValueError("must be a base-10 integer string of at most 78 digits, in the token's smallest unit")
    return value


def _fits(value: str) -> str:
    if int(value) > MAX_UINT256:
        raise ValueError("must fit 256 bits")
    return value


def _positive(value: str) -> str:
    if int(value) == 0:
        raise ValueError("must be greater than zero")
    return value


def _moment(value: Any) -> Any:
    """Return unix milliseconds of an RFC 3339 time, which has an offset."""
    if value is None:
        return None
    try:
        if isinstance(value, str) and len(value) <= MAX_TIME:
            moment = datetime.fromisoformat(value)
            if moment.tzinfo is not None:
                return unix_ms(moment)
    except (ValueError, OverflowError) as exc:
        raise ValueError(NOT_A_TIME) from exc
    raise ValueError(NOT_A_TIME)


def _opt_in(value: EventType) -> EventType:
    if value not in OPT_IN_EVENTS:
        raise ValueError(f"{value} is always sent and cannot be chosen")
    return value


Id = Annotated[str, AfterValidator(check_id), WithJsonSchema({"type": "string", "pattern": ID_PATTERN})]
AmountField = {"pattern": "^[0-9]{1,78}$", "examples": ["12500000000000000000"]}
BaseUnits = Annotated[str, BeforeValidator(_base_units), AfterValidator(_fits), Field(json_schema_extra=AmountField)]
Amount = Annotated[BaseUnits, AfterValidator(_positive)]
TimeField = {"type": "string", "format": "date-time"}
Moment = Annotated[int, BeforeValidator(_moment), WithJsonSchema(TimeField)]
Address = Annotated[str, Field(min_length=1, max_length=128)]
ChainId = Annotated[int, Field(strict=True, ge=1, le=MAX_CHAIN_ID)]
Confirmations = Annotated[int, Field(strict=True, ge=1, le=100_000)]


class Body(BaseModel):
    """A request body: unknown fields are refused, since a misspelt one would change what is paid."""

    model_config = ConfigDict(extra="forbid", alias_generator=to_camel, frozen=True, regex_engine="python-re")


class NamesToken(Body):
    """A body that names a token, in at least one of three ways; several name the same one."""

    chain_id: ChainId
    token_address: Address | None = None
    token: Address | None = None
    token_symbol: Address | None = None

    @model_validator(mode="after")
    def _one_token(self) -> Self:
        if not self.token_names():
            raise ValueError("tokenAddress or token is required")
        return self

    def token_names(self) -> TokenNames:
        """Return which fields name the token, and what they say."""
        names = (("tokenAddress", self.token_address), ("token", self.token), ("tokenSymbol", self.token_symbol))
        return tuple((name, value) for name, value in names if value is not None)


class CreateIntent(NamesToken):
    """Register a payment to wait for."""

    intent_id: Id
    destination: Address
    amount: Amount
    callback_url: Annotated[str, Field(min_length=1, max_length=2048)]
    callback_secret: Annotated[str, Field(min_length=1, max_length=1024)]
    rail: Rail | None = None
    confirmations: Confirmations | None = None
    confirmations_required: Confirmations | None = None
    expires_at: Moment | None = None
    fee_amount: BaseUnits | None = None
    fee_address: Address | None = None
    events: Annotated[list[Annotated[EventType, AfterValidator(_opt_in)]], Field(max_length=16)] | None = None

    @model_validator(mode="after")
    def _one_depth(self) -> Self:
        given = {self.confirmations, self.confirmations_required} - {None}
        if len(given) > 1:
            raise ValueError("confirmations and confirmationsRequired name different numbers")
        return self

    def request(self) -> IntentRequest:
        """Return the use case's input."""
        return IntentRequest(
            intent_id=self.intent_id,
            chain_id=self.chain_id,
            token=self.token_names(),
            destination=self.destination,
            amount=int(self.amount),
            callback_url=self.callback_url,
            callback_secret=self.callback_secret,
            rail=self.rail,
            confirmations=self.confirmations or self.confirmations_required,
            expires_at=self.expires_at,
            fee_amount=int(self.fee_amount or 0),
            fee_address=self.fee_address,
            events=tuple(self.events or ()),
        )


class CheckBalance(NamesToken):
    """Read a balance now."""

    address: Address
    confirmed: Annotated[bool, Field(strict=True)] = False

    def request(self) -> BalanceRequest:
        """Return the use case's input."""
        return BalanceRequest(self.chain_id, self.address, self.token_names(), self.confirmed)


class CreateWatch(NamesToken):
    """Watch a balance."""

    watch_id: Id | None = None
    address: Address
    callback_url: Annotated[str, Field(min_length=1, max_length=2048)]
    callback_secret: Annotated[str, Field(min_length=1, max_length=1024)]
    baseline_balance: BaseUnits | None = None

    def request(self) -> WatchRequest:
        """Return the use case's input."""
        return WatchRequest(
            watch_id=self.watch_id,
            chain_id=self.chain_id,
            address=self.address,
            token=self.token_names(),
            callback_url=self.callback_url,
            callback_secret=self.callback_secret,
            baseline_balance=None if self.baseline_balance is None else int(self.baseline_balance),
        )


class RotateSecret(Body):
    """Sign everything registered so far with a callback URL with another secret."""

    callback_url: Annotated[str, Field(min_length=1, max_length=2048)]
    callback_secret: Annotated[str, Field(min_length=1, max_length=1024)]
    overlap_hours: Annotated[int, Field(strict=True, ge=0, le=720)] = 24


class Recheck(Body):
    """Look now, optionally at one transaction."""

    tx_hash: Annotated[str, Field(min_length=1, max_length=128)] | None = None


class Query(BaseModel):
    """A query string: unknown parameters are refused."""

    model_config = ConfigDict(extra="forbid", alias_generator=to_camel, frozen=True, regex_engine="python-re")

    cursor: Annotated[str, Field(min_length=1, max_length=300)] | None = None
    limit: Annotated[int, Field(ge=1, le=500)] = 100


class ListTransfers(Query):
    """Which transfers of an intent to list."""


class ListIntents(Query):
    """Which intents to list."""

    chain_id: Annotated[int, Field(ge=1, le=MAX_CHAIN_ID)] | None = None
    status: IntentStatus | None = None


class ListUnmatched(Query):
    """Which unmatched transfers to list."""

    chain_id: Annotated[int, Field(ge=1, le=MAX_CHAIN_ID)] | None = None
    reason: Reason | None = None


def unix_ms(moment: datetime) -> int:
    """Return unix milliseconds, exactly."""
    whole = moment.astimezone(UTC)
    seconds = int((whole.replace(microsecond=0) - datetime(1970, 1, 1, tzinfo=UTC)).total_seconds())
    return seconds * 1000 + whole.microsecond // 1000


def _time(ms: int | None) -> str | None:
    return None if ms is None else rfc3339(ms)


def intent_json(intent: Intent) -> dict[str, Any]:
    """Render an intent (docs/api.md); the secret and the salt have no place here."""
    return {
        "intentId": intent.intent_id,
        "chainId": intent.chain_id,
        "chainType": intent.chain_type,
        "rail": intent.rail,
        "tokenAddress": intent.token_address,
        "tokenSymbol": intent.token_symbol,
        "decimals": intent.decimals,
        "destination": intent.destination,
        "amount": str(intent.amount),
        "amountReceived": str(intent.amount_received),
        "feeAmount": str(intent.fee_amount),
        "feeAddress": intent.fee_address,
        "paymentReference": intent.payment_reference,
        "status": intent.status,
        "callbackUrl": intent.callback_url,
        "events": list(intent.events),
        "confirmationsRequired": intent.confirmations_required,
        "txHash": intent.tx_hash,
        "logIndex": intent.log_index,
        "blockNumber": intent.block_number,
        "blockHash": intent.block_hash,
        "confirmations": intent.confirmations,
        "sender": intent.sender,
        "webhookDeliveredAt": _time(intent.webhook_delivered_at),
        "confirmedAt": _time(intent.confirmed_at),
        "cancelledAt": _time(intent.cancelled_at),
        "expiresAt": _time(intent.expires_at),
        "createdAt": _time(intent.created_at),
        "updatedAt": _time(intent.updated_at),
    }


def transfer_json(stored: StoredTransfer) -> dict[str, Any]:
    """Render one transfer of an intent."""
    return {
        "txHash": stored.tx_hash or None,
        "eventKey": stored.event_key,
        "blockNumber": stored.block_number,
        "blockHash": stored.block_hash,
        "token": stored.token,
        "sender": stored.sender,
        "destination": stored.destination,
        "amount": str(stored.amount),
        "counted": stored.counted,
        "settled": stored.settled,
        "reason": stored.reason,
        "count": stored.times,
        "seenAt": _time(stored.seen_at),
    }


def delivery_json(event: dict[str, Any] | Any) -> dict[str, Any]:
    """Render one webhook event with its attempts."""
    return {
        "eventId": event["event_id"],
        "eventType": event["event_type"],
        "status": event["status"],
        "round": event["round"],
        "nextAttemptAt": _time(event["next_attempt_at"]) if event["status"] == "pending" else None,
        "deliveredAt": _time(event["delivered_at"]),
        "createdAt": _time(event["created_at"]),
        "attempts": [
            {
                "at": _time(attempt["at"]),
                "ok": attempt["ok"],
                "status": attempt["status"],
                "latencyMs": attempt["latency_ms"],
                "response": attempt["response"],
                "error": attempt["error"],
            }
            for attempt in event["tries"]
        ],
    }


def view_json(view: IntentView) -> dict[str, Any]:
    """Render an intent with everything known about it."""
    return {
        **intent_json(view.intent),
        "transfers": [transfer_json(stored) for stored in view.transfers],
        "transferCount": view.transfer_count,
        "deliveryCount": view.delivery_count,
        "deliveries": [delivery_json(event) for event in view.deliveries],
    }


def sighting_json(sighting: Sighting) -> dict[str, Any]:
    """Render what a recheck saw."""
    return {
        "txHash": sighting.tx_hash or None,
        "eventKey": sighting.event_key,
        "blockNumber": sighting.block_number,
        "amount": str(sighting.amount),
        "counts": sighting.counts,
        "reason": sighting.reason,
    }


def unmatched_json(stored: StoredTransfer) -> dict[str, Any]:
    """Render what settled nothing, one or several as one; of an overpayment `amount` is the part that did not."""
    return {
        "chainId": stored.chain_id,
        "txHash": stored.tx_hash or None,
        "eventKey": first_key(stored),
        "blockNumber": stored.block_number,
        "count": stored.times,
        "lastTxHash": stored.last_tx_hash or stored.tx_hash or None,
        "lastBlockNumber": stored.last_block_number or stored.block_number,
        "token": stored.token,
        "sender": stored.sender,
        "destination": stored.destination,
        "amount": str(stored.amount if stored.surplus is None else stored.surplus),
        "transferAmount": str(stored.amount),
        "intentId": stored.intent_id,
        "reason": stored.reason,
        "seenAt": _time(stored.seen_at),
    }


def watch_json(watch: Watch) -> dict[str, Any]:
    """Render a balance watch (docs/api.md); the secret has no place here."""
    return {
        "watchId": watch.watch_id,
        "chainId": watch.chain_id,
        "chainType": watch.chain_type,
        "tokenAddress": watch.token_address,
        "tokenSymbol": watch.token_symbol,
        "decimals": watch.decimals,
        "address": watch.address,
        "baselineBalance": str(watch.baseline_balance),
        "currentBalance": str(watch.current_balance),
        "status": watch.status,
        "callbackUrl": watch.callback_url,
        "lastCheckedAt": _time(watch.last_checked_at),
        "nextCheckAt": _time(watch.next_check_at) if watch.status is WatchStatus.WATCHING else None,
        "changeCount": watch.change_count,
        "lastNotifiedAt": _time(watch.last_notified_at),
        "expiresAt": _time(watch.expires_at),
        "createdAt": _time(watch.created_at),
        "updatedAt": _time(watch.updated_at),
    }


def balance_json(answer: BalanceAnswer) -> dict[str, Any]:
    """Render one balance."""
    return {
        "chainId": answer.chain_id,
        "chainType": answer.chain_type,
        "address": answer.address,
        "tokenAddress": answer.token_address,
        "tokenSymbol": answer.token_symbol,
        "decimals": answer.decimals,
        "balance": str(answer.balance),
        "blockNumber": answer.block_number,
        "checkedAt": _time(answer.checked_at),
    }


def status_json(status: ChainStatus, now: int) -> dict[str, Any]:
    """Render one chain's condition."""
    chain, health, backlog = status.chain, status.health, status.backlog
    return {
        "chainId": chain.chain_id,
        "name": chain.name,
        "chainType": chain.chain_type,
        "state": _state(status),
        "lastScannedBlock": health.checkpoint,
        "chainHead": health.head.position if health.head else None,
        "finalizedHead": health.head.finalized if health.head else None,
        "lag": health.lag,
        "lagSeconds": _lag_seconds(status),
        "pendingIntents": status.pending_intents,
        "activeBalanceWatches": status.active_watches,
        "endpoint": health.endpoint,
        "lastError": _cut(health.last_error),
        "lastSuccessAt": _time(health.last_success_at),
        "restarts": health.restarts,
        "problems": _problems(status),
        "endpoints": [endpoint_json(report) for report in status.condition.endpoints],
        "stuck": [
            {"txHash": stuck.tx_hash, "since": _time(stuck.since), "why": _cut(stuck.why)}
            for stuck in health.stuck[:STUCK_SHOWN]
        ],
        "stuckCount": len(health.stuck),
        "sweep": {
            "coveredTo": None if health.sweep is None else _time(health.sweep.covered_to * 1000),
            "at": None if health.sweep is None else _time(health.sweep.at),
        },
        "undeliveredWebhooks": 0 if backlog is None else backlog.pending + backlog.failed,
        "oldestUndeliveredAgeSeconds": None if backlog is None else (now - backlog.oldest_created_at) // 1000,
        "tokens": [
            {"address": token.address, "symbol": token.symbol, "decimals": token.decimals} for token in status.tokens
        ],
    }


def _state(status: ChainStatus) -> ChainState:
    """A poll that hangs tells nothing: what endpoints are known to be like is asked anew."""
    state = status.health.state
    return ChainState.STALE if status.condition.stale and state is not ChainState.FAILING else state


def _lag_seconds(status: ChainStatus) -> int | None:
    known = [lag for lag in (status.health.lag_seconds, status.condition.lag_s) if lag is not None]
    return max(known, default=None)


def _problems(status: ChainStatus) -> list[str]:
    found = dict.fromkeys((*status.health.problems, *status.condition.problems))
    return [problem[:SENTENCE] for problem in list(found)[:PROBLEMS_SHOWN]]


def _cut(text: str | None) -> str | None:
    return None if text is None else text[:SENTENCE]


def endpoint_json(report: EndpointReport) -> dict[str, Any]:
    """Render what is known of one endpoint; null: not learnt."""
    limits = report.limits
    return {
        "label": report.label,
        "state": report.state,
        "head": report.head,
        "headTime": None if report.head_time is None else _time(report.head_time * 1000),
        "latencyMs": report.latency_ms,
        "lastError": _cut(report.last_error),
        "limits": {
            "batch": limits.batch,
            "blocks": limits.blocks,
            "topics": limits.topics,
            "addresses": limits.addresses,
            "owners": limits.owners,
            "addresslessLogs": limits.addressless_logs,
        },
    }
