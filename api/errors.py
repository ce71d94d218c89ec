"""
The one error shape, and how every failure gets it.

`{"error": "<sentence>", "code": "<stable name>", "details": {...}}`; `code` and `details` where they help.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import orjson
from aiohttp import web
from pydantic import ValidationError

from chains.errors import ChainError, InvalidTxHash
from kernel.web import http_errors
from kernel.web.http_errors import HttpError, http_error
from scanner.balances import BalanceUnreadable
from scanner.errors import InvalidRequest
from scanner.store.errors import Conflict, NotFound, StoreError

NAME_SHOWN = 64  # characters of a name in a sentence

# Every code this API answers with; docs/api.md has a line for each.
CODES = {
    **http_errors.CODES,
    "chain_unavailable": 502,
    "conflict": 409,
    "forbidden_callback": 400,
    "forbidden_host": 403,
    "invalid_request": 400,
    "store_unavailable": 503,
    "token_mismatch": 400,
    "unauthorized": 401,
    "unsupported_chain": 400,
    "unsupported_token": 400,
}


class ApiError(Exception):
    """An answer that is an error."""

    def __init__(
        self,
        code: str,
        message: str,
        *,
        details: Mapping[str, Any] | None = None,
        headers: Mapping[str, str] | None = None,
    ) -> None:
        super().__init__(message)
        self.code = code
        self.details = details
        self.headers: Mapping[str, str] = headers or {}

    @property
    def status(self) -> int:
        return CODES[self.code]


def json_response(body: Any, *, status: int = 200) -> web.Response:
    """Answer with JSON."""
    return web.Response(body=orjson.dumps(body), status=status, content_type="application/json")


def render(error: ApiError) -> web.Response:
    """Answer with an error in its shape."""
    body: dict[str, Any] = {"error": str(error), "code": error.code}
    if error.details:
        body["details"] = error.details
    response = json_response(body, status=error.status)
    response.headers.update(error.headers)
    if error.code == "unauthorized":
        response.headers["WWW-Authenticate"] = "Bearer"
    return response


def from_http(error: HttpError) -> ApiError:
    """Return what is wrong with a request as HTTP as one of our errors."""
    return ApiError(error.code, str(error), headers=error.headers)


def translate(exc: Exception) -> ApiError | None:  # noqa: PLR0911 - a table, one line a case
    """Return what a failure of the layers below means to a caller; None when it means a bug."""
    match exc:
        case ApiError():
            return exc
        case InvalidRequest():
            return ApiError(exc.code, str(exc), details={"field": exc.field})
        case ValidationError():
            return from_validation(exc)
        case NotFound():
            return ApiError("not_found", str(exc))
        case Conflict():
            return ApiError("conflict", str(exc), details={"field": exc.field} if exc.field else None)
        case StoreError():
            return ApiError("store_unavailable", "the store is not available; nothing was changed")
        case InvalidTxHash():
            return ApiError("invalid_request", f"txHash: {exc}", details={"field": "txHash"})
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
    return ApiError("invalid_request", text, details={"field": name})
