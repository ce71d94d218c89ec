"""Who people are, as far as whoever reads a page may know."""

from __future__ import annotations

from collections.abc import Callable, Mapping

from aiohttp import web

from marketplace.model import Role
from marketplace.web.pages.view import SIGNED_IN
from marketplace.web.state import SERVICES


async def names(request: web.Request, *user_ids: str | None) -> Mapping[str, str]:
    """Return the names and addresses of people by their ids: an admin knows them, a resolver knows sides alone."""
    if request[SIGNED_IN].role is not Role.ADMIN:
        return {}
    found = await request.app[SERVICES].accounts.named({each for each in user_ids if each is not None})
    return {user_id: f"{user.name} ({user.email})" for user_id, user in found.items()}


def teller(names_: Mapping[str, str], sides: Mapping[str, str]) -> Callable[[str], str]:
    """Return what says who somebody is: their side, and their name where it is known, else their id."""

    def who(user_id: str) -> str:
        said = [sides[user_id]] if user_id in sides else []
        return ", ".join([*said, names_.get(user_id, "" if said else user_id)]).rstrip(", ")

    return who
