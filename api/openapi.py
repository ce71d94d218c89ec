"""The OpenAPI description of this API, made from the models that check it, and a page to read it."""

from __future__ import annotations

import functools
import html
from collections.abc import Iterator
from typing import Annotated, Any, Literal

from aiohttp import web
from pydantic import BaseModel, ConfigDict, Field
from pydantic.alias_generators import to_camel
from pydantic.json_schema import models_json_schema

from api.errors import CODES, json_response
from api.middlewares import NO_ROUTE
from api.schemas import (
    ID_PATTERN,
    CheckBalance,
    CreateIntent,
    CreateWatch,
    ListIntents,
    ListTransfers,
    ListUnmatched,
    Query,
    Recheck,
    RotateSecret,
)
from chains.types import EndpointState, Rail
from config.catalog import ChainType
from kernel.web.http_errors import ANY_ROUTE
from scanner.model import DeliveryStatus, EventType, IntentStatus, Reason, WatchStatus
from scanner.upkeep.health import ChainState

VERSION = "0.1.0"


Time = Annotated[str, Field(pattern=r"^\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d(\.\d+)?Z$", description="RFC 3339, UTC.")]
Units = Annotated[str, Field(pattern="^[0-9]{1,90}$", description="Base units.")]


class _Answer(BaseModel):
    model_config = ConfigDict(alias_generator=to_camel, extra="forbid")


class Details(_Answer):
    """What an error is about."""

    field: str = Field(description="The field, parameter or state to change.")


class Error(_Answer):
    """Every failure."""

    error: str = Field(description="A sentence for people.")
    code: Literal[tuple(CODES)] = Field(description="A stable name for programs.")  # type: ignore[valid-type]
    details: Details | None = None


class CheckoutBlock(_Answer):
    """What a wallet needs to pay."""

    destination: str
    token_address: str
    token_symbol: str | None
    decimals: int | None
    chain_id: int
    proxy_address: str | None
    payment_reference: str = Field(pattern="^0x[0-9a-f]{16}$")
    fee_amount: Units
    fee_address: str
    amount_wei: Units
    payment_uri: str | None
    calldata: str | None


class RailWarning(_Answer):
    """What the chain's endpoints cannot see of the intent's rail."""

    code: str
    message: str


class CreatedIntent(_Answer):
    """A registered intent."""

    intent_id: str
    payment_reference: str
    checkout_block: CheckoutBlock
    status: IntentStatus
    expires_at: Time | None
    warnings: list[RailWarning]


class IntentFields(_Answer):
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
    events: list[EventType]
    confirmations_required: int
    tx_hash: str | None
    log_index: int | None
    block_number: int | None
    block_hash: str | None
    confirmations: int
    sender: str | None
    webhook_delivered_at: Time | None
    confirmed_at: Time | None
    cancelled_at: Time | None
    expires_at: Time | None
    created_at: Time
    updated_at: Time


class TransferFields(_Answer):
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
    count: int = Field(ge=1)
    seen_at: Time


class TransferPage(_Answer):
    """A page of an intent's transfers, rejected ones included, oldest first."""

    transfers: list[TransferFields]
    next_cursor: str | None


class AttemptFields(_Answer):
    """One delivery attempt."""

    at: Time
    ok: bool
    status: int | None
    latency_ms: int
    response: str
    error: str | None


class DeliveryFields(_Answer):
    """One webhook event and its attempts."""

    event_id: str
    event_type: EventType
    status: DeliveryStatus
    round: int
    next_attempt_at: Time | None
    delivered_at: Time | None
    created_at: Time
    attempts: list[AttemptFields]


class FullIntent(IntentFields):
    """An intent with its 20 newest transfers and deliveries, and how many there are."""

    transfers: list[TransferFields]
    transfer_count: int
    deliveries: list[DeliveryFields]
    delivery_count: int


class OneIntent(_Answer):
    """An intent with its transfers and deliveries."""

    intent: FullIntent


class ChangedIntent(_Answer):
    """An intent after a change."""

    intent: IntentFields


class IntentPage(_Answer):
    """A page of intents."""

    intents: list[IntentFields]
    next_cursor: str | None


class SeenTransfer(_Answer):
    """What a recheck saw, and why it does or does not count."""

    tx_hash: str | None
    event_key: str
    block_number: int
    amount: Units
    counts: bool
    reason: Reason | None


class Rechecked(_Answer):
    """The answer to a recheck."""

    intent: FullIntent
    seen: list[SeenTransfer]
    settled: bool
    missing: Units


class UnmatchedTransfer(_Answer):
    """
    A transfer, or the surplus of one, that settled nothing; or `count` of them as one.

    Of several `amount` is the sum, `txHash`, `eventKey` and `blockNumber` are of the first, and `lastTxHash` and
    `lastBlockNumber` of the newest.
    """

    chain_id: int
    tx_hash: str | None
    event_key: str
    block_number: int
    count: int = Field(ge=1)
    last_tx_hash: str | None
    last_block_number: int
    token: str
    sender: str | None
    destination: str
    amount: Units
    transfer_amount: Units
    intent_id: str | None
    reason: Reason
    seen_at: Time


class UnmatchedPage(_Answer):
    """A page of unmatched transfers."""

    unmatched: list[UnmatchedTransfer]
    next_cursor: str | None


class LearntLimits(_Answer):
    """The most an endpoint takes in one question; null: not learnt."""

    batch: int | None
    blocks: int | None
    topics: int | None
    addresses: int | None
    owners: int | None
    addressless_logs: bool | None


class EndpointFields(_Answer):
    """How one endpoint of a chain is doing."""

    label: str
    state: EndpointState
    head: int | None
    head_time: Time | None
    latency_ms: int | None
    last_error: str | None
    limits: LearntLimits


class StuckFields(_Answer):
    """A transfer that is deep enough and cannot be judged."""

    tx_hash: str
    since: Time
    why: str


class SweepFields(_Answer):
    """Up to when what came late was looked for, and when."""

    covered_to: Time | None
    at: Time | None


class TokenFields(_Answer):
    """A token of the registry."""

    address: str
    symbol: str
    decimals: int


class ChainFields(_Answer):
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
    last_success_at: Time | None
    restarts: int
    problems: list[str]
    endpoints: list[EndpointFields]
    stuck: list[StuckFields] = Field(max_length=20)
    stuck_count: int
    sweep: SweepFields
    undelivered_webhooks: int
    oldest_undelivered_age_seconds: int | None
    tokens: list[TokenFields]


class Status(_Answer):
    """Every enabled chain."""

    chains: list[ChainFields]


class Balance(_Answer):
    """One balance at one block, in base units; `tokenAddress` null is the chain's own coin."""

    chain_id: int
    chain_type: ChainType
    address: str
    token_address: str | None
    token_symbol: str | None
    decimals: int | None
    balance: Units
    block_number: int
    checked_at: Time


class WatchFields(_Answer):
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
    last_checked_at: Time | None
    next_check_at: Time | None
    change_count: int
    last_notified_at: Time | None
    expires_at: Time
    created_at: Time
    updated_at: Time


class OneWatch(_Answer):
    """A balance watch."""

    watch: WatchFields


class Retried(_Answer):
    """How many intents' webhooks were queued again."""

    retried: int


class Rotated(_Answer):
    """From when the new secret signs, and until when the former one signs as well."""

    since: Time
    overlap_until: Time


class Health(_Answer):
    """Alive."""

    status: str


class Readiness(_Answer):
    """Ready, or why not."""

    status: str
    reasons: list[str]


class Description(BaseModel):
    """An OpenAPI 3.1 document."""

    model_config = ConfigDict(extra="allow")


_ANSWERS = (
    Error,
    Description,
    CreatedIntent,
    OneIntent,
    ChangedIntent,
    IntentPage,
    TransferPage,
    Rechecked,
    UnmatchedPage,
    Status,
    Balance,
    OneWatch,
    Retried,
    Rotated,
    Health,
    Readiness,
)
_BODIES = (CreateIntent, CheckBalance, CreateWatch, Recheck, RotateSecret)


def _operation(
    summary: str,
    answer: type[BaseModel] | None,
    *errors: int,
    body: type[BaseModel] | None = None,
    query: type[Query] | None = None,
    path: str | None = None,
    open_: bool = False,
    store: bool = True,
    optional_body: bool = False,
    text: str = "text/plain",
) -> dict[str, Any]:
    content = {text: {"schema": {"type": "string"}}} if answer is None else _json(answer)
    operation: dict[str, Any] = {"summary": summary, "responses": {"200": {"description": summary, "content": content}}}
    possible = {*errors, 403, *_ANY_ROUTE}
    possible |= set() if open_ else {401}
    possible |= {503} if store else set()
    for status in sorted(possible):
        operation["responses"][str(status)] = {"description": _STATUS[status], "content": _json(Error)}
    if body is not None:
        operation["requestBody"] = {"required": not optional_body, "content": _json(body)}
    operation["parameters"] = _path_parameter(path) if path else []
    operation["parameters"] += _query_parameters(query) if query else []
    if open_:
        operation["security"] = []
    return operation


_ANY_ROUTE = {CODES[code] for code in ANY_ROUTE}
_BEFORE_ROUTING = {414, 431}  # counted without a route, since none is known yet
_UNROUTED = {400, 401, 403, 404, 405, 415} | _BEFORE_ROUTING
_STATUS = {
    400: "It names something that cannot be done as asked, and the sentence names the field; or it is no HTTP request.",
    401: "The API key is missing or wrong.",
    403: "No API key is configured, and `Host`, or `Origin` if there is one, is not this machine.",
    404: "There is no such thing.",
    408: "The body took longer than 10 seconds.",
    409: "It contradicts what is stored.",
    413: "The body is larger than 64 KB.",
    414: "Path and query are longer than 8,000 bytes.",
    415: "`Content-Encoding` is not gzip, deflate or identity.",
    417: "`Expect` is not 100-continue.",
    429: "Behind a trusted proxy: too many requests of this client without a key are being answered.",
    431: "There are more than 128 headers, or one of more than 8,190 bytes.",
    502: "The chain cannot be read now.",
    503: "Not ready, or the store is not available.",
}


def _json(model: type[BaseModel]) -> dict[str, Any]:
    return {"application/json": {"schema": {"$ref": f"#/components/schemas/{model.__name__}"}}}


def _path_parameter(name: str) -> list[dict[str, Any]]:
    schema = {"type": "string", "pattern": ID_PATTERN}
    return [{"name": name, "in": "path", "required": True, "schema": schema}]


def _query_parameters(model: type[Query]) -> list[dict[str, Any]]:
    schema = model.model_json_schema(ref_template="#/components/schemas/{model}")
    found = []
    for name, value in schema["properties"].items():
        choices = [choice for choice in value.get("anyOf", [value]) if choice.get("type") != "null"]
        found.append({"name": name, "in": "query", "required": False, "schema": choices[0]})
    return found


@functools.cache
def build() -> dict[str, Any]:
    """Return the OpenAPI 3.1 document."""
    _, answers = models_json_schema(
        [(model, "serialization") for model in _ANSWERS], ref_template="#/components/schemas/{model}"
    )
    _, bodies = models_json_schema(
        [(model, "validation") for model in (*_BODIES, ListIntents, ListUnmatched)],
        ref_template="#/components/schemas/{model}",
    )
    intents = {
        "get": _operation("List intents in order of creation.", IntentPage, query=ListIntents),
        "post": _operation("Register a payment to wait for.", CreatedIntent, 409, body=CreateIntent),
    }
    one = {
        "get": _operation("Show an intent.", OneIntent, 404, path="intentId"),
        "delete": _operation("Cancel a pending intent.", ChangedIntent, 404, 409, path="intentId"),
    }
    recheck = _operation(
        "Look now, for this intent.",
        Rechecked,
        404,
        502,
        body=Recheck,
        path="intentId",
        optional_body=True,
    )
    ready = _operation("Ready to serve?", Readiness, store=False)
    ready["responses"]["503"] = {"description": _STATUS[503], "content": _json(Readiness)}
    return {
        "openapi": "3.1.0",
        "info": {"title": "AMN Pay Scanner", "version": VERSION},
        "security": [{"apiKey": []}],
        "paths": {
            "/health": {"get": _operation("Alive?", Health, open_=True, store=False)},
            "/ready": {"get": ready},
            "/metrics": {"get": _operation("Prometheus metrics.", None)},
            "/scanner/status": {"get": _operation("How each chain is doing.", Status)},
            "/intents": intents,
            "/intents/{intentId}": one,
            "/intents/{intentId}/transfers": {
                "get": _operation(
                    "List an intent's transfers.", TransferPage, 404, query=ListTransfers, path="intentId"
                )
            },
            "/intents/{intentId}/recheck": {"post": recheck},
            "/balances/check": {
                "post": _operation("Read a balance now.", Balance, 502, body=CheckBalance, store=False)
            },
            "/balance-watches": {"post": _operation("Watch a balance.", OneWatch, 409, 502, body=CreateWatch)},
            "/balance-watches/{watchId}": {
                "get": _operation("Show a balance watch.", OneWatch, 404, path="watchId"),
                "delete": _operation("Stop a balance watch.", OneWatch, 404, path="watchId"),
            },
            "/balance-watches/{watchId}/stop": {
                "post": _operation("Stop a balance watch.", OneWatch, 404, path="watchId")
            },
            "/unmatched": {"get": _operation("Transfers that settled nothing.", UnmatchedPage, query=ListUnmatched)},
            "/admin/webhooks/retry": {"post": _operation("Retry failed webhooks now.", Retried)},
            "/admin/callback-secrets/rotate": {
                "post": _operation("Change a callback secret.", Rotated, body=RotateSecret)
            },
            "/openapi.json": {"get": _operation("This description.", Description, store=False)},
            "/docs": {"get": _operation("This description, to read.", None, store=False, text="text/html")},
        },
        "components": {
            "schemas": {**bodies.get("$defs", {}), **answers.get("$defs", {})},
            "securitySchemes": {"apiKey": {"type": "http", "scheme": "bearer"}},
        },
    }


def counted() -> Iterator[tuple[str, str, int]]:
    """Return every answer there is as it is counted: method, route, status."""
    for path, methods in build()["paths"].items():
        for method, operation in methods.items():
            for status in {int(status) for status in operation["responses"]} - _BEFORE_ROUTING:
                yield method.upper(), path, status
    for status in _UNROUTED:
        yield *NO_ROUTE, status


async def document(_request: web.Request) -> web.Response:
    """GET /openapi.json"""
    return json_response(build())


async def page(_request: web.Request) -> web.Response:
    """GET /docs: readable without a script or another host"""
    rows = []
    for path, methods in build()["paths"].items():
        for method, operation in methods.items():
            answers = ", ".join(sorted(operation["responses"]))
            rows.append(
                f"<tr><td><code>{method.upper()} {html.escape(path)}</code></td>"
                f"<td>{html.escape(operation['summary'])}</td><td>{answers}</td></tr>"
            )
    text = (
        "<!doctype html><meta charset=utf-8><title>AMN Pay Scanner API</title>"
        "<style>body{font:16px/1.5 system-ui;margin:2rem auto;max-width:60rem;padding:0 1rem}"
        "table{border-collapse:collapse;width:100%}"
        "td,th{border-bottom:1px solid #ccc;padding:.4rem;text-align:left}</style>"
        "<h1>AMN Pay Scanner API</h1><p>The full description is <a href=/openapi.json>openapi.json</a>.</p>"
        f"<table><tr><th>Call<th>What it does<th>Answers</tr>{''.join(rows)}</table>"
    )
    return web.Response(text=text, content_type="text/html")
