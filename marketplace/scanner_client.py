"""
A typed client of the scanner's HTTP API and webhooks, for any backend: copy this file and `webhooks/signing.py`.

Amounts are integers in the token's base units, times are aware datetimes. Every call either answers
with what the scanner said or raises one of the `ScannerError`s, named by what to do about it.
"""

from __future__ import annotations

import asyncio
import hashlib
import random
import re
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping, Sequence
from contextlib import asynccontextmanager
from dataclasses import MISSING, dataclass, field, fields, is_dataclass
from datetime import datetime
from functools import cache
from http import HTTPStatus
from types import UnionType
from typing import Any, Self, TypeAlias, TypeVar, Union, get_args, get_origin, get_type_hints
from urllib.parse import quote

import aiohttp
import orjson
from yarl import URL

from webhooks.signing import check_secret, verify_amn, verify_standard

T = TypeVar("T")

_ID = re.compile(r"[A-Za-z0-9._:-]{1,128}")
_INTEGER = re.compile(r"-?[0-9]{1,79}")
_CAMEL = re.compile(r"_([a-z])")


# -- what can go wrong -------------------------------------------------------------------------------


class ScannerError(Exception):
    """A call did not do what it was asked."""


class ScannerUnavailable(ScannerError):
    """
    The scanner, or the chain behind it, cannot answer now: try again later, after `retry_after` seconds if given.

    Whether a call that changes something was carried out is not known; all of them may be repeated.
    """

    def __init__(self, message: str, retry_after: float | None = None) -> None:
        super().__init__(message)
        self.retry_after = retry_after


class ScannerRefused(ScannerError):
    """The scanner understood and said no: the same call will be refused again."""

    def __init__(self, status: int, code: str, message: str, details: Mapping[str, Any]) -> None:
        super().__init__(f"{message} ({status} {code})")
        self.status = status
        self.code = code
        self.message = message
        self.details = details


class Conflict(ScannerRefused):
    """It contradicts what the scanner has stored; `details["field"]` says in what."""


class NotFound(ScannerRefused):
    """The scanner does not know it."""


class InvalidWebhook(Exception):
    """A webhook that is not the scanner's, too old, or altered on its way: answer 401."""


class MalformedWebhook(InvalidWebhook):
    """A webhook with a good signature whose body is no event: answer 400."""


# -- what the scanner says ---------------------------------------------------------------------------


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
    fee_amount: int
    fee_address: str
    amount_wei: int
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
    """One transfer that concerns an intent; `reason` says why it settled nothing."""

    tx_hash: str
    event_key: str
    block_number: int
    block_hash: str | None
    token: str
    sender: str | None
    destination: str
    amount: int
    counted: bool
    settled: bool
    reason: str | None
    seen_at: datetime


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
    amount: int
    amount_received: int
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
    transfers: tuple[IntentTransfer, ...] = ()  # empty in lists


@dataclass(frozen=True, slots=True, kw_only=True)
class Sighting:
    """What a recheck saw."""

    tx_hash: str
    event_key: str
    block_number: int
    amount: int
    counts: bool
    reason: str | None


@dataclass(frozen=True, slots=True, kw_only=True)
class Recheck:
    """The answer to a recheck; `missing` in base units."""

    intent: Intent
    seen: tuple[Sighting, ...]
    settled: bool
    missing: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Balance:
    """A balance as it was read; `token_address` None is the chain's own coin."""

    chain_id: int
    chain_type: str
    address: str
    token_address: str | None
    token_symbol: str | None
    decimals: int | None
    balance: int
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
    baseline_balance: int | None
    current_balance: int | None
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
    amount: int
    transfer_amount: int
    intent_id: str | None
    reason: str
    seen_at: datetime


@dataclass(frozen=True, slots=True, kw_only=True)
class Page:
    """Part of a list; `next_cursor` None on the last one."""

    rows: tuple[Any, ...]
    next_cursor: str | None


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


@dataclass(frozen=True, slots=True, kw_only=True)
class Readiness:
    """Whether the scanner is doing its work, and what keeps it from it."""

    ready: bool
    reasons: tuple[str, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class EventTransfer:
    """One transfer behind an event."""

    tx_hash: str
    amount: int
    event_key: str | None = None
    block_number: int | None = None
    sender: str | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class IntentEvent:
    """Something happened to an intent; only `payment.confirmed` means that it is paid."""

    event_id: str  # dedupe by it
    event_type: str
    intent_id: str
    chain_id: int
    token: str
    amount: int
    status: str
    payment_reference: str | None = None
    amount_received: int | None = None
    tx_hash: str | None = None
    block_number: int | None = None
    confirmations: int | None = None
    sender: str | None = None
    rail: str | None = None
    reason: str | None = None
    missing: int | None = None
    transfers: tuple[EventTransfer, ...] | None = None
    transfer_count: int | None = None
    body: Mapping[str, Any] = field(repr=False)


@dataclass(frozen=True, slots=True, kw_only=True)
class BalanceEvent:
    """A watched balance is another than the one acknowledged last; whether that is a payment is yours to decide."""

    event_id: str  # dedupe by it
    event_type: str
    watch_id: str
    chain_id: int
    chain_type: str
    address: str
    token_address: str | None
    token_symbol: str | None
    decimals: int | None
    previous_balance: int
    current_balance: int
    delta: int
    change_count: int
    checked_at: datetime
    status: str
    transfers: tuple[EventTransfer, ...] | None = None  # None when the chain did not tell
    transfer_count: int | None = None
    body: Mapping[str, Any] = field(repr=False)


Event: TypeAlias = IntentEvent | BalanceEvent


# -- the client --------------------------------------------------------------------------------------


class ScannerClient:
    """
    The scanner's API. Give it a session you own, or let `open` make one.

    Calls that may be repeated are: after `retry_delays` seconds, varied, unless the scanner asks for
    a longer pause than `patience_s`, which is for the caller to sit out.
    """

    def __init__(
        self,
        url: str,
        api_key: str | None,
        session: aiohttp.ClientSession,
        *,
        timeout_s: float = 10,
        retry_delays: Sequence[float] = (0.2, 1.0),
        patience_s: float = 5,
        sleep: Callable[[float], Awaitable[None]] = asyncio.sleep,
    ) -> None:
        self._url = url.rstrip("/")
        self._headers = {"Authorization": f"Bearer {api_key}"} if api_key else {}
        self._session = session
        self._timeout = aiohttp.ClientTimeout(total=timeout_s)
        self._delays = retry_delays
        self._patience_s = patience_s
        self._sleep = sleep

    @classmethod
    @asynccontextmanager
    async def open(cls, url: str, api_key: str | None, **options: Any) -> AsyncIterator[Self]:
        """Make a client with a session of its own, closed with the block; options as for the client."""
        async with aiohttp.ClientSession() as session:
            yield cls(url, api_key, session, **options)

    # intents

    async def create_intent(
        self,
        *,
        intent_id: str,
        chain_id: int,
        token: str,
        destination: str,
        amount: int,
        callback_url: str,
        callback_secret: str,
        rail: str | None = None,
        confirmations: int | None = None,
        expires_at: datetime | None = None,
        fee_amount: int | None = None,
        fee_address: str | None = None,
        events: Sequence[str] | None = None,
    ) -> Registered:
        """
        Register a payment to wait for; the same id with the same parameters answers the same again.

        `token` is an address or a symbol of the scanner's registry.

        Raises:
            Conflict: the id is taken by another payment, or the direct destination by another live one.
        """
        body = _given(
            intentId=intent_id,
            chainId=chain_id,
            token=token,
            destination=destination,
            amount=str(amount),
            callbackUrl=callback_url,
            callbackSecret=callback_secret,
            rail=rail,
            confirmations=confirmations,
            expiresAt=None if expires_at is None else expires_at.isoformat(),
            feeAmount=None if fee_amount is None else str(fee_amount),
            feeAddress=fee_address,
            events=None if events is None else list(events),
        )
        answer = await self._call("POST", "/intents", body)
        return _understood(Registered, answer | {"body": answer})

    async def intent(self, intent_id: str) -> Intent:
        """Return an intent with its transfers."""
        return _understood(Intent, (await self._call("GET", f"/intents/{_segment(intent_id)}")).get("intent"))

    async def intents(
        self, *, status: str | None = None, chain_id: int | None = None, cursor: str | None = None, limit: int = 100
    ) -> Page:
        """Return a page of intents in order of creation."""
        query = _given(status=status, chainId=chain_id, cursor=cursor, limit=limit)
        return _page(Intent, "intents", await self._call("GET", "/intents", query=query))

    async def cancel_intent(self, intent_id: str) -> Intent:
        """
        Cancel an intent that nobody has paid; cancelling twice changes nothing.

        Raises:
            Conflict: it is past pending.
        """
        return _understood(Intent, (await self._call("DELETE", f"/intents/{_segment(intent_id)}")).get("intent"))

    async def recheck_intent(self, intent_id: str, tx_hash: str | None = None) -> Recheck:
        """Let the scanner look now, at one transaction if it is named, and say what it saw."""
        path = f"/intents/{_segment(intent_id)}/recheck"
        return _understood(Recheck, await self._call("POST", path, _given(txHash=tx_hash)))

    # balances

    async def check_balance(self, *, chain_id: int, address: str, token: str, confirmed: bool = False) -> Balance:
        """
        Read a balance now, or with `confirmed` at a safe depth; `token` is an address, a symbol, or `native`.

        Raises:
            ScannerUnavailable: the chain cannot be read. It is never a balance of zero.
        """
        body = _given(chainId=chain_id, address=address, token=token, confirmed=confirmed or None)
        return _understood(Balance, await self._call("POST", "/balances/check", body))

    async def create_watch(
        self,
        *,
        watch_id: str,
        chain_id: int,
        address: str,
        token: str,
        callback_url: str,
        callback_secret: str,
        baseline_balance: int | None = None,
    ) -> Watch:
        """Watch a balance; the same id with the same parameters answers with the stored watch."""
        body = _given(
            watchId=watch_id,
            chainId=chain_id,
            address=address,
            token=token,
            callbackUrl=callback_url,
            callbackSecret=callback_secret,
            baselineBalance=None if baseline_balance is None else str(baseline_balance),
        )
        return _understood(Watch, (await self._call("POST", "/balance-watches", body)).get("watch"))

    async def watch(self, watch_id: str) -> Watch:
        """Return a watch."""
        answer = await self._call("GET", f"/balance-watches/{_segment(watch_id)}")
        return _understood(Watch, answer.get("watch"))

    async def stop_watch(self, watch_id: str) -> Watch:
        """Stop a watch; stopping twice changes nothing."""
        answer = await self._call("DELETE", f"/balance-watches/{_segment(watch_id)}")
        return _understood(Watch, answer.get("watch"))

    # operating

    async def unmatched(
        self, *, chain_id: int | None = None, reason: str | None = None, cursor: str | None = None, limit: int = 100
    ) -> Page:
        """Return a page of transfers that settled nothing, in the order they were seen."""
        query = _given(chainId=chain_id, reason=reason, cursor=cursor, limit=limit)
        return _page(Unmatched, "unmatched", await self._call("GET", "/unmatched", query=query))

    async def retry_webhooks(self) -> int:
        """Start a new round for every delivery given up; return how many."""
        answer = await self._call("POST", "/admin/webhooks/retry", repeat=False)
        return _understood(int, answer.get("retried"))

    async def status(self) -> tuple[ChainStatus, ...]:
        """Return how each chain is doing."""
        return _understood(tuple[ChainStatus, ...], (await self._call("GET", "/scanner/status")).get("chains"))

    async def ready(self) -> Readiness:
        """Return whether the scanner is doing its work. Asked once: whoever asks wants to know about now."""
        answer = await self._call("GET", "/ready", repeat=False, fine=(HTTPStatus.OK, HTTPStatus.SERVICE_UNAVAILABLE))
        if "reasons" not in answer:
            raise ScannerUnavailable(str(answer.get("error", "GET /ready: answered something else")))
        return _understood(Readiness, answer | {"ready": answer.get("status") == "ready"})

    # beneath

    async def _call(
        self,
        method: str,
        path: str,
        body: Mapping[str, Any] | None = None,
        *,
        query: Mapping[str, Any] | None = None,
        repeat: bool = True,
        fine: Sequence[int] = (HTTPStatus.OK,),
    ) -> dict[str, Any]:
        url = URL(self._url + path, encoded=True).with_query(dict(query or {}))
        for delay in self._delays if repeat else ():
            try:
                return await self._once(method, url, body, fine)
            except ScannerUnavailable as exc:
                pause = max(delay * random.uniform(0.8, 1.2), exc.retry_after or 0)  # noqa: S311 - no secret
                if pause > self._patience_s:
                    raise
            await self._sleep(pause)
        return await self._once(method, url, body, fine)

    async def _once(self, method: str, url: URL, body: Mapping[str, Any] | None, fine: Sequence[int]) -> dict[str, Any]:
        data = None if body is None else orjson.dumps(body)
        headers = self._headers | ({} if data is None else {"Content-Type": "application/json"})
        try:
            async with self._session.request(
                method, url, data=data, headers=headers, timeout=self._timeout, allow_redirects=False
            ) as response:
                return _answer(f"{method} {url.path}", response, await response.read(), fine)
        except (aiohttp.ClientError, TimeoutError) as exc:
            raise ScannerUnavailable(f"{method} {url.path}: no answer ({type(exc).__name__})") from exc


def _answer(call: str, response: aiohttp.ClientResponse, raw: bytes, fine: Sequence[int]) -> dict[str, Any]:
    """Return the body of a good answer, or raise what any other means."""
    body = _object(raw)
    if response.status in fine and body is not None:
        return body
    told = body or {}
    message = str(told.get("error", f"{call}: answered {response.status}"))
    if response.status not in range(400, 500) or response.status == HTTPStatus.TOO_MANY_REQUESTS:
        # Good answers that are not JSON, too: something else than the scanner sits at its address.
        raise ScannerUnavailable(message, _seconds(response.headers.get("Retry-After")))
    kinds: dict[int, type[ScannerRefused]] = {HTTPStatus.CONFLICT: Conflict}
    if body is not None:  # a proxy's 404 says nothing about an intent
        kinds[HTTPStatus.NOT_FOUND] = NotFound
    details = told.get("details")
    raise kinds.get(response.status, ScannerRefused)(
        response.status, str(told.get("code", "")), message, details if isinstance(details, dict) else {}
    )


def _object(raw: bytes) -> dict[str, Any] | None:
    try:
        body = orjson.loads(raw)  # bounds how deep it nests, which the standard library does not
    except orjson.JSONDecodeError:
        return None
    return body if isinstance(body, dict) else None


def _seconds(retry_after: str | None) -> float | None:
    """Read `Retry-After`; its other form, a date, depends on two clocks and is not used."""
    given = (retry_after or "").strip()
    return float(given) if given.isascii() and given.isdigit() and len(given) < 7 else None  # noqa: PLR2004 - 11 days


def _segment(identity: str) -> str:
    """Return an id as part of a path, where `..` would be somewhere else."""
    if _ID.fullmatch(identity) is None or not identity.strip("."):
        raise ValueError(f"{identity!r} cannot be the id of anything")
    return quote(identity, safe="")


def _given(**values: Any) -> dict[str, Any]:
    return {name: value for name, value in values.items() if value is not None}


def _page(kind: type[Any], name: str, answer: Mapping[str, Any]) -> Page:
    rows = _understood(tuple[kind, ...], answer.get(name))  # type: ignore[valid-type]  # a type made at run time
    return Page(rows=rows, next_cursor=_understood(str | None, answer.get("nextCursor")))


# -- webhooks ----------------------------------------------------------------------------------------


def verify_webhook(
    raw_body: bytes, headers: Mapping[str, str], secret: str, now: int, *, tolerance_s: int = 300
) -> Event:
    """
    Return the event of a webhook that is really the scanner's; give the body as it came, unparsed.

    `now` in unix seconds. `X-AMN-Signature` must be there and right; where `webhook-signature` is
    there too, it must be right and recent. The event id is the signed one: dedupe by it.

    Raises:
        InvalidWebhook: forged, altered or too old.
        MalformedWebhook: signed, and no event all the same.
        ValueError: our own secret cannot be used.
    """
    check_secret(secret)  # an empty key would accept everybody's signature
    given = {name.lower(): value for name, value in headers.items()}
    if not verify_amn(raw_body, given.get("x-amn-signature", ""), secret):
        raise InvalidWebhook("X-AMN-Signature is missing or wrong")
    timestamped = "webhook-signature" in given
    if timestamped and not verify_standard(given, raw_body, secret, now=now, tolerance_s=tolerance_s):
        raise InvalidWebhook("webhook-signature is wrong or too old")
    body = _object(raw_body)
    if body is None:
        raise MalformedWebhook("the body is not a JSON object")
    # Without the second signature `webhook-id` is anybody's word: the body then has to name itself.
    own_id = given["webhook-id"] if timestamped else f"sha256:{hashlib.sha256(raw_body).hexdigest()}"
    return _event(body | {"eventId": body.get("eventId") or own_id, "body": body})


def _event(body: dict[str, Any]) -> Event:
    try:
        if "watchId" in body:
            changed: BalanceEvent = _read(BalanceEvent, {"eventType": "balance_changed", **body})
            return changed
        happened: IntentEvent = _read(IntentEvent, {"eventType": f"payment.{body.get('status')}", **body})
        return happened
    except _Unreadable as exc:
        raise MalformedWebhook(str(exc)) from exc


# -- from JSON to dataclasses ------------------------------------------------------------------------


class _Unreadable(Exception):
    """A value that is not of its type; the message names the field."""


def _understood(kind: type[T] | Any, value: Any) -> T | Any:
    try:
        return _read(kind, value)
    except _Unreadable as exc:
        raise ScannerUnavailable(f"the scanner's answer cannot be understood: {exc}") from exc


def _read(kind: Any, value: Any, name: str = "answer") -> Any:  # noqa: PLR0911 - a table, one line a type
    """Return a JSON value as a type; what the type does not name is left out."""
    if is_dataclass(kind):
        return _read_row(kind, value, name)
    origin = get_origin(kind)
    if origin in {Union, UnionType}:
        other = next(arm for arm in get_args(kind) if arm is not type(None))
        return None if value is None else _read(other, value, name)
    if origin is tuple and isinstance(value, list):
        return tuple(_read(get_args(kind)[0], each, name) for each in value)
    if kind is int and (type(value) is int or (isinstance(value, str) and _INTEGER.fullmatch(value))):
        return int(value)
    if kind is datetime and isinstance(value, str):
        return _read_time(value, name)
    if kind in {str, bool} and type(value) is kind:
        return value
    if origin is Mapping and isinstance(value, dict):
        return value
    raise _Unreadable(f"{name} is {type(value).__name__} and no {getattr(kind, '__name__', kind)}")


def _read_row(kind: Any, row: Any, name: str) -> Any:
    if not isinstance(row, dict):
        raise _Unreadable(f"{name} is no object")
    values = {}
    for field_name, outside, hint, required in _shape(kind):
        if outside in row:
            values[field_name] = _read(hint, row[outside], outside)
        elif required:
            raise _Unreadable(f"{outside} is missing")
    return kind(**values)


def _read_time(value: str, name: str) -> datetime:
    try:
        moment = datetime.fromisoformat(value)
    except ValueError as exc:
        raise _Unreadable(f"{name} is no time") from exc
    if moment.tzinfo is None:
        raise _Unreadable(f"{name} has no offset")
    return moment


@cache
def _shape(kind: Any) -> list[tuple[str, str, Any, bool]]:
    """Return each field's name here, its name in JSON, its type, and whether it must be there."""
    hints = get_type_hints(kind)
    return [
        (each.name, _CAMEL.sub(lambda m: m[1].upper(), each.name), hints[each.name], each.default is MISSING)
        for each in fields(kind)
    ]
