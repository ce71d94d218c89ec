"""Reading requests: bodies, query strings, ids, and who asks."""

from __future__ import annotations

import re
from typing import Annotated, Any, TypeVar

import orjson
from aiohttp import web
from pydantic import AfterValidator, BaseModel, BeforeValidator, ConfigDict, Field
from pydantic.alias_generators import to_camel

from kernel.web.connections import prove
from kernel.web.ids import UUID, check_uuid, described
from marketplace.errors import Refused, forbidden, not_found
from marketplace.model import Actor, Page, Role
from marketplace.tokens import InvalidToken
from marketplace.web.state import BACKEND

M = TypeVar("M", bound=BaseModel)

_UNPRINTABLE = re.compile(r"[\x00-\x08\x0b\x0c\x0e-\x1f\x7f\ud800-\udfff]")
_UUID = re.compile(UUID)


def _plain(value: str) -> str:
    if _UNPRINTABLE.search(value):
        raise ValueError("must not contain control characters")
    return value


def _stripped(value: Any) -> Any:
    return value.strip() if isinstance(value, str) else value


Text = Annotated[str, BeforeValidator(_stripped), AfterValidator(_plain)]
Id = Annotated[str, AfterValidator(check_uuid), described(UUID)]


class Body(BaseModel):
    """A request body. Unknown fields are ignored: an actor or an amount in a body means nothing here."""

    model_config = ConfigDict(extra="ignore", alias_generator=to_camel, frozen=True, regex_engine="python-re")


class Listing(Body):
    """The query of every list."""

    page: Annotated[int, Field(ge=1, le=1_000_000)] = 1
    limit: Annotated[int, Field(ge=1, le=100)] = 20

    def part(self) -> Page:
        """Return which part of the list is asked for."""
        return Page(page=self.page, limit=self.limit)


async def parse(request: web.Request, model: type[M]) -> M:
    """Read a JSON object of one shape; no body at all counts as an empty object."""
    raw = await request.read()
    try:
        body = orjson.loads(raw or b"{}")
    except orjson.JSONDecodeError as exc:
        raise Refused("bad_json", f"the body is not valid JSON: {exc}") from exc
    if not isinstance(body, dict):
        raise Refused("bad_json", "the body must be a JSON object")
    return model.model_validate(body)


def parse_query(request: web.Request, model: type[M]) -> M:
    """Read the query string."""
    return model.model_validate(dict(request.query))


def path_id(request: web.Request, what: str, name: str = "id") -> str:
    """Return the id in the path; what is no id of ours names nothing."""
    value = request.match_info[name].lower()
    if _UUID.fullmatch(value) is None:
        raise not_found(what)
    return value


def who(request: web.Request, *roles: Role) -> Actor:
    """Return who asks, from the token alone; with `roles`, refuse everybody else."""
    scheme, _, token = request.headers.get("Authorization", "").partition(" ")
    if scheme.lower() != "bearer" or not token:
        raise Refused("unauthorized", "an Authorization: Bearer header with an access token is required")
    try:
        claims = request.app[BACKEND].tokens.read(token.strip())
        actor = Actor(claims.user_id, Role(claims.role))
    except (InvalidToken, ValueError) as exc:
        raise Refused("unauthorized", "the access token is not valid: log in again") from exc
    prove(request)
    if roles and actor.role not in roles:
        raise forbidden(f"this is for {' and '.join(roles)} only")
    return actor
