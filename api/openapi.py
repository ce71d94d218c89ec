"""The OpenAPI description of this API, made from the models that check it, and a page to read it."""

from __future__ import annotations

import functools
import html
from collections.abc import Iterator
from typing import Any

from aiohttp import web
from pydantic import BaseModel, ConfigDict, Field
from pydantic.alias_generators import to_camel
from pydantic.json_schema import models_json_schema

from api.errors import json_response
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
from scanner.health import ChainState
from scanner.model import DeliveryStatus, IntentStatus, Reason, WatchStatus

VERSION = "0.1.0"


class _Answer(BaseModel):
    model_config = ConfigDict(alias_generator=to_camel)


class Error(_Answer):
    """Every failure."""

    error: str = Field(description="A sentence for people.")
    code: str = Field(description="A stable name for programs.")
    details: dict[str, Any] | None = None


class CheckoutBlock(_Answer):
    """What a wallet needs to pay."""

    destination: str
    token_address: str
    token_symbol: str | None
    decimals: int | None
    chain_id: int
    proxy_address: str | None
    payment_reference: str = Field(pattern="^0x[0-9a-f]{16}$")
    fee_amount: str
    fee_address: str
    amount_wei: str
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
    expires_at: str | None
    warnings: list[RailWarning]


class IntentFields(_Answer):
    """One intent. Amounts are base-unit integer strings, times RFC 3339 UTC."""

    intent_id: str
    chain_id: int
    chain_type: str
    rail: Rail
    token_address: str
    token_symbol: str | None
    decimals: int | None
    destination: str
    amount: str
    amount_received: str
    fee_amount: str
    fee_address: str
    payment_reference: str
    status: IntentStatus
    callback_url: str
    events: list[str]
    confirmations_required: int
    tx_hash: str | None
    log_index: int | None
    block_number: int | None
    block_hash: str | None
    confirmations: int
    sender: str | None
    webhook_delivered_at: str | None
    confirmed_at: str | None
    cancelled_at: str | None
    expires_at: str | None
    created_at: str
    updated_at: str


class TransferFields(_Answer):
    """One transfer that named an intent; or `count` worthless ones of one transaction, `amount` being their sum."""

    tx_hash: str | None
    event_key: str
    block_number: int
    block_hash: str | None
    token: str
    sender: str | None
    destination: str
    amount: str
    counted: bool
    settled: bool
    reason: Reason | None
    count: int = Field(ge=1)
    seen_at: str


class TransferPage(_Answer):
    """A page of an intent's transfers, rejected ones included, oldest first."""

    transfers: list[TransferFields]
    next_cursor: str | None


class AttemptFields(_Answer):
    """One delivery attempt."""

    at: str
    ok: bool
    status: int | None
    latency_ms: int
    response: str
    error: str | None


class DeliveryFields(_Answer):
    """One webhook event and its attempts."""

    event_id: str
    event_type: str
    status: DeliveryStatus
    round: int
    next_attempt_at: str | None
    delivered_at: str | None
    created_at: str
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
    amount: str
    counts: bool
    reason: Reason | None


class Rechecked(_Answer):
    """The answer to a recheck."""

    intent: FullIntent
    seen: list[SeenTransfer]
    settled: bool
    missing: str


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
    amount: str
    transfer_amount: str
    intent_id: str | None
    reason: Reason
    seen_at: str


class UnmatchedPage(_Answer):
    """A page of unmatched transfers."""

    unmatched: list[UnmatchedTransfer]
    next_cursor: str | None


class LimitFields(_Answer):
    """The most one endpoint takes in one question, as learnt from its refusals; null: not learnt."""

    batch: int | None
    blocks: int | None
    topics: int | None
    addresses: int | None
    owners: int | None
    addressless_logs: bool | None


class EndpointFields(_Answer):
    """One endpoint of a chain, named without its secrets."""

    label: str
    state: EndpointState
    head: int | None
    head_time: str | None
    latency_ms: int | None
    last_error: str | None
    limits: LimitFields


class StuckFields(_Answer):
    """A transfer that is deep enough and cannot be judged."""

    tx_hash: str
    since: str
    why: str


class SweepFields(_Answer):
    """Up to which moment of the chain waiting addresses were last read a second time, and when that was."""

    covered_to: str | None
    at: str | None


class ChainFields(_Answer):
    """One chain's condition; `lag` in blocks (EVM), milliseconds (Tron) or seconds (TON)."""

    chain_id: int
    name: str
    chain_type: str
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
    last_success_at: str | None
    restarts: int
    problems: list[str]
    endpoints: list[EndpointFields]
    stuck: list[StuckFields]
    stuck_count: int
    sweep: SweepFields
    undelivered_webhooks: int
    oldest_undelivered_age_seconds: int | None


class Status(_Answer):
    """Every enabled chain."""

    chains: list[ChainFields]


class Balance(_Answer):
    """One balance at one block, in base units; `tokenAddress` null is the chain's own coin."""

    chain_id: int
    chain_type: str
    address: str
    token_address: str | None
    token_symbol: str | None
    decimals: int | None
    balance: str
    block_number: int
    checked_at: str


class WatchFields(_Answer):
    """One balance watch. Balances are base-unit integer strings, never null."""

    watch_id: str
    chain_id: int
    chain_type: str
    token_address: str | None
    token_symbol: str | None
    decimals: int | None
    address: str
    baseline_balance: str
    current_balance: str
    status: WatchStatus
    callback_url: str
    last_checked_at: str | None
    next_check_at: str | None
    change_count: int
    last_notified_at: str | None
    expires_at: str
    created_at: str
    updated_at: str


class OneWatch(_Answer):
    """A balance watch."""

    watch: WatchFields


class Retried(_Answer):
    """How many intents' webhooks were queued again."""

    retried: int


class Rotated(_Answer):
    """From when the new secret signs, and until when the former one signs as well."""

    since: str
    overlap_until: str


class Health(_Answer):
    """Alive."""

    status: str


class Readiness(_Answer):
    """Ready, or why not."""

    status: str
    reasons: list[str]


_ANSWERS = (
    Error,
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
    optional_body: bool = False,
) -> dict[str, Any]:
    content = {"text/plain": {"schema": {"type": "string"}}} if answer is None else _json(answer)
    operation: dict[str, Any] = {"summary": summary, "responses": {"200": {"description": summary, "content": content}}}
    for status in sorted({*errors, 403, *(() if open_ else (401,)), *((400,) if path else ())}):
        operation["responses"][str(status)] = {"description": _STATUS[status], "content": _json(Error)}
    if body is not None:
        operation["requestBody"] = {"required": not optional_body, "content": _json(body)}
    operation["parameters"] = _path_parameter(path) if path else []
    operation["parameters"] += _query_parameters(query) if query else []
    if open_:
        operation["security"] = []
    return operation


_STATUS = {
    400: "The request names something that cannot be done as asked; the sentence names the field.",
    401: "The API key is missing or wrong.",
    403: "No API key is configured and `Host` is not this machine.",
    404: "There is no such thing.",
    409: "It contradicts what is stored.",
    413: "The body is larger than 64 KB.",
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
        "get": _operation("List intents in order of creation.", IntentPage, 400, query=ListIntents),
        "post": _operation("Register a payment to wait for.", CreatedIntent, 400, 409, 413, 503, body=CreateIntent),
    }
    one = {
        "get": _operation("Show an intent.", OneIntent, 404, path="intentId"),
        "delete": _operation("Cancel a pending intent.", ChangedIntent, 404, 409, path="intentId"),
    }
    recheck = _operation(
        "Look now, for this intent.",
        Rechecked,
        400,
        404,
        413,
        502,
        503,
        body=Recheck,
        path="intentId",
        optional_body=True,
    )
    ready = _operation("Ready to serve?", Readiness)
    ready["responses"]["503"] = {"description": _STATUS[503], "content": _json(Readiness)}
    return {
        "openapi": "3.1.0",
        "info": {"title": "AMN Pay Scanner", "version": VERSION},
        "security": [{"apiKey": []}],
        "paths": {
            "/health": {"get": _operation("Alive?", Health, open_=True)},
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
            "/balances/check": {"post": _operation("Read a balance now.", Balance, 400, 413, 502, body=CheckBalance)},
            "/balance-watches": {
                "post": _operation("Watch a balance.", OneWatch, 400, 409, 413, 502, 503, body=CreateWatch)
            },
            "/balance-watches/{watchId}": {
                "get": _operation("Show a balance watch.", OneWatch, 404, path="watchId"),
                "delete": _operation("Stop a balance watch.", OneWatch, 404, path="watchId"),
            },
            "/balance-watches/{watchId}/stop": {
                "post": _operation("Stop a balance watch.", OneWatch, 404, path="watchId")
            },
            "/unmatched": {
                "get": _operation("Transfers that settled nothing.", UnmatchedPage, 400, query=ListUnmatched)
            },
            "/admin/webhooks/retry": {"post": _operation("Retry failed webhooks now.", Retried)},
            "/admin/callback-secrets/rotate": {
                "post": _operation("Change a callback secret.", Rotated, 400, 413, 503, body=RotateSecret)
            },
        },
        "components": {
            "schemas": {**bodies.get("$defs", {}), **answers.get("$defs", {})},
            "securitySchemes": {"apiKey": {"type": "http", "scheme": "bearer"}},
        },
    }


def described() -> Iterator[tuple[str, str, int]]:
    """Return every answer there is: method, route, status."""
    for path, methods in build()["paths"].items():
        for method, operation in methods.items():
            for status in operation["responses"]:
                yield method.upper(), path, int(status)


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
