"""Filters and numbers of pages in addresses."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TypeVar
from urllib.parse import urlencode

from aiohttp import web

from kernel.pages.kit import relative
from marketplace.model import Page
from marketplace.web.bodies import Listing, validated_query

Q = TypeVar("Q", bound=Listing)


def asked(request: web.Request, model: type[Q]) -> Q:
    """Read the filter of a page; a field of its form that is left empty is not asked for."""
    return validated_query({name: value for name, value in request.query.items() if value.strip()}, model)


def next_page(request: web.Request, place: str, page: Page, total: int) -> str | None:
    """Return the address of the page behind this one of a list; None behind the last."""
    if page.offset + page.limit >= total:
        return None
    given: Mapping[str, str] = {name: value for name, value in request.query.items() if value.strip()}
    return f"{relative(request.path, place)}?{urlencode({**given, 'page': str(page.page + 1)})}"
