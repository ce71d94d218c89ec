"""Reading requests: bodies, query strings, ids, and who asks."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Annotated, Any, TypeVar

from aiohttp import web
from pydantic import AfterValidator, BaseModel, BeforeValidator, ConfigDict, Field
from pydantic.alias_generators import to_camel

from kernel.web.connections import prove
from kernel.web.ids import UUID, described
from kernel.web.json_bodies import json_object
from marketplace.errors import Refused, forbidden
from marketplace.identity.tokens import Claims, InvalidToken
from marketplace.model import Actor, Page, Role
from marketplace.web.state import SERVICES

M = TypeVar("M", bound=BaseModel)
ENDED = web.RequestKey("session is over", bool)  # of the access token of a request; its middleware looks it up
LACKS_FACTOR = web.RequestKey("has to add a second factor first", bool)
OWN_ACCOUNT = "/api/auth/"  # what is open to whoever has to add one

_CONTROL = re.compile(r"[\x00-\x1f\x7f-\x9f\u2028\u2029]")
_UNPRINTABLE = re.compile(r"[\x00-\x08\x0b\x0c\x0e-\x1f\x7f\ud800-\udfff]")  # what no text of several lines has
_UUID = re.compile(UUID)
_CLAIMS = web.RequestKey("claims", Claims)


def _stripped(value: Any) -> Any:
    return value.strip() if isinstance(value, str) else value


def one_line(value: Any) -> Any:
    """Refuse a line break where no text of several lines belongs: it would end up in a log, a header or an id."""
    if isinstance(value, str) and _CONTROL.search(value):
        raise Refused("bad_request", "control characters are not accepted here")
    return value


def _is_id(value: str) -> str:
    if _UUID.fullmatch(value) is None:
        raise Refused("bad_request", "an id is 8-4-4-4-12 small hex digits")
    return value


Text = Annotated[str, BeforeValidator(_stripped)]
Line = Annotated[str, BeforeValidator(_stripped), BeforeValidator(one_line)]
Id = Annotated[str, AfterValidator(_is_id), described(UUID)]


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
    return validated(json_object(raw or b"{}"), model)


def validated(body: Mapping[str, Any], model: type[M]) -> M:
    """Return a body of one shape, however it was sent."""
    _refuse_control(body)
    return model.model_validate(body)


def _refuse_control(body: Any) -> None:
    """Refuse control characters wherever they stand in a body, level by level: how deep it nests is not ours to say."""
    level = [body]
    while level:
        deeper: list[Any] = []
        for value in level:
            if isinstance(value, str) and _UNPRINTABLE.search(value):
                raise Refused("bad_request", "control characters are not accepted")
            if isinstance(value, Mapping):
                deeper += [*value, *value.values()]
            elif isinstance(value, list):
                deeper += value
        level = deeper


def parse_query(request: web.Request, model: type[M]) -> M:
    """Read the query string."""
    return validated_query(request.query, model)


def validated_query(query: Mapping[str, str], model: type[M]) -> M:
    """Return a query of one shape."""
    for text in (*query, *query.values()):
        one_line(text)
    return model.model_validate(dict(query))


def path_uuid(request: web.Request, what: str, name: str = "id") -> str:
    """Return the id in the path, which has to match as a whole."""
    value = request.match_info[name].lower()
    if _UUID.fullmatch(value) is None:
        raise Refused("bad_request", f"this is no id of a {what}: 8-4-4-4-12 hex digits")
    return value


def bearer_token(request: web.Request) -> str:
    """Return the access token of a request as it was sent; empty when there is none."""
    scheme, _, token = request.headers.get("Authorization", "").partition(" ")
    return token.strip() if scheme.lower() == "bearer" else ""


async def look_up_session(request: web.Request) -> None:
    """Find out whether the session of the request's token was ended; a token that cannot be read has none."""
    services, token = request.app[SERVICES], bearer_token(request)
    try:
        claims = _claims(request, token)
    except InvalidToken:
        return
    standing = await services.standings.of(claims.user_id)
    request[ENDED] = standing is None or not standing.holds(claims.generation)
    needs = claims.role in services.second_factors.required and not request.path.startswith(OWN_ACCOUNT)
    request[LACKS_FACTOR] = needs and standing is not None and not standing.second_factor


def current_actor(request: web.Request, *roles: Role) -> Actor:
    """Return who asks, from the token alone; with `roles`, refuse everybody else."""
    token = bearer_token(request)
    if not token:
        raise Refused("unauthorized", "an Authorization: Bearer header with an access token is required")
    try:
        claims = _claims(request, token)
        actor = Actor(claims.user_id, Role(claims.role))
    except (InvalidToken, ValueError) as exc:
        raise Refused("unauthorized", "the access token is not valid: log in again") from exc
    if request.get(ENDED, True):
        raise Refused("unauthorized", "this session is over: log in again")
    prove(request)
    if request.get(LACKS_FACTOR, False):
        raise Refused("second_factor_required", "add a second factor first: POST /api/auth/second-factor")
    if roles and actor.role not in roles:
        raise forbidden(f"this is for {' and '.join(roles)} only")
    return actor


def _claims(request: web.Request, token: str) -> Claims:
    """Return what the token says: its signature is verified once a request, its time whenever a stream asks again."""
    tokens = request.app[SERVICES].tokens
    known = request.get(_CLAIMS)
    if known is None:
        request[_CLAIMS] = known = tokens.read(token)
    else:
        tokens.still_valid(known)
    return known
