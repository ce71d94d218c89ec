"""One endpoint of a chain: what is known of it, and for how long it is left alone after a failure."""

from __future__ import annotations

import re
from dataclasses import dataclass, field
from urllib.parse import urlsplit

from chains.errors import ChainError, ChainMisconfigured, ChainUnavailable, ProvenLie
from chains.rpc.endpoint_limits import LearnedLimits

FIRST_BACKOFF_S = 1.0  # doubled with every failure in a row
MAX_BACKOFF_S = 60.0
MAX_RETRY_AFTER_S = 600.0  # an endpoint that names days is asked again by then
MISCONFIGURED_BACKOFF_S = 300.0
PROVEN_LIE_BACKOFF_S = 3600.0  # while others remain, which have not been seen to lie
# With every endpoint backing off nothing of the chain is seen: one nonsensical answer once cost five minutes
# (docs/rules.md, C). So an endpoint without an alternative is left alone for a much shorter time.
MAX_SOLE_BACKOFF_S = 10.0
MAX_SOLE_RETRY_AFTER_S = 30.0  # where the endpoint named a time
_URL = re.compile(r"\b\w+://\S+")
_MIN_SECRET = 8  # shorter parts of a URL are words such as "v3" or "mainnet"
_MAX_REASON = 200


class Unserved(ChainMisconfigured):
    """The endpoint does not serve this one call. It stays in use for others; the next one is tried."""


class Behind(Unserved):
    """
    The endpoint does not serve the newest blocks yet.

    Attributes:
        time: unix seconds of the newest block that was served; None where it is not known.
    """

    def __init__(self, message: str, *, time: int | None) -> None:
        super().__init__(message)
        self.time = time


@dataclass(slots=True, eq=False)
class Endpoint:
    """One URL, and what we know of it. Only `label` may be shown: the URL may carry a key."""

    url: str = field(repr=False)
    label: str
    checked: bool = False  # seen to serve the right chain since it last failed
    failures: int = 0  # in a row
    backoff_until: float = 0.0  # monotonic; while another endpoint can be asked
    sole_backoff_until: float = 0.0  # monotonic; when every endpoint is backing off
    last_error: str = ""
    lie: str = ""  # what it said that was disproved
    lying_until: float = 0.0  # monotonic; so long it is shown as lying
    latency_s: float | None = None  # of the last answer
    limits: LearnedLimits = field(default_factory=LearnedLimits, repr=False)

    def redact(self, text: str) -> str:
        """Return a text of the endpoint as one short line without any part of its URL that may be a secret."""
        line = _URL.sub("<url>", " ".join(text.split()))
        for secret in _secrets(self.url):
            line = line.replace(secret, "***")
        return line[:_MAX_REASON]


def _secrets(url: str) -> list[str]:
    parts = urlsplit(url)
    found = [*parts.path.split("/"), *re.split(r"[=&]", parts.query), parts.username or "", parts.password or ""]
    return sorted((text for text in found if len(text) >= _MIN_SECRET), key=len, reverse=True)


def label_of(url: str, place: int) -> str:
    """Return host:port#place, counted from 1: never the scheme, path, query or user info, which may carry a key."""
    return f"{urlsplit(url).netloc.rpartition('@')[2]}#{place}"


def backoff_s(error: ChainError, failures: int) -> float:
    """Return how long to leave an endpoint alone while another one serves."""
    if isinstance(error, ProvenLie):
        return PROVEN_LIE_BACKOFF_S
    if isinstance(error, ChainMisconfigured):
        return MISCONFIGURED_BACKOFF_S
    return max(min(MAX_BACKOFF_S, _doubled(failures)), min(MAX_RETRY_AFTER_S, _requested_wait_s(error)))


def sole_backoff_s(error: ChainError, failures: int) -> float:
    """Return how long to leave an endpoint alone when every endpoint is backing off."""
    if isinstance(error, ProvenLie):
        return MAX_SOLE_BACKOFF_S
    return max(min(MAX_SOLE_BACKOFF_S, _doubled(failures)), min(MAX_SOLE_RETRY_AFTER_S, _requested_wait_s(error)))


def _doubled(failures: int) -> float:
    return FIRST_BACKOFF_S * (1 << min(failures - 1, 10))


def _requested_wait_s(error: ChainError) -> float:
    """Return the seconds the endpoint itself wants to be left alone."""
    return (error.retry_after or 0.0) if isinstance(error, ChainUnavailable) else 0.0
