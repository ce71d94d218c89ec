"""
Which receivers may be called (SSRF): judged at registration and again on the address actually dialled.

With an allow list only its hosts are called, wherever they resolve to: the operator named them.
Without one, production refuses everything that is not a public address. Names are not resolved at
registration: what a name resolves to then says nothing about what it resolves to at the time of the call.
"""

from __future__ import annotations

import ipaddress
import socket
from urllib.parse import urlsplit

MAX_URL = 2048
_METADATA = frozenset(
    map(ipaddress.ip_address, ("169.254.169.254", "fd00:ec2::254", "100.100.100.200", "168.63.129.16"))
)
_NAT64 = (ipaddress.ip_network("64:ff9b::/96"), ipaddress.ip_network("64:ff9b:1::/48"))
_SHARED = ipaddress.ip_network("100.64.0.0/10")

IpAddress = ipaddress.IPv4Address | ipaddress.IPv6Address


class ForbiddenTarget(ValueError):
    """This receiver may not be called; the message says why, without the URL."""


class CallbackGuard:
    """Decides for one deployment."""

    def __init__(self, allowed_hosts: frozenset[str], *, production: bool) -> None:
        self._allowed = allowed_hosts
        self._strict = production and not allowed_hosts

    def check_url(self, url: str) -> str:
        """Return the receiver (`scheme://host:port`) a URL belongs to, or raise ForbiddenTarget."""
        if len(url) > MAX_URL:
            raise ForbiddenTarget(f"must be at most {MAX_URL} characters")
        if not url.isprintable() or "\\" in url or any(c.isspace() for c in url):
            raise ForbiddenTarget("must not contain spaces, control characters or backslashes")
        try:
            parts = urlsplit(url)
            port = parts.port
        except ValueError as exc:
            raise ForbiddenTarget("is not a URL") from exc
        if parts.scheme not in {"http", "https"}:
            raise ForbiddenTarget("must be an http(s) URL")
        if not parts.hostname or port == 0:
            raise ForbiddenTarget("must name a host and, if any, a port from 1 to 65535")
        if parts.username is not None or parts.password is not None:
            raise ForbiddenTarget("must not contain a user name or password")
        host = parts.hostname.lower().rstrip(".")
        self._check_host(host)
        shown = f"[{host}]" if ":" in host else host
        return f"{parts.scheme}://{shown}:{port or (443 if parts.scheme == 'https' else 80)}"

    def _check_host(self, host: str) -> None:
        if self._allowed:
            if host not in self._allowed:
                raise ForbiddenTarget("host is not in SCANNER_CALLBACK_ALLOWED_HOSTS")
            return
        if not self._strict:
            return
        if host == "localhost" or host.endswith((".localhost", ".local", ".internal")):
            raise ForbiddenTarget("host is a local name")
        literal = _literal(host)
        if literal is not None and not _public(literal):
            raise ForbiddenTarget("host is not a public address")

    def check_address(self, ip: str) -> None:
        """Judge the address about to be dialled; raise ForbiddenTarget."""
        if self._strict and not _public(ipaddress.ip_address(ip.partition("%")[0])):
            raise ForbiddenTarget("the host resolves to an address that is not public")


def _literal(host: str) -> IpAddress | None:
    """Return the address a host spells, in any spelling the C library takes (octal, hex, one number)."""
    try:
        return ipaddress.ip_address(host.partition("%")[0])
    except ValueError:
        pass  # not a plain literal: perhaps one of the old spellings
    try:
        return ipaddress.IPv4Address(socket.inet_aton(host))
    except OSError:
        return None


def _public(address: IpAddress) -> bool:
    if address in _METADATA:
        return False
    if isinstance(address, ipaddress.IPv6Address):
        inner = address.ipv4_mapped or address.sixtofour or (address.teredo[1] if address.teredo else None)
        if any(address in network for network in _NAT64):
            inner = ipaddress.IPv4Address(int(address) & 0xFFFFFFFF)
        if inner is not None:
            return _public(inner)
    elif address in _SHARED:
        return False
    return address.is_global and not address.is_multicast and not address.is_reserved
