"""
`Expect`, kept from the web library.

The library answers it before any middleware of ours: with plain text where it does not know it, and with `100
Continue` to whoever has not shown a key yet.
"""

from __future__ import annotations

from typing import Final

from aiohttp import hdrs, web
from aiohttp.http_parser import RawRequestMessage
from multidict import CIMultiDict, CIMultiDictProxy

CONTINUE: Final = "100-continue"
EXPECTATION = web.RequestKey("expectation", str)


def set_aside(message: RawRequestMessage) -> tuple[RawRequestMessage, str]:
    """Return a request without its `Expect`, and what that said."""
    if hdrs.EXPECT not in message.headers:
        return message, ""
    headers = CIMultiDict(message.headers)
    expected = ", ".join(headers.popall(hdrs.EXPECT))
    return message._replace(headers=CIMultiDictProxy(headers)), expected
