"""Calls to hosted providers: a name that somebody else chose is one part of a path, whatever is in it."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import pytest
from yarl import URL

from clients.python.amn_scanner_client import NotFound
from marketplace.model import Provider
from marketplace.payments.hosted.upstream import UpstreamCalls, name_of

BASE = "https://provider.example/base"


class Session:
    """Keeps where it was called, and answers nothing."""

    def __init__(self) -> None:
        self.called: list[URL] = []

    @asynccontextmanager
    async def request(self, method: str, url: URL, **more: Any) -> AsyncIterator[Any]:
        self.called.append(url)
        raise TimeoutError
        yield


@pytest.mark.parametrize(
    "name",
    [
        "a/b",
        "../secure-payments",
        "a?amount=1",
        "a#b",
        "a%2fb",
        "%2e%2e",
        "..%2f",
        "a;b",
        "a\\b",
        "ünï",
        "日本",
        "a b",
        "..a",
    ],
)
async def test_a_name_is_one_part_of_the_path(name: str) -> None:
    session = Session()
    calls = UpstreamCalls(Provider.REQUEST_NETWORK, session, BASE, {})  # type: ignore[arg-type]

    with pytest.raises(Exception, match="no answer"):
        await calls.call("GET", ("v2", "request", name))

    (url,) = session.called
    assert (url.host, url.raw_query_string, url.raw_fragment) == ("provider.example", "", "")
    assert url.raw_path.startswith("/base/v2/request/")
    assert (len(url.raw_parts), url.parts[-1]) == (5, name)
    assert URL(str(url)).raw_parts[:-1] == url.raw_parts[:-1]  # whoever reads it once more finds the same place


@pytest.mark.parametrize("name", ["", ".", "..", "..."])
async def test_what_names_no_part_of_a_path_is_asked_of_nobody(name: str) -> None:
    session = Session()
    calls = UpstreamCalls(Provider.REQUEST_NETWORK, session, BASE, {})  # type: ignore[arg-type]

    with pytest.raises(NotFound):
        await calls.call("GET", ("v2", "request", name))

    assert session.called == []
    assert name_of(name) is None
