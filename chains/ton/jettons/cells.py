"""Cells and what is in them, through pytoniq_core, which only this file imports."""

from __future__ import annotations

import base64
import functools
from collections.abc import Callable
from typing import Any, NamedTuple, TypeVar

from pytoniq_core.boc.address import Address
from pytoniq_core.boc.builder import Builder
from pytoniq_core.boc.cell import Cell

from chains.ton.jettons.opcodes import INTERNAL_TRANSFER

T = TypeVar("T")


class InternalTransfer(NamedTuple):
    """What one jetton wallet tells another: credit this much, from that owner."""

    amount: int
    sender: str | None


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


def _opened(cell: Any) -> Any:
    """Return a cell's contents to read from; the library has no types for them."""
    return cell.begin_parse()


def _raw(address: Any) -> str | None:
    if not isinstance(address, Address):
        return None
    return f"{address.wc}:{address.hash_part.hex().upper()}"


def _read(boc: str, read: Callable[[Cell], T]) -> T | None:
    try:
        return read(_cell(boc))
    except Exception:  # noqa: BLE001 - what the library raises about bytes is often a plain Exception
        return None
