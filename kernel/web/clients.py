"""Who is asking: the address that connected, or what our own proxies saw."""

from __future__ import annotations

import ipaddress
import re

from aiohttp import web

SHARED_V6_PREFIX = 64  # one household or server gets a whole /64: single IPv6 addresses cost nothing
_WITH_PORT = re.compile(r"\[([0-9a-fA-F:.]+)\](?::[0-9]{1,5})?|([0-9.]+):[0-9]{1,5}")


def client_of(request: web.BaseRequest, trusted_hops: int) -> str:
    """Return who sends a request (`client_ip`)."""
    # A proxy may add a line of its own instead of an entry: only together do the lines end with what it saw.
    forwarded = ",".join(request.headers.getall("X-Forwarded-For", ()))
    return client_ip(request.remote or "", forwarded, trusted_hops)


def client_ip(remote: str, forwarded_for: str, trusted_hops: int) -> str:
    """
    Return who is asking.

    Each of our own `trusted_hops` proxies appended the address it saw to `X-Forwarded-For`, so the
    client is that many entries from the right; everything further left is the client's own claim.
    Anything that does not fit leaves the address that connected.
    """
    entries = [entry.strip() for entry in forwarded_for.split(",")]
    if trusted_hops > 0 and len(entries) >= trusted_hops:
        return _address(entries[-trusted_hops]) or _address(remote) or remote
    return _address(remote) or remote


def counted_as(ip: str) -> str:
    """Return what is counted as one client."""
    if ":" not in ip:
        return ip
    try:
        return str(ipaddress.ip_network(f"{ip.partition('%')[0]}/{SHARED_V6_PREFIX}", strict=False))
    except ValueError:
        return ip


def _address(text: str) -> str | None:
    """Return an address in one form, without the port some proxies add; None for what is none."""
    bare = _WITH_PORT.fullmatch(text)
    try:
        found = ipaddress.ip_address((bare[1] or bare[2]) if bare else text)
    except ValueError:
        return None
    if isinstance(found, ipaddress.IPv6Address) and found.ipv4_mapped is not None:
        return str(found.ipv4_mapped)
    return str(found)
