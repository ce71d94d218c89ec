"""The one envelope: `{"success": true, "data": …}` or `{"success": false, "error": {…}}`."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from aiohttp import web
from pydantic import ValidationError

from kernel.errors import UnknownOutcome
from kernel.web.http_errors import HttpError, http_error
from marketplace.errors import Refused
from marketplace.model import Page
from marketplace.store.errors import StoreError, Taken
from marketplace.web import shapes
from protocol.codec import encode
from protocol.wire import Wire

RETRY_AFTER_S = "5"


def success(data: Wire, *, status: int = 200) -> web.Response:
    """Answer with data."""
    return _json({"success": True, "data": data}, status)


def paged(kind: type[shapes.Page], total: int, page: Page, **rows: Iterable[Wire]) -> web.Response:
    """Answer with one page of a list."""
    named = {name: tuple(found) for name, found in rows.items()}
    return success(kind(total=total, page=page.page, limit=page.limit, **named))


def refusal(error: Refused) -> web.Response:
    """Answer with an error."""
    told = shapes.Error(code=error.code, message=str(error), details=dict(error.details))
    response = _json(shapes.Refusal(success=False, error=told), error.status)
    if error.code == "unauthorized":
        response.headers["WWW-Authenticate"] = "Bearer"
    if "retryAfter" in error.details:
        response.headers["Retry-After"] = str(error.details["retryAfter"])
    return response


def http_refusal(error: HttpError) -> web.Response:
    """Answer with what is wrong with a request as HTTP."""
    response = refusal(Refused(error.code, str(error)))
    response.headers.update(error.headers)
    return response


def answer_to(exc: Exception) -> web.Response | None:
    """Answer with what a failure means to a caller; None when it means a bug."""
    found = http_error(exc)
    if found is not None:
        return http_refusal(found)
    known = translate(exc)
    return None if known is None else refusal(known)


def translate(exc: Exception) -> Refused | None:
    """Return what a failure of the layers below means to a caller; None when it means a bug."""
    match exc:
        case Refused():
            return exc
        case ValidationError():
            return from_validation(exc)
        case UnknownOutcome():
            said = "the connection to the store was lost: not known whether it was stored; read it before you try again"
            return Refused("unknown_outcome", said)
        case Taken():
            return Refused("conflict", "this contradicts what is stored: read it again")
        case StoreError():
            return Refused("store_unavailable", "the store is not available; nothing was changed")
        case _:
            return None


def from_validation(exc: ValidationError) -> Refused:
    """Name the first field that is wrong in the sentence, and every one in the details."""
    found = exc.errors(include_url=False, include_context=False, include_input=False)
    told = []
    for error in found:
        message = error["msg"].removeprefix("Value error, ")
        if error["type"] == "missing":
            message = "is required"
        # A rule over several fields has no place of its own: its sentence starts with the field to change.
        name = ".".join(str(part) for part in error["loc"])
        if not name or message.startswith(f"{name}."):
            name, _, message = message.partition(" ")
        told.append({"field": name, "message": f"{message[:1].lower()}{message[1:]}"})
    first = told[0]
    return Refused("invalid", f"{first['field']} {first['message']}", field=first["field"], fields=told)


def _json(body: Any, status: int) -> web.Response:
    return web.Response(body=encode(body), status=status, content_type="application/json")
