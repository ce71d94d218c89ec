"""Forms of our own pages: read in one encoding, and believed when they carry the token of their browser."""

from __future__ import annotations

import hmac
import re
from collections.abc import Mapping
from typing import Final

from aiohttp import web

from kernel.web.http_errors import HttpError

FORM_TOKEN: Final = web.RequestKey("form token", str)  # what a form of the browser that asks has to carry
FIELD: Final = "csrf"
FORM_TYPE: Final = "application/x-www-form-urlencoded"
UTF_8: Final = "utf-8"
_CONTROL = re.compile(r"[\x00-\x08\x0b\x0c\x0e-\x1f\x7f-\x9f\ud800-\udfff]")

_AS_TYPED = re.compile("password", re.IGNORECASE)  # a blank at its end is part of a password, as it is in the API


class ForeignForm(Exception):
    """A form that carries no token of this browser's."""

    def __init__(self) -> None:
        super().__init__("This form is too old, or not ours. Go back, load the page again, and repeat.")


async def read_form(request: web.Request, *names: str) -> Mapping[str, str]:
    """
    Return the fields of a form of ours; what is missing is empty.

    Raises:
        HttpError: it is no form.
        ForeignForm: it is none of ours.
    """
    # Read as anything else, bytes could become text that cannot be written down again.
    if request.content_type != FORM_TYPE or (request.charset or UTF_8).lower() != UTF_8:
        raise HttpError("bad_http", f"a form is sent as {FORM_TYPE} in {UTF_8}")
    try:
        sent = await request.post()
    except UnicodeDecodeError as exc:
        raise HttpError("bad_http", f"the form is not {UTF_8}") from exc
    given = sent.get(FIELD, "")
    # A page of somebody else's could send a form here with the cookie of this browser.
    if not isinstance(given, str) or not hmac.compare_digest(given.encode(), request[FORM_TOKEN].encode()):
        raise ForeignForm
    found = {name: _text(name, sent.get(name)) for name in names}
    # PostgreSQL takes no zero byte in a text, and nobody types any other of these.
    if any(map(_CONTROL.search, found.values())):
        raise HttpError("bad_http", "a field must not contain control characters")
    return found


def _text(name: str, value: object) -> str:
    if not isinstance(value, str):
        return ""
    return value if _AS_TYPED.search(name) else value.strip()
