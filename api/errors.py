"""
The one error shape, and how every failure gets it.

`{"error": "<sentence>", "code": "<stable name>", "details": {...}}`; `code` and `details` where they help.
"""

from __future__ import annotations

from collections.abc import Mapping

from aiohttp import web
from pydantic import ValidationError

from chains.errors import ChainError, InvalidTxHash, TooManyTransfers
from kernel.errors import UnknownOutcome
from kernel.web.http_errors import HttpError, http_error
from protocol.codec import encode
from protocol.errors import CODES, Error, ErrorDetails
from protocol.wire import Wire
from scanner.balances import BalanceUnreadable
from scanner.checkout.payments import TooOften
from scanner.errors import InvalidRequest, RateLimited
from scanner.store.errors import Conflict, NotFound, StoreError

NAME_SHOWN = 64  # characters of a name in a sentence


class ApiError(Exception):
    """An answer that is an error."""

    def __init__(
        self,
        code: str,
        message: str,
        *,
        field: str | None = None,
        headers: Mapping[str, str] | None = None,
    ) -> None:
        super().__init__(message)
        self.code = code
        self.field = field
        self.headers: Mapping[str, str] = headers or {}

    @property
    def status(self) -> int:
        return CODES[self.code]


def json_response(body: Wire, *, status: int = 200) -> web.Response:
    """Answer with JSON."""
    return web.Response(body=encode(body), status=status, content_type="application/json")


def render(error: ApiError) -> web.Response:
    """Answer with an error in its shape."""
    details = None if error.field is None else ErrorDetails(field=error.field)
    response = json_response(Error(error=str(error), code=error.code, details=details), status=error.status)
    response.headers.update(error.headers)
    if error.code == "unauthorized":
        response.headers["WWW-Authenticate"] = "Bearer"
    return response


def from_http(error: HttpError) -> ApiError:
    """Return what is wrong with a request as HTTP as one of our errors."""
    return ApiError(error.code, str(error), headers=error.headers)


def translate(exc: Exception) -> ApiError | None:  # noqa: C901, PLR0911, PLR0912 - a table, one line a case
    """Return what a failure of the layers below means to a caller; None when it means a bug."""
    match exc:
        case ApiError():
            return exc
        case InvalidRequest():
            return ApiError(exc.code, str(exc), field=exc.field)
        case RateLimited():
            return ApiError("rate_limited", str(exc), headers={"Retry-After": str(exc.retry_after_s)})
        case ValidationError():
            return from_validation(exc)
        case NotFound():
            return ApiError("not_found", str(exc))
        case Conflict():
            return ApiError("conflict", str(exc), field=exc.field)
        case UnknownOutcome():
            said = (
                "the connection to the store was lost: not known whether it was stored; the same request again is safe"
            )
            return ApiError("unknown_outcome", said)
        case StoreError():
            return ApiError("store_unavailable", "the store is not available; nothing was changed")
        case TooOften():
            return ApiError("rate_limited", str(exc), headers={"Retry-After": str(exc.retry_after)})
        case InvalidTxHash() | TooManyTransfers():
            return ApiError("invalid_request", f"txHash: {exc}", field="txHash")
        case BalanceUnreadable():
            return ApiError("chain_unavailable", str(exc))
        case ChainError():
            return ApiError("chain_unavailable", f"the chain cannot be read: {exc}")
        case _:
            found = http_error(exc)
            return None if found is None else from_http(found)


def from_validation(exc: ValidationError) -> ApiError:
    """Name the first field that is wrong, in one sentence."""
    first = exc.errors(include_url=False, include_context=False, include_input=False)[0]
    message = first["msg"].removeprefix("Value error, ")
    # A rule over several fields has no place of its own: its sentence starts with the field to change.
    # A name that the caller made up may be as long as a body.
    name = ".".join(str(part) for part in first["loc"])[:NAME_SHOWN] or message.split(" ")[0].rstrip(":")
    if first["type"] == "missing":
        message = "is required"
    elif first["type"] == "extra_forbidden":
        message = "is not a known field"
    text = message if message.startswith(name) else f"{name} {message[:1].lower()}{message[1:]}"
    return ApiError("invalid_request", text, field=name)
