"""Blocks as validators sign them: enough of each to lead from a key block down to a transaction, and lies about it."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass, field

from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from devnet.ton.cells import Bits, Cell, Known
from devnet.ton.transactions import edge

SHARD = 1 << 63
_LEFT_OUT = Known(hashlib.sha256(b"left out").digest(), 3)
_SIGNED = bytes.fromhex("706e0bc5")
_NODE = bytes.fromhex("c6b41348")


@dataclass(frozen=True, slots=True)
class Block:
    """A block: the part of it that proofs show, and its place."""

    workchain: int
    seqno: int
    cell: Cell

    @property
    def root_hash(self) -> bytes:
        return self.cell.known.hash

    @property
    def file_hash(self) -> bytes:
        return hashlib.sha256(self.root_hash).digest()

    @property
    def proof(self) -> bytes:
        return self.cell.proof().boc()

    @property
    def named(self) -> bytes:
        """The block's name, as TL has it."""
        place = self.workchain.to_bytes(4, "little", signed=True) + SHARD.to_bytes(8, "little")
        return place + self.seqno.to_bytes(4, "little") + self.root_hash + self.file_hash


@dataclass(frozen=True, slots=True)
class Held:
    """A transaction in a block."""

    account: str  # in raw form
    lt: int
    known: Known


@dataclass(slots=True)
class Validators:
    """Those who sign the blocks that follow a key block."""

    keys: list[Ed25519PrivateKey] = field(default_factory=lambda: [Ed25519PrivateKey.generate() for _ in range(4)])

    def config(self) -> Cell:
        """Return what a key block says of them: parameters 28 and 34."""
        listed = {f"{n:016b}": Cell(_validator(key)) for n, key in enumerate(self.keys)}
        bits = Bits().uint(0x12, 8).uint(0, 64).uint(len(self.keys), 16).uint(len(self.keys), 16)
        bits = bits.uint(len(self.keys), 64).uint(1, 1)
        validators = Cell(bits, (edge(listed, 16),))
        catchains = Cell(Bits().uint(0xC1, 8).uint(250, 32).uint(250, 32).uint(1000, 32).uint(7, 32))
        return edge({f"{28:032b}": Cell(Bits(), (catchains,)), f"{34:032b}": Cell(Bits(), (validators,))}, 32)

    def signatures(self, block: Block, count: int | None = None) -> list[tuple[bytes, bytes]]:
        """Return who signed a block, and how; as many as are needed and more, or so many."""
        text = _SIGNED + block.root_hash + block.file_hash
        return [(_node(key), key.sign(text)) for key in self.keys[:count]]


class SignedChain:
    """A masterchain with two key blocks, the second one signed by those the first names, and shards below it."""

    def __init__(self) -> None:
        self.first, self.second = Validators(), Validators()
        self.init = key_block(10, self.first)
        self.key = key_block(20, self.second)
        self.masters: dict[bytes, Block] = {}  # by the hash of the shard's block that each names
        self.shards: dict[bytes, tuple[Block, Block]] = {}  # by the hash of a transaction: its block, and the next one

    def hold(self, held: Held) -> Block:
        """Return the block that holds a transaction; the one after it is what the masterchain names."""
        if held.known.hash not in self.shards:
            number = len(self.shards)
            block = shard_block(100 + 2 * number, held)
            after = shard_block(101 + 2 * number, None, block)
            self.shards[held.known.hash] = block, after
            self.masters[block.root_hash] = master_block(30 + number, [after])
        return self.shards[held.known.hash][0]

    def after(self, root_hash: bytes) -> Block:
        """Return the block that follows one of a shard."""
        return next(after for block, after in self.shards.values() if block.root_hash == root_hash)

    def master(self, root_hash: bytes) -> Block:
        """Return a block of the masterchain by its hash."""
        return next(block for block in self.masters.values() if block.root_hash == root_hash)


def key_block(seqno: int, validators: Validators) -> Block:
    """Return a block that names who signs those that follow."""
    return Block(-1, seqno, _block(-1, seqno, custom=_custom({}, validators), key=True))


def master_block(seqno: int, shards: Sequence[Block]) -> Block:
    """Return a block of the masterchain that names the newest blocks of the others."""
    return Block(-1, seqno, _block(-1, seqno, custom=_custom({shard.workchain: shard for shard in shards}, None)))


def shard_block(seqno: int, held: Held | None, before: Block | None = None) -> Block:
    """Return a block that holds one transaction, or none, and follows another one."""
    return Block(0, seqno, _block(0, seqno, held=held, before=before))


def _validator(key: Ed25519PrivateKey) -> Bits:
    return Bits().uint(0x53, 8).uint(0x8E81278A, 32).raw(key.public_key().public_bytes_raw()).uint(1, 64)


def _node(key: Ed25519PrivateKey) -> bytes:
    return hashlib.sha256(_NODE + key.public_key().public_bytes_raw()).digest()


def _block(
    workchain: int,
    seqno: int,
    *,
    custom: Cell | None = None,
    key: bool = False,
    held: Held | None = None,
    before: Block | None = None,
) -> Cell:
    info = _info(workchain, seqno, key=key, before=before)
    accounts = Cell(_no_money(Bits().uint(0, 1))) if held is None else _accounts(held)
    extra = Bits().uint(0x4A33F6FD, 32).raw(bytes(64)).uint(custom is not None, 1)
    parts = (Cell.pruned(_LEFT_OUT), Cell.pruned(_LEFT_OUT), accounts)
    whole = Cell(extra, parts if custom is None else (*parts, custom))
    update = Cell.pruned(_LEFT_OUT)
    return Cell(Bits().uint(0x11EF55AA, 32).uint(0xFFFFFF11, 32), (info, Cell.pruned(_LEFT_OUT), update, whole))


def _info(workchain: int, seqno: int, *, key: bool, before: Block | None) -> Cell:
    bits = Bits().uint(0x9BC7A987, 32).uint(0, 32).uint(workchain != -1, 1).uint(0, 5).uint(key, 1).uint(0, 1)
    bits = bits.uint(0, 8).uint(seqno, 32).uint(0, 32)
    bits = bits.uint(0, 2).uint(0, 6).uint(workchain & 0xFFFFFFFF, 32).uint(0, 64)
    bits = bits.uint(0, 32).uint(0, 128).uint(0, 128)
    reference = Bits().uint(0, 64).uint(max(seqno - 1, 0), 32)
    if before is not None:
        reference = reference.raw(before.root_hash).raw(before.file_hash)
    else:
        reference = reference.raw(bytes(64))
    master = (Cell(Bits().uint(0, 96).raw(bytes(64))),) if workchain != -1 else ()
    return Cell(bits, (*master, Cell(reference)))


def _accounts(held: Held) -> Cell:
    number = int(held.account.partition(":")[2], 16)
    tree = edge({f"{held.lt:064b}": Cell(_no_money(), (Cell.pruned(held.known),))}, 64)
    bits = _no_money().uint(5, 4).uint(number, 256).joined(tree.bits)
    changed = Cell(Bits().uint(0x72, 8).raw(bytes(64)))
    leaf = edge({f"{number:0256b}": Cell(bits, (*tree.refs, changed))}, 256)
    return Cell(_no_money(Bits().uint(1, 1)), (leaf,))


def _custom(shards: dict[int, Block], validators: Validators | None) -> Cell:
    bits = Bits().uint(0xCCA5, 16).uint(validators is not None, 1).uint(bool(shards), 1)
    refs: tuple[Cell, ...] = ()
    if shards:
        leaves = {f"{workchain:032b}": Cell(Bits(), (_described(shard),)) for workchain, shard in shards.items()}
        refs += (edge(leaves, 32),)
    bits = bits.uint(0, 1).uint(0, 10)  # no fees, of no amount
    refs += (Cell(Bits().uint(0, 3)),)
    if validators is not None:
        bits = bits.raw(bytes(32))
        refs += (validators.config(),)
    return Cell(bits, refs)


def _described(shard: Block) -> Cell:
    bits = Bits().uint(0, 1).uint(0xB, 4).uint(shard.seqno, 32).uint(0, 32).uint(0, 128)
    bits = bits.raw(shard.root_hash).raw(shard.file_hash).uint(0, 8).uint(0, 32).uint(SHARD, 64).uint(0, 64)
    return Cell(_no_money(_no_money(bits.uint(0, 1))))


def _no_money(bits: Bits | None = None) -> Bits:
    return (bits or Bits()).uint(0, 4).uint(0, 1)
