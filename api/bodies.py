"""Reading requests: bodies, query strings, cursors."""

from __future__ import annotations

import base64
import binascii
import re
from typing import Any, TypeVar

import orjson
from aiohttp import web
from pydantic import BaseModel

from api.errors import NAME_SHOWN, ApiError
from kernel.web.ids import check_name as check_id
from kernel.web.json_bodies import json_object

UNPRINTABLE = re.compile(r"[\x00-\x1f\x7f-\x9f\ud800-\udfff]")

M = TypeVar("M", bound=BaseModel)


async def parse(request: web.Request, model: type[M], *, optional: bool = False) -> M:
    """Read a JSON object of one shape from the body; `whole_body` has waited for it."""
    raw = await request.read()
    if not raw and optional:
        return model()
    body = json_object(raw)
    if not _is_plain(raw):
        _check_text(body)
    return model.model_validate(body)


def _is_plain(raw: bytes) -> bool:
    """Say whether JSON can hold no control character: in ASCII all but DEL are written with a backslash."""
    return raw.isascii() and b"\\" not in raw and b"\x7f" not in raw


def _check_text(body: dict[str, Any]) -> None:
    """Refuse control characters in whatever a caller names: texts end in headers, paths and lines of a log."""
    waiting: list[tuple[str, Any]] = list(body.items())
    while waiting:
        name, value = waiting.pop()
        if UNPRINTABLE.search(name):
            raise ApiError("invalid_request", "the name of a field must not contain control characters")
        if isinstance(value, str) and UNPRINTABLE.search(value):
            shown = name[:NAME_SHOWN]
            raise ApiError("invalid_request", f"{shown} must not contain control characters", field=shown)
        if isinstance(value, list):
            waiting += [(name, item) for item in value]
        elif isinstance(value, dict):
            waiting += value.items()


def path_id(request: web.Request, name: str) -> str:
    """Return the id of an intent or a watch in the path."""
    try:
        return check_id(request.match_info[name])
    except ValueError as exc:
        raise ApiError("invalid_request", f"{name} {exc}", field=name) from exc


def parse_query(request: web.Request, model: type[M]) -> M:
    """Read the query string; a parameter given twice is refused."""
    for name, value in request.query.items():
        if UNPRINTABLE.search(name) or UNPRINTABLE.search(value):
            shown = UNPRINTABLE.sub("", name)[:NAME_SHOWN]
            message = f"{shown or 'a parameter'} must not contain control characters"
            raise ApiError("invalid_request", message, field=shown)
        if len(request.query.getall(name)) > 1:
            shown = name[:NAME_SHOWN]
            raise ApiError("invalid_request", f"{shown} is given more than once", field=shown)
    return model.model_validate(dict(request.query))


def encode_cursor(*parts: object) -> str:
    """Return an opaque cursor."""
    return base64.urlsafe_b64encode(orjson.dumps(parts)).decode().rstrip("=")


def decode_cursor(text: str, *types: type) -> tuple[Any, ...]:
    """Return what a cursor of ours holds."""
    try:
        parts = orjson.loads(base64.b64decode(text + "=" * (-len(text) % 4), altchars=b"-_", validate=True))
    except (binascii.Error, ValueError) as exc:
        raise _bad_cursor() from exc
    if not isinstance(parts, list) or [type(part) for part in parts] != list(types):
        raise _bad_cursor()
    if any(isinstance(part, int) and not 0 <= part < 2**63 for part in parts):
        raise _bad_cursor()
    # PostgreSQL takes no zero byte in a text: such a cursor was a 503, as if the store had failed.
    if any(isinstance(part, str) and UNPRINTABLE.search(part) for part in parts):
        raise _bad_cursor()
    return tuple(parts)


def _bad_cursor() -> ApiError:
    return ApiError("invalid_request", "cursor is not one of ours", field="cursor")
