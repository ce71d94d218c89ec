"""
What is wrong with a request as HTTP, whatever its route: one code and one sentence each, in both services.

The web library answers some of it by itself, in plain text and without a code: an `Expect` it does not know, what it
cannot parse, a path or a method that is not there. Here all of it becomes an `HttpError`, and the service says it in
the shape of its other errors.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from http import HTTPStatus
from typing import Final

from aiohttp import web
from aiohttp.http_exceptions import BadHttpMessage, ContentEncodingError, HttpProcessingError, InvalidURLError
from aiohttp.http_exceptions import LineTooLong as TooLong

# Different numbers: they are how one too long line is told from the other.
MAX_TARGET_BYTES: Final = 8_000
MAX_HEADER_BYTES: Final = 8_190
MAX_HEADERS: Final = 128
REASON_SHOWN: Final = 80  # characters of what the parser says

CODES: Final[Mapping[str, int]] = {
    "bad_http": 400,
    "bad_json": 400,
    "not_found": 404,
    "method_not_allowed": 405,
    "request_timeout": 408,
    "payload_too_large": 413,
    "target_too_long": 414,
    "unsupported_encoding": 415,
    "expectation_failed": 417,
    "rate_limited": 429,
    "headers_too_large": 431,
    "internal": 500,
}
# What any route may answer before it is asked anything.
ANY_ROUTE: Final = (
    "bad_http",
    "request_timeout",
    "payload_too_large",
    "target_too_long",
    "unsupported_encoding",
    "expectation_failed",
    "rate_limited",
    "headers_too_large",
)


class HttpError(Exception):
    """A request that is answered with one of the codes above."""

    def __init__(self, code: str, message: str, *, headers: Mapping[str, str] | None = None) -> None:
        super().__init__(message)
        self.code = code
        self.headers: Mapping[str, str] = headers or {}


@dataclass(frozen=True, slots=True)
class ErrorShape:
    """How a service answers with an `HttpError`."""

    render: Callable[[HttpError], web.Response]


ERROR_SHAPE = web.AppKey("error shape", ErrorShape)


def http_error(exc: BaseException | None) -> HttpError | None:
    """Return what a failure of the web library means to a caller; None when it means a bug."""
    match exc:
        case HttpError():
            return exc
        case HttpProcessingError():
            return unparsable(exc)
        case web.HTTPMethodNotAllowed():
            allowed = ", ".join(sorted(exc.allowed_methods))
            return HttpError("method_not_allowed", f"{exc.method} is not allowed here", headers={"Allow": allowed})
        case web.HTTPNotFound():
            return HttpError("not_found", "there is nothing here")
        case web.HTTPException() if exc.status < HTTPStatus.INTERNAL_SERVER_ERROR:
            return HttpError("bad_http", exc.reason)
    return None


def unparsable(exc: HttpProcessingError) -> HttpError:
    """Return what is wrong with bytes that are no request."""
    match exc:
        case TooLong(args=(_, limit, *_)) if limit == MAX_TARGET_BYTES:
            return HttpError("target_too_long", f"the target of a request is at most {MAX_TARGET_BYTES} bytes long")
        case TooLong():
            return HttpError("headers_too_large", f"a header is at most {MAX_HEADER_BYTES} bytes long")
        case BadHttpMessage(message="Too many headers received"):
            return HttpError("headers_too_large", f"a request has at most {MAX_HEADERS} headers")
        case ContentEncodingError():
            return unsupported_encoding()
        case InvalidURLError():
            return HttpError("bad_http", "the target of the request is no path and no URL")
        case _:
            # The first line is the parser's own sentence; what follows are the bytes of whoever sent them.
            reason = exc.message.partition("\n")[0].rstrip(":")[:REASON_SHOWN]
            return HttpError("bad_http", f"this is no HTTP/1.1 request: {reason}")


def unsupported_encoding() -> HttpError:
    return HttpError(
        "unsupported_encoding",
        "Content-Encoding must be gzip, deflate or identity",
        headers={"Accept-Encoding": "gzip, deflate"},
    )
