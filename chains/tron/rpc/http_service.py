"""One Tron service: the key in its header, never faster than allowed, and its refusals in our own words."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any
from urllib.parse import urlsplit

import orjson

from chains.errors import ChainMisconfigured, ChainProtocolError, ChainUnavailable
from chains.rpc.endpoint import MAX_SOLE_RETRY_AFTER_S, Endpoint, Unserved
from chains.rpc.http_client import OK, HttpAnswer, HttpClient, TooLarge
from chains.rpc.lenient_json import loads
from chains.rpc.token_bucket import TokenBucket
from chains.tron.rpc.provider_errors import asked_to_wait, is_busy

KEY_HEADER = "TRON-PRO-API-KEY"
RATE_WITH_KEY = 15.0  # requests a second
RATE_WITHOUT_KEY = 5.0

_TOO_LARGE = 413
_NOT_SERVED = {404, 405, 410, 501}
_FORBIDDEN = {401, 402, 403}
_REDIRECTS = range(300, 400)
_SERVER_ERRORS = range(500, 600)


class TronService:
    """Asks the endpoints of one chain; a bucket for every host keeps us below its limit."""

    def __init__(
        self,
        http: HttpClient,
        *,
        api_key: str | None = None,
        per_second: float | None = None,
        bucket: Callable[[float], TokenBucket] = TokenBucket,
        share: float | None = None,
        buckets: dict[str, TokenBucket] | None = None,
    ) -> None:
        self._http = http
        self._headers = {"Accept": "application/json"} | ({KEY_HEADER: api_key} if api_key else {})
        self._key = api_key
        self.per_second = per_second or (RATE_WITH_KEY if api_key else RATE_WITHOUT_KEY)
        self._new_bucket = bucket
        self._buckets = {} if buckets is None else buckets
        self._share = share  # the part of the rate that may be used; None: all of it
        self._shares: dict[str, TokenBucket] = {}

    def paced(self, share: float) -> TronService:
        """Return the same service for work that has time: with at most this share of each host's rate."""
        return TronService(
            self._http,
            api_key=self._key,
            per_second=self.per_second,
            bucket=self._new_bucket,
            share=share,
            buckets=self._buckets,
        )

    async def get(self, endpoint: Endpoint, path: str, params: Mapping[str, str]) -> Any:
        """
        Ask with the parameters in the address.

        Raises:
            ChainUnavailable: no answer, or the service wants to be left alone.
            ChainProtocolError: an answer that is no JSON.
            ChainMisconfigured: it refuses us; `Unserved` when it only lacks this route.
        """
        return self._read(endpoint, await self._ask(endpoint, "GET", path, params=params))

    async def post(self, endpoint: Endpoint, path: str, body: Any) -> Any:
        """Ask with a JSON body; raises what `get` raises."""
        return self._read(endpoint, await self._ask(endpoint, "POST", path, body=orjson.dumps(body)))

    async def rpc(self, endpoint: Endpoint, body: bytes) -> HttpAnswer:
        """
        Post to the JSON-RPC side and return whatever comes back, unless it says to stay away.

        Raises:
            ChainUnavailable: no answer, or the service wants to be left alone.
        """
        answer = await self._ask(endpoint, "POST", "/jsonrpc", body=body)
        said = _complaint(_loads(answer))
        if said is not None:  # the front, outside any envelope
            self._refused(endpoint, answer, said)
        if answer.status in _NOT_SERVED:
            raise Unserved(f"HTTP {answer.status}")
        return answer

    async def _ask(
        self,
        endpoint: Endpoint,
        verb: str,
        path: str,
        *,
        params: Mapping[str, str] | None = None,
        body: bytes | None = None,
    ) -> HttpAnswer:
        bucket = self._bucket(endpoint)
        if bucket.paused_s > 0:
            raise ChainUnavailable("suspended for asking too often", retry_after=bucket.paused_s)
        if self._share is not None:
            await self._of_host(self._shares, endpoint, self.per_second * self._share).acquire()
        await bucket.acquire()
        headers = self._headers | ({} if body is None else {"Content-Type": "application/json"})
        return await self._http.request(verb, endpoint.url + path, headers=headers, params=params, body=body)

    def _bucket(self, endpoint: Endpoint) -> TokenBucket:
        return self._of_host(self._buckets, endpoint, self.per_second)

    def _of_host(self, buckets: dict[str, TokenBucket], endpoint: Endpoint, per_second: float) -> TokenBucket:
        host = urlsplit(endpoint.url).netloc
        if host not in buckets:
            buckets[host] = self._new_bucket(per_second)
        return buckets[host]

    def _read(self, endpoint: Endpoint, raw: HttpAnswer) -> Any:
        answer = _loads(raw)
        said = _complaint(answer)
        if raw.status != OK or said is not None:
            self._refused(endpoint, raw, said or _text(raw))
        if answer is None and raw.body.strip() != b"null":
            shown = self._quoted(endpoint, raw.body[:80].decode("latin-1"))
            raise ChainProtocolError(f"the answer is not JSON: {shown!r}")
        return answer

    def _refused(self, endpoint: Endpoint, raw: HttpAnswer, said: str) -> None:
        """Raise what a refusal means; the front names a suspension in its text alone, with several statuses."""
        shown = f"HTTP {raw.status}: {said}"
        wait = asked_to_wait(said, status=raw.status)
        if wait is not None:
            raise self._suspended(endpoint, shown, raw.retry_after or wait)
        shown = self._quoted(endpoint, shown)
        if is_busy(said) or raw.status in _SERVER_ERRORS:
            raise ChainUnavailable(shown, retry_after=raw.retry_after)
        if raw.status == _TOO_LARGE:
            raise TooLarge(shown)
        if raw.status in _NOT_SERVED:
            raise Unserved(shown)
        if raw.status in _FORBIDDEN or raw.status in _REDIRECTS:
            raise ChainMisconfigured(f"{shown}: check the URL and its key")
        raise ChainProtocolError(shown)

    def _suspended(self, endpoint: Endpoint, said: str, wait: float) -> ChainUnavailable:
        # The pool may leave an endpoint alone for longer while others serve; the only one is asked again by then.
        self._bucket(endpoint).pause_for(min(wait, MAX_SOLE_RETRY_AFTER_S))
        return ChainUnavailable(self._quoted(endpoint, said), retry_after=wait)

    def _quoted(self, endpoint: Endpoint, text: str) -> str:
        return endpoint.redact(text.replace(self._key, "***") if self._key else text)


def _loads(raw: HttpAnswer) -> Any:
    try:
        return loads(raw.body)
    except ValueError:
        return None


def _text(raw: HttpAnswer) -> str:
    return raw.body[:300].decode(errors="replace")


def _complaint(answer: Any) -> str | None:
    """Return what the front says instead of an answer: with status 200 as well, and outside any envelope."""
    if isinstance(answer, dict):
        said = answer.get("Error")
        if said is None and answer.get("success") is False:
            said = answer.get("error", "no success")
        return None if said is None else str(said)
    return None


def layer(name: str, *, solid: bool) -> str:
    """Return the path of a route, on the irreversible side of a node or on the other."""
    return f"/walletsolidity/{name}" if solid else f"/wallet/{name}"
