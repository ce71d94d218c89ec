"""Several marketplaces together: one that is being started when a run is over is no failure."""

from __future__ import annotations

import asyncio
from typing import Any, cast

from tests.chaos.market_cluster import MarketCluster


class Starting:
    """A process that was killed a moment ago, beside others that answer."""

    def __init__(self) -> None:
        self.api: object | None = None
        self.ended: list[bool] = []

    async def stop(self) -> None:
        self.ended.append(self.api is not None)


async def test_one_that_is_being_started_is_waited_for_before_it_is_ended() -> None:
    together = MarketCluster(cast("Any", None), 1)
    node = Starting()
    together.nodes = cast("Any", [node])
    asyncio.get_running_loop().call_later(0.02, setattr, node, "api", object())

    await together.stop()

    assert node.ended == [True]
