"""How far the newest block is ahead of the newest solid one, asked for now and then, and guessed in between."""

from __future__ import annotations

from typing import Any

from chains.tron.decode import Block
from chains.tron.newest_block import NewestBlockReader
from tests.chains.evm_world import Now

T0 = 1_772_000_000_000
USUAL_MS = 57_000
HALT_MS = 500_000


class Node:
    """Shows its newest blocks, and counts how often the newest of all is asked for."""

    def __init__(self) -> None:
        self.solid_ms, self.newest_ms, self.asked = T0, T0 + USUAL_MS, 0

    async def newest(self, _: Any, *, solid: bool = True) -> Block:
        self.asked += not solid
        return Block(1, self.solid_ms if solid else self.newest_ms, "")

    def remember(self, _: Block) -> None:
        pass


async def test_no_block_is_guessed_to_be_younger_than_any_can_be() -> None:
    """After a halt solid blocks catch up, and the distance from before told of blocks minutes ahead of time."""
    node, now, endpoint = Node(), Now(), object()
    reader = NewestBlockReader(node, node, clock=now)  # type: ignore[arg-type]
    node.newest_ms = T0 + USUAL_MS + HALT_MS
    assert (await reader.read(endpoint)).newest == node.newest_ms  # type: ignore[arg-type]

    now.seconds += 6
    node.solid_ms += HALT_MS + 6_000
    assert (await reader.read(endpoint)).newest == node.newest_ms + 6_000  # type: ignore[arg-type]
    node.solid_ms = node.newest_ms + 30_000
    assert (await reader.read(endpoint)).newest == node.solid_ms  # type: ignore[arg-type]
    assert node.asked == 1


async def test_while_all_is_as_usual_the_guess_is_the_distance() -> None:
    node, now, endpoint = Node(), Now(), object()
    reader = NewestBlockReader(node, node, clock=now)  # type: ignore[arg-type]
    await reader.read(endpoint)  # type: ignore[arg-type]

    now.seconds += 9
    node.solid_ms += 6_000
    assert (await reader.read(endpoint)).newest == node.solid_ms + USUAL_MS  # type: ignore[arg-type]
    assert node.asked == 1
