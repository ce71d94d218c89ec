"""
The tree of a block's receipts: its root, and the nodes on the way to some of them (pure).

Built in one go from all receipts, in the order of their keys. The `trie` library, which puts in one after the other,
took 0.2 s for a block of 200 receipts: as long as the scanner would have stood still. The tests compare the two.
"""

from __future__ import annotations

import asyncio
from collections.abc import Collection, Sequence
from dataclasses import dataclass
from typing import NamedTuple

from addresses.keccak import keccak
from chains.evm.proofs.encoding import encode

EMPTY_ROOT = keccak(b"\x80")
HALF_BYTES = 16
RECEIPTS_PER_SLICE = 200  # then others run


class _Entry(NamedTuple):
    """A receipt where the tree holds it."""

    path: bytes  # half bytes of the key
    place: int
    receipt: bytes


@dataclass(frozen=True, slots=True)
class ReceiptTree:
    """What a block's receipts hash to, and the nodes that show it of those asked for, from the root down."""

    root: bytes
    nodes: dict[int, list[bytes]]


async def receipt_tree(receipts: Sequence[bytes], shown: Collection[int]) -> ReceiptTree:
    """Return the tree of all receipts of a block, with the ways to those at some places."""
    nodes: dict[int, list[bytes]] = {index: [] for index in shown}
    if not receipts:
        return ReceiptTree(EMPTY_ROOT, nodes)
    entries = sorted(_Entry(_half_bytes(encode(_key(index))), index, each) for index, each in enumerate(receipts))
    building = _Building({entry.path: nodes[entry.place] for entry in entries if entry.place in nodes})
    root = await building.node(entries, 0)
    return ReceiptTree(root, {index: way[::-1] for index, way in nodes.items()})


class _Building:
    def __init__(self, ways: dict[bytes, list[bytes]]) -> None:
        self._ways = ways  # by path, each from its end up
        self._count = 0

    async def node(self, entries: Sequence[_Entry], depth: int) -> bytes:
        """
        Return the hash of the node that holds these, whose paths are the same up to a depth.

        No key is the beginning of another one, and a receipt is longer than a hash: no branch holds a value, and
        no node lies within another.
        """
        self._count += 1
        if self._count % RECEIPTS_PER_SLICE == 0:
            await asyncio.sleep(0)
        path = entries[0].path
        if len(entries) == 1:
            return self._told(encode([_packed(path[depth:], is_leaf=True), entries[0].receipt]), path[:depth])
        end = depth + _shared(path[depth:], entries[-1].path[depth:])
        if end > depth:
            below = await self.node(entries, end)
            return self._told(encode([_packed(path[depth:end], is_leaf=False), below]), path[:depth])
        branch = [b""] * (HALF_BYTES + 1)
        for half in range(HALF_BYTES):
            if part := [entry for entry in entries if entry.path[depth] == half]:
                branch[half] = await self.node(part, depth + 1)
        return self._told(encode(branch), path[:depth])

    def _told(self, node: bytes, above: bytes) -> bytes:
        for path, way in self._ways.items():
            if path.startswith(above):
                way.append(node)
        return keccak(node)


def _key(index: int) -> bytes:
    return index.to_bytes((index.bit_length() + 7) // 8)


def _half_bytes(key: bytes) -> bytes:
    return bytes(half for byte in key for half in (byte >> 4, byte & 15))


def _shared(one: bytes, other: bytes) -> int:
    """Return how far two paths are the same."""
    return next((at for at, (half, its) in enumerate(zip(one, other, strict=False)) if half != its), len(one))


def _packed(path: bytes, *, is_leaf: bool) -> bytes:
    """Return a path as a node holds it: its kind and whether its length is odd, then two half bytes a byte."""
    kind = 2 * is_leaf + len(path) % 2
    halves = bytes([kind, *path]) if len(path) % 2 else bytes([kind, 0, *path])
    return bytes(high << 4 | low for high, low in zip(halves[::2], halves[1::2], strict=True))
