"""Prices over HTTP: signed by whoever publishes them, or exchange rates as most services tell them."""

from __future__ import annotations

import base64
import binascii
from collections.abc import Callable, Mapping
from http import HTTPStatus
from typing import Final, Protocol
from urllib.parse import urlsplit

import aiohttp
from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey

from marketplace.pricing.decision import Observation
from marketplace.pricing.sources import Reading, SourceFailed, inverse, moment, positive, read_json

MAX_BODY: Final = 64 * 1024
TIMEOUT_S: Final = 5.0
SIGNATURE: Final = "X-Signature-Ed25519"
SIGNED_AS: Final = b"amn-prices-v1\n"  # so that no other message under this key is a list of prices
USD: Final = "USD"


class Fetch(Protocol):
    """Reads one document."""

    async def __call__(self) -> tuple[bytes, Mapping[str, str]]:
        """
        Return its bytes and headers.

        Raises:
            SourceFailed: it cannot be had now.
        """


def fetch_from(session: aiohttp.ClientSession, url: str) -> Fetch:
    """Read a document that an operator named: never from where a redirect leads, never more than a price list is."""

    async def fetch() -> tuple[bytes, Mapping[str, str]]:
        timeout = aiohttp.ClientTimeout(total=TIMEOUT_S)
        try:
            async with session.get(url, timeout=timeout, allow_redirects=False) as response:
                if response.status != HTTPStatus.OK:
                    raise SourceFailed(f"its server answered {response.status}")
                return await _bounded(response), _once(response.headers)
        except (aiohttp.ClientError, TimeoutError, OSError) as exc:
            raise SourceFailed(f"its server gives no answer ({type(exc).__name__})") from exc

    return fetch


async def _bounded(response: aiohttp.ClientResponse) -> bytes:
    found = bytearray()
    async for piece in response.content.iter_chunked(16 * 1024):
        found += piece
        if len(found) > MAX_BODY:
            raise SourceFailed(f"its answer is longer than {MAX_BODY // 1024} KB")
    return bytes(found)


def _once(headers: Mapping[str, str]) -> Mapping[str, str]:
    return {name.lower(): value for name, value in headers.items()}


class SignedPrices:
    """
    A list of prices: `{"asOf": 1767225600, "prices": {"USDT": "0.9998"}}`, with its publisher's Ed25519 signature.

    Only the public key is here, so that nobody who reads our settings or our store can make up a price.
    """

    def __init__(
        self, fetch: Fetch, public_key: bytes, assets: frozenset[str], now_ms: Callable[[], int], *, host: str
    ) -> None:
        self.name = f"signed:{host}"
        self.assets = assets
        self._fetch = fetch
        self._key = Ed25519PublicKey.from_public_bytes(public_key)
        self._now_ms = now_ms

    async def read(self) -> Reading:
        body, headers = await self._fetch()
        self._verify(body, headers.get(SIGNATURE.lower(), ""))
        said = read_json(body)
        now_s = self._now_ms() / 1000
        as_of = moment(said.get("asOf"), now_s)
        return _reading(self.name, self.assets, said.get("prices"), as_of, now_s, per_dollar=False)

    def _verify(self, body: bytes, signature: str) -> None:
        try:
            self._key.verify(base64.b64decode(signature, validate=True), SIGNED_AS + body)
        except (InvalidSignature, binascii.Error, ValueError) as exc:
            raise SourceFailed("the signature is not that of ORACLE_PRICE_PUBLIC_KEY") from exc


class ExchangeRates:
    """Exchange rates of the dollar: `{"base": "USD", "timestamp": 1767225600, "rates": {"EUR": 0.92}}`."""

    def __init__(self, fetch: Fetch, currencies: frozenset[str], now_ms: Callable[[], int], *, host: str) -> None:
        self.name = f"rates:{host}"
        self.assets = currencies
        self._fetch = fetch
        self._now_ms = now_ms

    async def read(self) -> Reading:
        body, _ = await self._fetch()
        said = read_json(body)
        if said.get("base") != USD:
            raise SourceFailed("the rates are not those of the dollar")
        now_s = self._now_ms() / 1000
        as_of = moment(said.get("timestamp"), now_s)
        return _reading(self.name, self.assets, said.get("rates"), as_of, now_s, per_dollar=True)


def _reading(
    name: str, assets: frozenset[str], said: object, as_of_s: int, now_s: float, *, per_dollar: bool
) -> Reading:
    """Return what a list says of our assets; one that cannot be read takes none of the others with it."""
    if not isinstance(said, dict):
        raise SourceFailed("the answer holds no prices")
    prices: dict[str, Observation] = {}
    failures: dict[str, str] = {}
    for asset in sorted(assets):
        try:
            number = positive(said.get(asset))
        except SourceFailed as exc:
            failures[asset] = str(exc)
            continue
        price = inverse(number) if per_dollar else number
        prices[asset] = Observation(source=name, asset=asset, price=price, as_of_s=as_of_s, age_s=now_s - as_of_s)
    return Reading(prices, failures)


def host_of(url: str) -> str:
    """Return what is shown of an address: the rest of it may hold a key."""
    return urlsplit(url).hostname or "unknown"
