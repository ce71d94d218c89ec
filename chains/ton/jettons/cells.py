"""Cells and what is in them, through pytoniq_core, which only this file imports."""

from __future__ import annotations

import base64
import functools
from collections.abc import Callable
from typing import Any, NamedTuple, TypeVar

from pytoniq_core.boc.address import Address
from pytoniq_core.boc.builder import Builder
from pytoniq_core.boc.cell import Cell
from pytoniq_core.tlb.transaction import MessageAny, TransactionDescr

from chains.ton.jettons.opcodes import INTERNAL_TRANSFER

MAX_CELLS = 10_000  # of one answer; a message has at most 8,192
SLICE = 0x04  # on a stack; a cell is 0x03
_BAG = bytes.fromhex("b5ee9c72")

T = TypeVar("T")
U = TypeVar("U")


class InternalTransfer(NamedTuple):
    """What one jetton wallet tells another: credit this much, from that owner."""

    amount: int
    sender: str | None


class OtherHash(Exception):
    """A cell is not the one that was asked for."""


class NodeTransaction(NamedTuple):
    """A transaction as a node holds it: its hash covers everything here."""

    hash: str
    account: str  # the hash part of its address, hex in capitals
    lt: int
    time: int  # unix seconds
    succeeded: bool
    source: str | None  # of the message that caused it, in raw form
    sent_at: int  # logical time at which that message was made
    bounced: bool
    message: str  # hash of that message
    transfer: InternalTransfer | None  # what that message says, where it is one between jetton wallets
    sends: frozenset[str]  # hashes of the messages it sent


def node_transaction(boc: bytes, expected: str) -> NodeTransaction | None:
    """
    Read a transaction; None when it is none, or not one that a message between contracts caused.

    Raises:
        OtherHash: it is not the one whose hash (hex) is expected. Nothing but cells was read by then: what is in
            them could be made to take for ever.
    """
    if not is_small(boc):
        return None
    cell = _read_bytes(boc, Cell.one_from_boc)
    if cell is None:
        return None
    if cell.hash.hex() != expected:
        raise OtherHash(cell.hash.hex())
    return _read_bytes(cell, _node_transaction)


def address_on_stack(boc: bytes) -> str | None:
    """Read the one entry of a get-method's stack as an address, in raw form; None when it is none."""
    return _read_bytes(boc, lambda raw: _raw(_stack_entry(Cell.one_from_boc(raw)))) if is_small(boc) else None


def address_stack(raw: str) -> bytes:
    """Return a get-method's stack that holds one address."""
    address = Builder().store_address(Address(raw)).end_cell()
    whole = Builder().store_uint(1, 24).store_ref(Builder().end_cell())
    whole.store_uint(SLICE, 8).store_ref(address).store_uint(0, 10).store_uint(len(address.bits), 10).store_uint(0, 6)
    return bytes(whole.end_cell().to_boc())


def internal_transfer(boc: str) -> InternalTransfer | None:
    """Read the body of an `internal_transfer` message; None when it is not one."""
    return _read(boc, _internal_transfer)


def address_in(boc: str) -> str | None:
    """Read the address a cell starts with, in raw form; None when there is none."""
    return _read(boc, lambda cell: _raw(_opened(cell).load_address()))


def address_cell(raw: str) -> str:
    """Return a cell that holds one address, as base64."""
    return base64.b64encode(Builder().store_address(Address(raw)).end_cell().to_boc()).decode()


def derived_wallets(code: str, *, master: str, owner: str) -> list[str]:
    """
    Return where the jetton wallet of an owner would be, one address for each known layout of its first data.

    `code` is the code of the master's wallets, as base64. Empty when it cannot be read.
    """
    return _read(code, lambda cell: [_deployed(cell, data) for data in _first_data(cell, master, owner)]) or []


@functools.lru_cache(maxsize=64)
def _cell(boc: str) -> Cell:
    """Parse a cell; the code of a master's wallets is needed again and again."""
    return Cell.one_from_boc(boc)


def _first_data(code: Cell, master: str, owner: str) -> list[Cell]:
    standard = _parties(Builder().store_coins(0), owner, master).store_ref(code).end_cell()
    governed = _parties(Builder().store_uint(0, 4).store_coins(0), owner, master).end_cell()  # USDT and its kind
    return [standard, governed]


def _parties(builder: Builder, owner: str, master: str) -> Builder:
    builder.store_address(Address(owner))
    builder.store_address(Address(master))
    return builder


def _deployed(code: Cell, data: Cell) -> str:
    state = Builder().store_uint(0b00110, 5).store_ref(code).store_ref(data).end_cell()
    return f"0:{state.hash.hex().upper()}"


def _internal_transfer(cell: Cell) -> InternalTransfer | None:
    body = _opened(cell)
    if body.load_uint(32) != INTERNAL_TRANSFER:
        return None
    body.load_uint(64)  # query_id
    amount = body.load_coins() or 0
    return InternalTransfer(amount, _raw(body.load_address()))


def is_small(boc: bytes) -> bool:
    """Say whether a bag has few enough cells to be read at once: their number stands in its first bytes."""
    width = boc[4] & 7 if len(boc) > 4 else 0  # noqa: PLR2004 - after the magic bytes
    return boc[:4] == _BAG and width > 0 and int.from_bytes(boc[6 : 6 + width], "big") <= MAX_CELLS


def _node_transaction(cell: Cell) -> NodeTransaction:
    whole = _opened(cell)
    if whole.load_uint(4) != 0b0111:  # noqa: PLR2004 - what a transaction begins with
        raise ValueError("no transaction")
    account, lt = whole.load_bytes(32).hex().upper(), whole.load_uint(64)
    whole.skip_bits(256 + 64)
    time = whole.load_uint(32)
    messages = _opened(whole.load_ref())
    received = messages.load_ref() if messages.load_bit() else None
    sent = messages.load_dict(15, value_deserializer=lambda value: value.load_ref().hash.hex()) or {}
    whole.load_ref()  # how the account's state changed
    told = TransactionDescr.deserialize(_opened(whole.load_ref()))
    message: Any = MessageAny.deserialize(_opened(received))
    return NodeTransaction(
        hash=cell.hash.hex(),
        account=account,
        lt=lt,
        time=time,
        succeeded=_succeeded(told),
        source=_raw(getattr(message.info, "src", None)),
        sent_at=message.info.created_lt,
        bounced=bool(message.info.bounced),
        message=received.hash.hex() if received is not None else "",
        # The body is read where it lies: to write it out again takes for ever when its cells share others, and that
        # is for whoever pays to choose.
        transfer=_read_bytes(message.body, _internal_transfer),
        sends=frozenset(sent.values()),
    )


def _succeeded(told: Any) -> bool:
    """Say how an ordinary transaction went: an aborted one changed nothing; its phases say the same, and both must."""
    if told.type_ != "ordinary" or told.aborted or told.compute_ph.type_ != "vm":
        return False
    return bool(told.compute_ph.success) and (told.action is None or bool(told.action.success))


def _stack_entry(cell: Cell) -> Any:
    stack = _opened(cell)
    depth, rest, kind = stack.load_uint(24), stack.load_ref(), stack.load_uint(8)
    if depth != 1 or kind not in {SLICE, SLICE - 1} or rest.bits or rest.refs:
        raise ValueError("not one cell or slice")
    entry = _opened(stack.load_ref())
    if kind == SLICE:
        entry.skip_bits(stack.load_uint(10))
    return entry.load_address()


def _opened(cell: Any) -> Any:
    """Return a cell's contents to read from; the library has no types for them."""
    return cell.begin_parse()


def _raw(address: Any) -> str | None:
    if not isinstance(address, Address):
        return None
    return f"{address.wc}:{address.hash_part.hex().upper()}"


def _read(boc: str, read: Callable[[Cell], T]) -> T | None:
    return _read_bytes(boc, lambda text: read(_cell(text)))


def _read_bytes(raw: U, read: Callable[[U], T]) -> T | None:
    try:
        return read(raw)
    except Exception:  # noqa: BLE001 - what the library raises about bytes is often a plain Exception
        return None
