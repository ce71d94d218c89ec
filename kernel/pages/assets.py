"""Styles, scripts and icons: read once, packed once, and cached by browsers for good."""

from __future__ import annotations

import gzip
import hashlib
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Final

from aiohttp import hdrs, web

from kernel.pages import files

TYPES: Final[Mapping[str, str]] = {
    ".css": "text/css; charset=utf-8",
    ".js": "text/javascript; charset=utf-8",
    ".svg": "image/svg+xml",
}
FOR_GOOD = "public, max-age=31536000, immutable"
PATH = "/assets/{version}/{name}"


@dataclass(frozen=True, slots=True)
class Asset:
    """One file as it is sent."""

    content_type: str
    raw: bytes
    packed: bytes


class Assets:
    """
    The files of a service's pages, under one version: a change of any of them changes the address of all.

    So a script finds what it imports beside itself, and an address is never answered with something else.
    """

    def __init__(self, packages: Iterable[str]) -> None:
        self._files: dict[str, Asset] = {}
        for package in packages:
            for ending, content_type in TYPES.items():
                for name, text in files.texts(package, "assets", ending).items():
                    if name in self._files:
                        raise ValueError(f"two packages have an asset {name}")
                    raw = text.encode()
                    self._files[name] = Asset(content_type, raw, gzip.compress(raw, 9, mtime=0))
        everything = b"".join(name.encode() + each.raw for name, each in sorted(self._files.items()))
        self.version = hashlib.sha256(everything).hexdigest()[:16]

    @property
    def packed_bytes(self) -> int:
        """How much a browser that asks for everything is sent."""
        return sum(len(each.packed) for each in self._files.values())

    def path(self, name: str) -> str:
        """Return where a file is; a name that is not there is a mistake in a template."""
        if name not in self._files:
            raise KeyError(name)
        return f"/assets/{self.version}/{name}"

    def icon(self) -> web.Response:
        """Return the icon for browsers that ask for `/favicon.ico` by themselves."""
        icon = self._files["icon.svg"]
        return web.Response(body=icon.raw, headers={hdrs.CONTENT_TYPE: icon.content_type})

    def response(self, request: web.Request) -> web.Response:
        """
        Return the file a request names.

        Raises:
            HTTPNotFound: there is none of that name.
        """
        asset = self._files.get(request.match_info["name"])
        if asset is None:
            raise web.HTTPNotFound
        current = request.match_info["version"] == self.version
        headers = {
            hdrs.CONTENT_TYPE: asset.content_type,
            # Of two processes of different versions one may be asked for the other's.
            hdrs.CACHE_CONTROL: FOR_GOOD if current else "no-cache",
            hdrs.VARY: hdrs.ACCEPT_ENCODING,
            "X-Content-Type-Options": "nosniff",
        }
        if "gzip" in request.headers.get(hdrs.ACCEPT_ENCODING, ""):
            return web.Response(body=asset.packed, headers=headers | {hdrs.CONTENT_ENCODING: "gzip"})
        return web.Response(body=asset.raw, headers=headers)
