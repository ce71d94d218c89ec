"""Compares real answers with the description the API serves: every field, nothing besides, every status."""

from __future__ import annotations

import functools
import re
from typing import Any

import jsonschema_rs
import orjson

from api.openapi import build

_KEPT = 20_000
_seen: set[tuple[str, int, int]] = set()  # what was compared before, so that whoever polls pays once


def check_described(method: str, path: str, status: int, raw: bytes) -> None:
    """Fail when an answer is not what the description says."""
    known = (f"{method} {path.partition('?')[0]}", status, hash(raw))
    if known in _seen:
        return
    operation = _operation(method, path.partition("?")[0])
    if operation is None:
        if status >= 400:
            _validator('{"$ref": "#/components/schemas/Error"}').validate(orjson.loads(raw))
        return
    answers = operation["responses"]
    assert str(status) in answers, f"{method} {path} answered {status}, which is not described: {raw[:200]!r}"
    content = answers[str(status)]["content"]
    if "application/json" in content:
        _validator(orjson.dumps(content["application/json"]["schema"]).decode()).validate(orjson.loads(raw))
    if len(_seen) < _KEPT:
        _seen.add(known)


@functools.cache
def _validator(schema: str) -> jsonschema_rs.Draft202012Validator:
    return jsonschema_rs.Draft202012Validator({**orjson.loads(schema), "components": build()["components"]})


def _operation(method: str, path: str) -> dict[str, Any] | None:
    for pattern, methods in _patterns():
        if pattern.fullmatch(path):
            found: dict[str, Any] | None = methods.get(method.lower())
            return found
    return None


@functools.cache
def _patterns() -> list[tuple[re.Pattern[str], dict[str, Any]]]:
    paths = build()["paths"].items()
    return [(re.compile(re.sub(r"\{\w+\}", "[^/]+", path)), methods) for path, methods in paths]
