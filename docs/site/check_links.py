"""Looks at the built site: each link within it leads somewhere, and nothing is fetched from another host."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from html.parser import HTMLParser
from pathlib import Path
from urllib.parse import unquote, urlsplit

FETCHED = {"script", "img", "iframe", "source", "video"}
FETCHED_LINKS = {"stylesheet", "icon", "preload", "search"}


class Page(HTMLParser):
    """What a page links to, what its browser fetches, and the places others can link to."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.links: list[str] = []
        self.fetched: list[str] = []
        self.places: set[str] = set()
        self.feed(text)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        given = {name: value or "" for name, value in attrs}
        self.places.update(given[name] for name in ("id", "name") if name in given)
        target = given.get("href", given.get("src"))
        if target is None:
            return
        self.links.append(target)
        if tag in FETCHED or (tag == "link" and not FETCHED_LINKS.isdisjoint(given.get("rel", "").split())):
            self.fetched.append(target)


def broken_links(site: Path) -> Iterator[str]:
    """Yield a sentence for each link that leads nowhere."""
    pages = {path: Page(path.read_text()) for path in sorted(site.rglob("*.html"))}
    for path, page in pages.items():
        where = path.relative_to(site)
        yield from (f"{where} fetches {each}" for each in page.fetched if urlsplit(each).netloc)
        for link in page.links:
            parts = urlsplit(link)
            if parts.scheme or parts.netloc:
                continue
            target = (path.parent / unquote(parts.path)).resolve() if parts.path else path
            target = target / "index.html" if target.is_dir() else target
            if not target.is_relative_to(site.resolve()) or not target.is_file():
                yield f"{where} links to {link}: there is no such page"
            elif parts.fragment and target in pages and unquote(parts.fragment) not in pages[target].places:
                yield f"{where} links to {link}: the page has no such place"


def main() -> int:
    """Check the folder that is named."""
    site = Path(sys.argv[1]).resolve()
    pages = len(list(site.rglob("*.html")))
    broken = list(broken_links(site))
    for sentence in broken:
        print(sentence)  # noqa: T201 - it is a command
    print(f"{pages} pages, {len(broken)} broken links")  # noqa: T201
    return int(bool(broken) or not pages)


if __name__ == "__main__":
    sys.exit(main())
