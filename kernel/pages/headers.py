"""The headers of every page: what a browser may load for it, and who may show it."""

from __future__ import annotations

from collections.abc import Mapping

from aiohttp import hdrs


def page_headers(*, frame_ancestors: str = "'none'") -> Mapping[str, str]:
    """Return the headers of a page; nothing is loaded from another host, and no address of ours is told to one."""
    policy = f"default-src 'self'; img-src 'self' data:; frame-ancestors {frame_ancestors}"
    return {
        hdrs.CONTENT_TYPE: "text/html; charset=utf-8",
        hdrs.CACHE_CONTROL: "no-store",
        "Content-Security-Policy": policy,
        # The address of a page may be all it takes to see it: a link to an explorer must not tell it.
        "Referrer-Policy": "no-referrer",
        "X-Content-Type-Options": "nosniff",
        "X-Robots-Tag": "noindex, nofollow",
    }
