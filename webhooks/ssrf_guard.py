"""
Which receivers may be called (SSRF): judged at registration and again on the address actually dialled.

With an allow list only its hosts are called, wherever they resolve to: the operator named them.
Without one, production refuses everything that is not a public address. Names are not resolved at
registration: what a name resolves to then says nothing about what it resolves to at the time of the call.
"""

from __future__ import annotations

import functools
import ipaddress
import re
from collections.abc import Callable
from urllib.parse import urlsplit

from webhooks.special_purpose import METADATA, SPECIAL_PURPOSE

MAX_URL = 2048
MAX_HOST = 253
_LABEL = r"[a-z0-9_-]{1,63}"
_NAME = re.compile(rf"{_LABEL}(\.{_LABEL})*")
_ENDS_IN_NUMBER = re.compile(r"(^|\.)([0-9]+|0x[0-9a-f]*)$")  # what resolvers take for an IPv4 address
_SPACE = re.compile(r"\s")
_LOCAL_NAMES = (".localhost", ".local", ".internal")
# An address in one of these is judged by the IPv4 address packets to it end up at: NAT64 is how hosts without IPv4
# reach everybody.
_EMBEDS_IN_ITS_END = (ipaddress.ip_network("64:ff9b::/96"), ipaddress.ip_network("::ffff:0:0/96"))
# `ipaddress` calls some of these global, or does not know them, depending on its release; and metadata services of
# clouds live on a few more.
_NEVER = tuple(map(ipaddress.ip_network, (*SPECIAL_PURPOSE, *METADATA)))

IpAddress = ipaddress.IPv4Address | ipaddress.IPv6Address


class BlockedTarget(ValueError):
    """This receiver may not be called; the message says why, without the URL."""


class SsrfGuard:
    """Decides for one deployment."""

    def __init__(self, allowed_hosts: frozenset[str], *, production: bool) -> None:
        self._allowed = frozenset(map(_canonical, allowed_hosts))
        self._strict = production and not allowed_hosts
        # The same few URLs come with every intent, and again with every delivery.
        self.check_url: Callable[[str], str] = functools.lru_cache(maxsize=1024)(self._check_url)

    def _check_url(self, url: str) -> str:
        """Return the receiver (`scheme://host:port`) a URL belongs to, or raise ForbiddenTarget."""
        if len(url) > MAX_URL:
            raise BlockedTarget(f"must be at most {MAX_URL} characters")
        if not url.isprintable() or "\\" in url or _SPACE.search(url):
            raise BlockedTarget("must not contain spaces, control characters or backslashes")
        try:
            parts = urlsplit(url)
            port = parts.port
        except ValueError as exc:
            raise BlockedTarget("is not a URL") from exc
        if parts.scheme not in {"http", "https"}:
            raise BlockedTarget("must be an http(s) URL")
        if not parts.hostname or port == 0:
            raise BlockedTarget("must name a host and, if any, a port from 1 to 65535")
        if "@" in parts.netloc:
            raise BlockedTarget("must not contain a user name or password")
        host = _canonical(parts.hostname)
        self._check_host(host, _literal(host, bracketed="[" in parts.netloc))
        shown = f"[{host}]" if ":" in host else host
        return f"{parts.scheme}://{shown}:{port or (443 if parts.scheme == 'https' else 80)}"

    def _check_host(self, host: str, literal: IpAddress | None) -> None:
        if self._allowed:
            if host not in self._allowed:
                raise BlockedTarget("host is not in SCANNER_CALLBACK_ALLOWED_HOSTS")
            return
        if not self._strict:
            return
        if host == "localhost" or host.endswith(_LOCAL_NAMES):
            raise BlockedTarget("host is a local name")
        if literal is not None and not _public(literal):
            raise BlockedTarget("host is not a public address")

    def check_address(self, ip: str) -> None:
        """
        Judge the address about to be dialled; raise ForbiddenTarget.

        With an allow list every address passes: `check_url` has seen that the operator named the host.
        """
        if self._strict and not _public(ipaddress.ip_address(ip.partition("%")[0])):
            raise BlockedTarget("the host resolves to an address that is not public")


def _canonical(host: str) -> str:
    """Return the one spelling in which hosts are compared."""
    name = host.strip("[]").lower().removesuffix(".")
    try:
        return str(ipaddress.IPv6Address(name))
    except ValueError:
        return name


def _literal(host: str, *, bracketed: bool) -> IpAddress | None:
    """
    Return the address a host spells, None for a name.

    Only one spelling of each passes: `0177.1`, `2130706433` or a full-width digit would mean one thing
    here and another to the resolver.
    """
    try:
        if bracketed:
            return _without_zone(host)
        if _ENDS_IN_NUMBER.search(host):
            return ipaddress.IPv4Address(host)
    except ValueError as exc:
        raise BlockedTarget("host must spell IPv4 as four decimal numbers and IPv6 without a zone") from exc
    if len(host) > MAX_HOST or _NAME.fullmatch(host) is None:
        raise BlockedTarget("host must be a DNS name in ASCII (xn-- for other scripts) or an address")
    return None


def _without_zone(host: str) -> ipaddress.IPv6Address:
    address = ipaddress.IPv6Address(host)
    if address.scope_id is not None:
        raise ValueError("an IPv6 zone has a meaning on one machine only")
    return address


def _public(address: IpAddress) -> bool:
    if isinstance(address, ipaddress.IPv6Address) and any(address in network for network in _EMBEDS_IN_ITS_END):
        return _public(ipaddress.IPv4Address(int(address) & 0xFFFFFFFF))
    if any(address in network for network in _NEVER):
        return False
    return address.is_global and not address.is_multicast and not address.is_reserved
