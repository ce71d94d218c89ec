"""Links that a browser may be sent to."""

from __future__ import annotations

from urllib.parse import urlsplit

_DELETE = "\x7f"


def is_web_link(text: str) -> bool:
    """Say whether a text is an http or https link: anything else could be a script, or a file of the reader's."""
    if any(char.isspace() or char < " " or char == _DELETE for char in text):  # browsers skip them, parsers do not
        return False
    try:
        parts = urlsplit(text)
        return parts.scheme in {"http", "https"} and bool(parts.hostname)
    except ValueError:
        return False
