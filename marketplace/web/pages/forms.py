"""Forms of pages: read as the bodies of the API are, and answered with the page again when they are refused."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import TypeVar

from aiohttp import web
from pydantic import BaseModel, ValidationError

from kernel.pages.kit import redirect
from kernel.web.forms import read_form
from marketplace.errors import Refused
from marketplace.web.bodies import validated
from marketplace.web.pages.meaning import meaning
from marketplace.web.pages.view import GIVEN

M = TypeVar("M", bound=BaseModel)
Page = Callable[..., Awaitable[web.Response]]


async def read(request: web.Request, model: type[M], *numbers: str) -> M:
    """
    Read a form as a body of the API; a field that is left empty is not there, and `numbers` are whole numbers.

    Raises:
        ValidationError: as for the API.
    """
    names = [field.alias or name for name, field in model.model_fields.items()]
    given = await read_form(request, *names)
    request[GIVEN] = given
    filled: dict[str, object] = {name: value for name, value in given.items() if value}
    for name in numbers:
        text = given.get(name, "")
        if text.isascii() and text.isdigit() and len(text) < len(str(2**53)):
            filled[name] = int(text)
    return validated(filled, model)


async def attempt(request: web.Request, action: Callable[[], Awaitable[object]], page: Page, done: str) -> web.Response:
    """Do what a form asks for and go on to `done`; show the page again, with why not, where it is refused."""
    try:
        await action()
    except (Refused, ValidationError) as exc:
        known = meaning(exc)
        if known is None:
            raise
        response = await page(request, status=known.status, refused=known.why)
        response.headers.update(known.headers)
        return response
    return redirect(request, done)
