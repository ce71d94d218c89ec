"""How the scanner says no: one shape, a status for each code, and what a status means (docs/api.md)."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Annotated, Final

from msgspec import Meta

from protocol.wire import Wire

# Every code the API answers with; docs/api.md has a line for each.
CODES: Final[Mapping[str, int]] = {
    "bad_http": 400,
    "bad_json": 400,
    "chain_unavailable": 502,
    "conflict": 409,
    "expectation_failed": 417,
    "forbidden_callback": 400,
    "forbidden_host": 403,
    "headers_too_large": 431,
    "internal": 500,
    "invalid_request": 400,
    "method_not_allowed": 405,
    "no_proof": 409,
    "not_found": 404,
    "not_paid": 409,
    "payload_too_large": 413,
    "rate_limited": 429,
    "request_timeout": 408,
    "store_unavailable": 503,
    "unknown_outcome": 503,
    "target_too_long": 414,
    "token_mismatch": 400,
    "unauthorized": 401,
    "unsupported_chain": 400,
    "unsupported_encoding": 415,
    "unsupported_token": 400,
}

# What a refusal with each status says.
STATUSES: Final[Mapping[int, str]] = {
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
    429: "Too many: of this client without a key behind a trusted proxy, of test webhooks in a minute, or of a payment "
    "page.",
    431: "There are more than 128 headers, or one of more than 8,190 bytes.",
    502: "The chain cannot be read now.",
    503: "Not ready, or the store is not available.",
}


class ErrorDetails(Wire):
    """What an error is about."""

    field: Annotated[str, Meta(description="The field, parameter or state to change.")]


class Error(Wire, omit_defaults=True):
    """Every failure."""

    error: Annotated[str, Meta(description="A sentence for people.")]
    code: Annotated[str, Meta(description="A stable name for programs.", extra_json_schema={"enum": list(CODES)})]
    details: ErrorDetails | None = None
