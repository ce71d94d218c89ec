"""What a hosted provider is asked and tells, and how it is called: bounded, no redirects, secrets in no message."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from decimal import Decimal, InvalidOperation
from http import HTTPStatus
from typing import Any, Final, Protocol
from urllib.parse import quote

import aiohttp
import orjson
from yarl import URL

from clients.python.amn_scanner_client import NotFound
from marketplace.model import Payment, Provider
from marketplace.payments.providers import ProviderRefused, ProviderUnavailable

MAX_ANSWER: Final = 4 << 20  # some twenty thousand transactions of one payment: whoever pays chooses how many
TIMEOUT_S = 10.0
PAUSE_S: Final = 30.0  # after a call that was waited for in vain
MAX_NAME: Final = 200  # characters of an id or a hash that somebody else chose
MAX_DIGITS: Final = 80


@dataclass(frozen=True, slots=True)
class HostedWebhook:
    """What a verified webhook says: of which payment, and which transactions are said to pay it."""

    event_type: str
    payment_name: str
    tx_hashes: tuple[str, ...]
    is_test: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class Created:
    """What a provider answered to a new payment; `destination` where it gives the address itself."""

    provider_payment_id: str
    payment_url: str | None = None
    destination: str | None = None


class Upstream(Protocol):
    """The API of one hosted provider."""

    name: Provider
    gives_address: bool  # False: it is told one of ours

    def offers(self, chain_id: int, token_symbol: str) -> bool:
        """Say whether this token of this chain can be paid there."""

    async def create(self, payment: Payment) -> Created:
        """Let it expect a payment. See `PaymentProvider.create`."""

    async def transactions(self, payment: Payment) -> Sequence[str]:
        """
        Return the transactions that are said to pay.

        Raises:
            NotFound: it does not know the payment.
            ProviderUnavailable, ProviderRefused: nothing was learned.
        """

    def read_webhook(self, raw: bytes, headers: Mapping[str, str], now_s: int) -> HostedWebhook:
        """Return what a webhook says once it is verified. See `PaymentProvider.verify_webhook`."""


class LongAnswer(ProviderUnavailable):
    """An answer was longer than any is read."""


class UpstreamCalls:
    """Calls one API."""

    def __init__(self, name: Provider, session: aiohttp.ClientSession, url: str, headers: Mapping[str, str]) -> None:
        self._name = name
        self._session = session
        self._url = URL(url)
        self._headers = headers
        self._silent_until = 0.0  # by the clock of the loop

    async def call(self, method: str, path: Sequence[str], body: Mapping[str, object] | None = None) -> dict[str, Any]:
        """
        Return the JSON object of a good answer; `path` are its parts, of which each is one whatever is in it.

        Raises:
            NotFound, ProviderRefused, ProviderUnavailable: there is none.
        """
        loop = asyncio.get_running_loop()
        if loop.time() < self._silent_until:
            # A round of a hundred payments would wait for each of them, and everything else for the round.
            raise ProviderUnavailable(f"{self._name} gave no answer just now: it is left alone for a while")
        timeout = aiohttp.ClientTimeout(total=TIMEOUT_S)
        place = "/".join((self._url.raw_path.rstrip("/"), *map(_segment, path)))
        url = self._url.with_path(place, encoded=True)
        sent = None if body is None else orjson.dumps(body)
        headers = {**self._headers, **({} if sent is None else {"Content-Type": "application/json"})}
        try:
            async with self._session.request(
                method, url, data=sent, headers=headers, timeout=timeout, allow_redirects=False
            ) as response:
                status, raw = response.status, await self._bounded(response)
        except (aiohttp.ClientError, TimeoutError, OSError) as exc:
            if isinstance(exc, TimeoutError):
                self._silent_until = loop.time() + PAUSE_S
            # Whether it was done is not known: it is asked again, and asking again does no harm.
            raise ProviderUnavailable(f"{self._name} gives no answer ({type(exc).__name__})") from exc
        self._refuse(status)
        return self._object(raw)

    async def _bounded(self, response: aiohttp.ClientResponse) -> bytes:
        found = bytearray()
        async for piece in response.content.iter_chunked(16 * 1024):
            found += piece
            if len(found) > MAX_ANSWER:
                raise LongAnswer(f"{self._name} answers more than {MAX_ANSWER // 1024} KB")
        return bytes(found)

    def _refuse(self, status: int) -> None:
        if status == HTTPStatus.NOT_FOUND:
            raise NotFound(status, "not_found", f"{self._name} does not know it", {})
        if HTTPStatus.BAD_REQUEST <= status < HTTPStatus.INTERNAL_SERVER_ERROR and status not in {
            HTTPStatus.REQUEST_TIMEOUT,
            HTTPStatus.TOO_MANY_REQUESTS,
        }:
            raise ProviderRefused(status, "refused", f"{self._name} refused it", {})
        if not HTTPStatus.OK <= status < HTTPStatus.MULTIPLE_CHOICES:
            raise ProviderUnavailable(f"{self._name} answered {status}")

    def _object(self, raw: bytes) -> dict[str, Any]:
        try:
            found = orjson.loads(raw)
        except orjson.JSONDecodeError as exc:
            raise ProviderUnavailable(f"{self._name} answered with what is no JSON") from exc
        if not isinstance(found, dict):
            raise ProviderUnavailable(f"{self._name} answered with no JSON object")
        return found


def _segment(part: str) -> str:
    """Return a part of a path, where a name that somebody else chose would otherwise lead somewhere else."""
    if not part.strip("."):
        raise NotFound(HTTPStatus.NOT_FOUND, "not_found", f"{part!r} names nothing", {})
    return quote(part, safe="")


def name_of(value: object) -> str | None:
    """Return an id or a hash that somebody else chose, when it is one."""
    good = isinstance(value, str) and 0 < len(value) <= MAX_NAME and value.isascii() and value.isprintable()
    return str(value) if good and " " not in str(value) and str(value).strip(".") else None


def same_amount(told: object, agreed: str) -> bool:
    """Say whether a decimal that was told is exactly what was agreed; no float is one."""
    if not isinstance(told, str) or not 0 < len(told) <= MAX_DIGITS:
        return False
    try:
        found = Decimal(told)
    except InvalidOperation:
        return False
    return found.is_finite() and found == Decimal(agreed)
