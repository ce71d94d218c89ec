"""Looks at the liteservers of TON as an operator would: whether they answer, and serve this network."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence

from chains.errors import ChainError
from chains.rpc.endpoint import Endpoint, label_of
from chains.second_diagnosis import SecondLook
from chains.ton.liteserver.client import LiteserverClient
from config.liteservers import Liteservers


async def second_looks(liteservers: Liteservers, *, timeout_s: float) -> list[SecondLook]:
    """Ask each of them for its newest block."""
    client = LiteserverClient(liteservers, timeout_s=timeout_s)
    endpoints = [Endpoint(url, label_of(url, place + 1)) for place, url in enumerate(client.addresses)]
    return _beside_each_other(await asyncio.gather(*(_look(client, endpoint) for endpoint in endpoints)))


async def _look(client: LiteserverClient, endpoint: Endpoint) -> tuple[str, int | None, str]:
    try:
        async with client.conversation(endpoint) as conversation:
            return endpoint.label, conversation.newest, ""
    except ChainError as exc:
        return endpoint.label, None, str(exc)


def _beside_each_other(found: Sequence[tuple[str, int | None, str]]) -> list[SecondLook]:
    """Say how far each is behind the newest of them: the masterchain has a block in a few seconds."""
    newest = max((number for _, number, _ in found if number is not None), default=0)
    return [
        SecondLook(f"{label} second", wrong=wrong)
        if number is None
        else SecondLook(f"{label} second", f"this network, block {number}, {newest - number} behind the newest of them")
        for label, number, wrong in found
    ]
