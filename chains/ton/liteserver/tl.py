"""Packets, and answers about blocks, read as TL has them: strictly, and in time linear in their length (pure)."""

from __future__ import annotations

from typing import NamedTuple

from config.liteservers import BlockId

MAX_LINKS = 64  # of one answer
MAX_SIGNATURES = 2_000  # of one block

ANSWER = bytes.fromhex("1684ac0f")
BLOCK_PROOF = bytes.fromhex("c1d2d08e")
SHARD_PROOF = bytes.fromhex("7aa0621d")
LINK_FORWARD = bytes.fromhex("1cce0f52")
SIGNATURES = bytes.fromhex("e6a644f6")


class ShardBlock(NamedTuple):
    """A block of any chain."""

    workchain: int
    shard: int
    block: BlockId


class Signature(NamedTuple):
    """What one validator signed with."""

    node: bytes
    signature: bytes


class Forward(NamedTuple):
    """A step from a key block to a later block that its validators signed."""

    start: ShardBlock
    end: ShardBlock
    config_proof: bytes
    end_proof: bytes
    signatures: tuple[Signature, ...]


class ShardLink(NamedTuple):
    """A step from a block to one that it names."""

    end: ShardBlock
    proof: bytes


class _Reader:
    def __init__(self, raw: bytes) -> None:
        self._raw = raw
        self._place = 0

    def take(self, length: int) -> bytes:
        end = self._place + length
        if end > len(self._raw):
            raise ValueError("the answer ends too early")
        taken = self._raw[self._place : end]
        self._place = end
        return taken

    def number(self, length: int = 4) -> int:
        return int.from_bytes(self.take(length), "little", signed=True)

    def count(self, most: int) -> int:
        found = self.number()
        if not 0 <= found <= most:
            raise ValueError(f"a list of {found} elements")
        return found

    def data(self) -> bytes:
        first = self.take(1)[0]
        head, length = (1, first) if first < 0xFE else (4, int.from_bytes(self.take(3), "little"))  # noqa: PLR2004
        found = self.take(length)
        self.take(-(head + length) % 4)
        return found

    def block(self) -> ShardBlock:
        workchain, shard, seqno = self.number(), self.number(8), self.number()
        return ShardBlock(workchain, shard, BlockId(seqno, self.take(32), self.take(32)))

    def expect(self, constructor: bytes) -> None:
        if self.take(4) != constructor:
            raise ValueError("another type than was asked for")


def written_block(of: ShardBlock) -> dict[str, object]:
    """Return a block as questions name it."""
    return {
        "workchain": of.workchain,
        "shard": of.shard,
        "seqno": of.block.seqno,
        "root_hash": of.block.root_hash.hex(),
        "file_hash": of.block.file_hash.hex(),
    }


def parse_answer(raw: bytes) -> tuple[bytes, bytes]:
    """Read which question a packet answers, and the answer; raises ValueError."""
    reader = _Reader(raw)
    reader.expect(ANSWER)
    return reader.take(32), reader.data()


def parse_block_proof(raw: bytes) -> list[Forward]:
    """
    Read the steps from one block of the masterchain to another.

    Raises:
        ValueError: it is none, or goes backwards: what is asked for lies ahead of what is known.
    """
    reader = _Reader(raw)
    reader.expect(BLOCK_PROOF)
    reader.take(4)
    reader.block()
    reader.block()
    return [_forward(reader) for _ in range(reader.count(MAX_LINKS))]


def _forward(reader: _Reader) -> Forward:
    reader.expect(LINK_FORWARD)
    reader.take(4)
    start, end, end_proof, config_proof = reader.block(), reader.block(), reader.data(), reader.data()
    reader.expect(SIGNATURES)
    reader.take(8)
    count = reader.count(MAX_SIGNATURES)
    signatures = tuple(Signature(reader.take(32), reader.data()) for _ in range(count))
    return Forward(start, end, config_proof, end_proof, signatures)


def parse_shard_proof(raw: bytes) -> tuple[ShardBlock, list[ShardLink]]:
    """Read the block of the masterchain that names a block, and the steps from it; raises ValueError."""
    reader = _Reader(raw)
    reader.expect(SHARD_PROOF)
    master = reader.block()
    return master, [ShardLink(reader.block(), reader.data()) for _ in range(reader.count(MAX_LINKS))]
