"""Puts the kit of pages into a web application: templates, filters, and relative addresses."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from functools import partial
from typing import Any

import aiohttp_jinja2
from aiohttp import hdrs, web
from jinja2 import DictLoader, StrictUndefined

from kernel.pages import files
from kernel.pages.assets import Assets
from kernel.pages.money import decimal, iso, utc

KIT = "kernel.pages"
FILTERS: Mapping[str, Callable[..., str]] = {"decimal": decimal, "utc": utc, "iso": iso}
ASSETS = web.AppKey("assets", Assets)


def templates(packages: Iterable[str]) -> dict[str, str]:
    """Return the templates of some packages by name; the kit's own are among them."""
    found: dict[str, str] = {}
    for package in (KIT, *packages):
        more = files.texts(package, "templates", ".html")
        if taken := found.keys() & more.keys():
            raise ValueError(f"two packages have a template {min(taken)}")
        found |= more
    return found


def set_up(app: web.Application, pages: Mapping[str, str], assets: Assets) -> None:
    """Let an application render pages, each made of a template of `pages`."""
    app[ASSETS] = assets
    aiohttp_jinja2.setup(
        app,
        loader=DictLoader(pages),
        undefined=StrictUndefined,  # a name that is misspelt is a failure and not a gap
        autoescape=True,
        trim_blocks=True,
        lstrip_blocks=True,
        default_helpers=False,
        filters=FILTERS,
    )


def relative(here: str, path: str) -> str:
    """Return the way from one path of ours to another: a proxy may serve all of them below a prefix of its own."""
    return "../" * (here.count("/") - 1) + path.removeprefix("/") or "./"


def render(request: web.Request, template: str, context: Mapping[str, Any]) -> str:
    """Return a template with its values in place, and `url` and `asset` to lead from this page to another."""
    # Not a context processor of the library: those are worked out for every request, whatever it is answered with.
    url, assets = partial(relative, request.path), request.app[ASSETS]
    addresses = {"url": url, "asset": lambda name: url(assets.path(name))}
    return aiohttp_jinja2.render_string(template, request, {**addresses, **context})


def redirect(request: web.Request, path: str) -> web.Response:
    """Send a browser to another page; relative, for a proxy may serve all of them below a prefix of its own."""
    where = relative(request.path, path)
    return web.Response(status=303, headers={hdrs.LOCATION: where, hdrs.CACHE_CONTROL: "no-store"})
