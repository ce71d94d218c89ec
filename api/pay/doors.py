"""Who may see a payment page, how often, and how many pages stay open: no key is asked for here."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Final

from aiohttp import web

from api.errors import ApiError
from api.keys import SERVICES
from config.settings import HttpSettings
from kernel.web import clients
from kernel.web.clients import counted_as
from kernel.web.connections import default_limits, prove
from kernel.web.rate_limiter import Limit, RateLimiter
from scanner.checkout.state import Payment
from scanner.store.errors import NotFound

MINUTE_S = 60
LIMITS: Final[Mapping[str, Limit]] = {
    "pages": Limit(300, MINUTE_S),
    "events": Limit(300, MINUTE_S),
    "rechecks": Limit(300, MINUTE_S),
    "unknown": Limit(60, MINUTE_S),  # tokens that are for nothing
}
MAX_OPEN_A_PAYMENT = 10
MAX_OPEN_A_CLIENT = 30
# Anything else is not looked for: PostgreSQL takes no zero byte in a text, and `/pay/%00` was a 503.
_TOKEN = re.compile(r"[A-Za-z0-9_-]{1,64}")


@dataclass(slots=True)
class OpenPages:
    """The pages that are told of changes: each holds a connection for as long as its buyer likes."""

    most: int
    _by_payment: Counter[str] = field(default_factory=Counter)
    _by_client: Counter[str] = field(default_factory=Counter)

    @contextmanager
    def opened(self, payment: str, client: str) -> Iterator[None]:
        """
        Count a page until the block ends.

        Raises:
            ApiError: there are as many as may be, of this payment, of this client or of all.
        """
        full = (
            self._by_payment[payment] >= MAX_OPEN_A_PAYMENT
            or self._by_client[client] >= MAX_OPEN_A_CLIENT
            or self._by_payment.total() >= self.most
        )
        if full:
            raise ApiError("rate_limited", "too many pages are open", headers={"Retry-After": "30"})
        self._by_payment[payment] += 1
        self._by_client[client] += 1
        try:
            yield
        finally:
            for counter, name in ((self._by_payment, payment), (self._by_client, client)):
                counter[name] -= 1
                if not counter[name]:
                    del counter[name]


@dataclass(frozen=True, slots=True)
class PaySettings:
    """What the payment pages of one application go by."""

    public_url: str | None
    frame_ancestors: str
    trusted_hops: int
    limiter: RateLimiter
    open_pages: OpenPages


PAY = web.AppKey("payment pages", PaySettings)


def pay_settings(http: HttpSettings, limiter: RateLimiter) -> PaySettings:
    """Return what payment pages go by; at most a quarter of the connections are pages that stay open."""
    most = max(1, default_limits(trusted_hops=http.trusted_hops).connections // 4)
    return PaySettings(http.public_url, http.frame_ancestors, http.trusted_hops, limiter, OpenPages(most))


def client_of(request: web.Request) -> str:
    """Return what a request is counted as."""
    return counted_as(clients.client_of(request, request.app[PAY].trusted_hops))


def admit(request: web.Request, name: str) -> None:
    """
    Count a request of a client.

    Raises:
        ApiError: it asked too often.
    """
    wait_s = request.app[PAY].limiter.take(name, client_of(request))
    if wait_s:
        message = f"too many requests: try again in {wait_s} seconds"
        raise ApiError("rate_limited", message, headers={"Retry-After": str(wait_s)})


async def payment_of(request: web.Request, name: str) -> Payment:
    """
    Return the payment a request names by its token, and count the request.

    Raises:
        NotFound: there is none.
        ApiError: it was asked too often.
    """
    admit(request, name)
    token = request.match_info["payToken"]
    try:
        if not _TOKEN.fullmatch(token):
            raise NotFound("there is no such payment")
        payment = await request.app[SERVICES].payments.find(token)
    except NotFound:
        admit(request, "unknown")  # 128 bits are not guessed; whoever tries anyway does not cost the store for ever
        raise
    prove(request)
    return payment
