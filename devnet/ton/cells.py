"""Just enough of TON's cells for a stand-in: written from the format's definition, without the library under test."""

from __future__ import annotations

import base64
import hashlib
from collections.abc import Sequence
from dataclasses import dataclass

INTERNAL_TRANSFER = 0x178D4519
_MAGIC = bytes.fromhex("b5ee9c72")


@dataclass(frozen=True, slots=True)
class Known:
    """A cell of which only the hash and the depth are known, or needed."""

    hash: bytes
    depth: int


@dataclass(frozen=True, slots=True)
class Bits:
    """A cell being written, or its content."""

    text: str = ""  # of 0 and 1

    def uint(self, value: int, width: int) -> Bits:
        return Bits(self.text + f"{value:0{width}b}") if width else self

    def raw(self, data: bytes) -> Bits:
        return self.uint(int.from_bytes(data, "big"), 8 * len(data))

    def joined(self, other: Bits) -> Bits:
        return Bits(self.text + other.text)

    def coins(self, amount: int) -> Bits:
        size = (amount.bit_length() + 7) // 8
        written = self.uint(size, 4)
        return written.uint(amount, 8 * size) if size else written

    def address(self, raw: str) -> Bits:
        workchain, digits = raw.split(":")
        return self.uint(0b100, 3).uint(int(workchain) & 0xFF, 8).uint(int(digits, 16), 256)

    def cell(self, *refs: Known) -> Known:
        """Return the finished cell's hash and depth."""
        depths = b"".join(ref.depth.to_bytes(2, "big") for ref in refs)
        hashes = b"".join(ref.hash for ref in refs)
        digest = hashlib.sha256(self.described(len(refs)) + depths + hashes).digest()
        return Known(digest, max((ref.depth + 1 for ref in refs), default=0))

    def boc(self) -> str:
        """Return the cell, which has no references, as base64."""
        content = self.described(0)
        head = _MAGIC + bytes([1, 1, 1, 1, 0, len(content), 0])
        return base64.b64encode(head + content).decode()

    def described(self, refs: int) -> bytes:
        """Return the bits as a cell's hash covers them, and as a bag of cells holds them."""
        whole, left = divmod(len(self.text), 8)
        padded = self.text if not left else self.text + "1" + "0" * (7 - left)
        data = int(padded, 2).to_bytes(len(padded) // 8, "big") if padded else b""
        return bytes([refs, 2 * whole + (1 if left else 0)]) + data


def first_bits(boc: str) -> str:
    """Return the bits of the first cell of what a client sent, as text of 0 and 1."""
    data = base64.b64decode(boc)
    if data[:4] != _MAGIC:
        raise ValueError("not a bag of cells")
    sized, wide = data[4] & 7, data[5]
    roots = data[6 + sized]
    start = 6 + 3 * sized + wide + roots * sized
    if data[4] & 0x80:  # with an index
        start += data[6] * wide
    length = data[start + 1]
    content = data[start + 2 : start + 2 + (length + 1) // 2]
    text = "".join(f"{byte:08b}" for byte in content)
    return text.rstrip("0")[:-1] if length % 2 else text


def address_of(bits: str) -> str:
    """Return the address a cell starts with, in raw form."""
    workchain = int(bits[3:11], 2)
    return f"{workchain - 256 if workchain > 127 else workchain}:{int(bits[11:267], 2):064X}"


def wallet_address(code: Known, *, master: str, owner: str) -> str:
    """Return where a standard jetton wallet of this code is: the hash of its first state."""
    data = Bits().coins(0).address(owner).address(master).cell(code)
    return f"0:{Bits().uint(0b00110, 5).cell(code, data).hash.hex().upper()}"


def internal_transfer(*, query_id: int, amount: int, sender: str, forward: int) -> str:
    """Return the message one jetton wallet sends another, as base64."""
    body = Bits().uint(INTERNAL_TRANSFER, 32).uint(query_id, 64).coins(amount)
    return body.address(sender).address(sender).coins(forward).uint(0, 1).boc()


class Cell:
    """A whole cell: its bits and the cells it refers to; two of them may refer to the same."""

    def __init__(self, bits: Bits, refs: Sequence[Cell] = ()) -> None:
        self.bits = bits
        self.refs = tuple(refs)
        self.special = False
        self.level: int = max((ref.level for ref in self.refs), default=0)  # 1 above what was pruned
        self.known: Known = bits.cell(*(ref.known for ref in self.refs))

    @classmethod
    def pruned(cls, known: Known) -> Cell:
        """Return what stands in a proof for a cell that is left out of it."""
        cell = cls(Bits().uint(0x0101, 16).raw(known.hash).uint(known.depth, 16))
        cell.special, cell.level, cell.known = True, 1, known
        return cell

    def proof(self) -> Cell:
        """Return the cell that says: this is what hashes to that."""
        cell = Cell(Bits().uint(3, 8).raw(self.known.hash).uint(self.known.depth, 16), (self,))
        cell.special, cell.level = True, 0
        return cell

    def boc(self) -> bytes:
        """Return the cell and everything below it, as a bag of cells."""
        ordered: dict[int, Cell] = {}
        self._order(ordered)
        order = list(reversed(ordered.values()))
        places = {id(cell): place for place, cell in enumerate(order)}
        content = b"".join(cell.described() + b"".join(_place(places[id(r)]) for r in cell.refs) for cell in order)
        head = _MAGIC + bytes([2, 4]) + len(order).to_bytes(2, "big") + (1).to_bytes(2, "big") + bytes(2)
        return head + len(content).to_bytes(4, "big") + bytes(2) + content

    def described(self) -> bytes:
        """Return the cell without what it refers to."""
        return self.bits.described(len(self.refs) + 8 * self.special + 32 * self.level)

    def _order(self, found: dict[int, Cell]) -> None:
        """Add the cells, each once, after those it refers to."""
        if id(self) not in found:
            for ref in self.refs:
                ref._order(found)  # noqa: SLF001 - its own kind
            found[id(self)] = self


def _place(place: int) -> bytes:
    return place.to_bytes(2, "big")


def parse_boc(data: bytes) -> Cell:
    """Read the first cell of a bag and everything below it."""
    if data[:4] != _MAGIC:
        raise ValueError("not a bag of cells")
    size, wide = data[4] & 7, data[5]
    cells, roots = (int.from_bytes(data[6 + size * n : 6 + size * (n + 1)], "big") for n in (0, 1))
    place = 6 + 3 * size + wide
    root = int.from_bytes(data[place : place + size], "big")
    place += roots * size + (cells * wide if data[4] & 0x80 else 0)
    read: list[tuple[Bits, list[int]]] = []
    for _ in range(cells):
        refs, length = data[place] & 7, data[place + 1]
        content = data[place + 2 : place + 2 + (length + 1) // 2]
        text = "".join(f"{byte:08b}" for byte in content)
        place += 2 + len(content)
        ends = [int.from_bytes(data[place + size * n : place + size * (n + 1)], "big") for n in range(refs)]
        place += size * refs
        read.append((Bits(text.rstrip("0")[:-1] if length % 2 else text), ends))
    return _linked(read, root)


def _linked(read: list[tuple[Bits, list[int]]], place: int) -> Cell:
    bits, refs = read[place]
    return Cell(bits, tuple(_linked(read, ref) for ref in refs))
