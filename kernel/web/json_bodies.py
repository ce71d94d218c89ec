"""Bodies as JSON: an object, and no deeper than anything that is asked for."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any, Final

import orjson

from kernel.web.http_errors import HttpError

MAX_DEPTH: Final = 32


def json_object(raw: bytes) -> dict[str, Any]:
    """
    Return the JSON object a body is.

    Raises:
        HttpError: it is none, or nests deeper than `MAX_DEPTH`.
    """
    try:
        body = orjson.loads(raw)
    except orjson.JSONDecodeError as exc:
        raise HttpError("bad_json", f"the body is not valid JSON: {exc}") from exc
    if not isinstance(body, dict):
        raise HttpError("bad_json", "the body must be a JSON object")
    # The parser takes a thousand levels: a value that deep cannot be named in an error, and such a name was a 500.
    if raw.count(b"{") + raw.count(b"[") > MAX_DEPTH and not _is_shallow(body):  # mostly too few to be deep
        raise HttpError("bad_json", f"the body nests deeper than {MAX_DEPTH} levels")
    return body


def _is_shallow(body: Any) -> bool:
    level = [body]
    for _ in range(MAX_DEPTH):
        level = [each for value in level for each in _inner(value)]
        if not level:
            return True
    return False


def _inner(value: dict[str, Any] | list[Any]) -> Iterable[Any]:
    """Return the objects and lists in an object or a list."""
    children = value.values() if isinstance(value, dict) else value
    return (each for each in children if isinstance(each, dict | list))
