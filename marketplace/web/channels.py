"""Where people are told besides, over HTTP."""

from __future__ import annotations

from typing import Annotated, Literal

from aiohttp import web
from pydantic import Field

from marketplace.model import Actor, Channel
from marketplace.notifications.channels import CATEGORIES
from marketplace.web import account_shapes as shapes
from marketplace.web import shapes as common
from marketplace.web.answers import success
from marketplace.web.bodies import Body, current_actor, parse
from marketplace.web.state import SERVICES


class Choice(Body):
    channel: Channel
    category: Literal["request", "offer", "payment", "delivery", "dispute", "account", "goods", "alert"]


class Choose(Body):
    choices: Annotated[list[Choice], Field(max_length=len(Channel) * len(CATEGORIES))]


async def show(request: web.Request) -> web.Response:
    """GET /api/notifications/channels"""
    return await _shown(request, current_actor(request))


async def choose(request: web.Request) -> web.Response:
    """PUT /api/notifications/channels"""
    actor = current_actor(request)
    body = await parse(request, Choose)
    wanted = [(each.channel, each.category) for each in body.choices]
    await request.app[SERVICES].channels.choose(actor, wanted)
    return await _shown(request, actor)


async def start_link(request: web.Request) -> web.Response:
    """POST /api/notifications/telegram/link"""
    code, expires_at = await request.app[SERVICES].channels.start_link(current_actor(request))
    return success(shapes.TelegramCode(code=code, expires_at=common.Time(expires_at)), status=201)


async def unlink(request: web.Request) -> web.Response:
    """POST /api/notifications/telegram/unlink"""
    actor = current_actor(request)
    await request.app[SERVICES].channels.unlink(actor)
    return await _shown(request, actor)


async def _shown(request: web.Request, actor: Actor) -> web.Response:
    found = await request.app[SERVICES].channels.show(actor)
    return success(
        shapes.Channels(
            available=tuple(found.available),
            telegram_linked=found.linked,
            choices=tuple(shapes.Choice(channel=channel, category=category) for channel, category in found.choices),
        )
    )
