"""Filters and cursors in the addresses of pages."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TypeVar
from urllib.parse import urlencode

from aiohttp import web

from api.bodies import parse_query
from api.schemas import Query

Q = TypeVar("Q", bound=Query)
SHOWN = 50  # rows of a page


def asked(request: web.Request, model: type[Q]) -> Q:
    """Read the filter of a page; a field of its form that is left empty is not asked for."""
    given = {name: value for name, value in request.query.items() if value.strip()}
    if len(given) == len(request.query):
        return parse_query(request, model)
    return parse_query(request.clone(rel_url=request.rel_url.with_query(given)), model)


def next_page(request: web.Request, cursor: str | None) -> str | None:
    """Return the address of the page behind this one, relative to it."""
    return None if cursor is None else f"?{query(request, cursor=cursor)}"


def query(request: web.Request, **changed: str) -> str:
    """Return the filter of this page as it stands in its address."""
    given: Mapping[str, str] = {**{k: v for k, v in request.query.items() if v.strip() and k != "cursor"}, **changed}
    return urlencode(given)
