"""Wallets of TON: what key one has by its first state, and the unsigned messages that empty one; through pytoniq."""

from __future__ import annotations

import base64
from dataclasses import dataclass

from pytoniq_core.boc.address import Address
from pytoniq_core.boc.builder import Builder
from pytoniq_core.boc.cell import Cell

from addresses import ton

MAX_STATE_INIT = 8192  # bytes of base64
# Where the key lies in the first state of a wallet, in bits; of other contracts nobody knows whose it is.
KEY_AT = {
    "b61041a58a7980b946e8fb9e198e3c904d24799ffa36574ea4251c41a566f581": 64,  # v3r1: seqno, subwallet
    "84dafa449f98a6987789ba232358072bc0f76dc4524002a5d0918b9a75d2d599": 64,  # v3r2
    "feb5ff6820e2ff0d9483e7e0d62c817d846789fb4ae580c878866d959dabd5c0": 64,  # v4r2: seqno, wallet
    "20834b7b72b112147e1b2fb457b84e74d1a30f04f737d4f62a668e9552d2b72f": 65,  # v5r1: a flag, seqno, wallet
}
KEY_BYTES = 32
_PLAIN = [0, 0, 1, 1, 0]  # code and data: no depth, no special, no library


class NotAWallet(ValueError):
    """A sentence for whoever sent the state."""


def key_of(address: str, state_init: str) -> bytes:
    """
    Return the key that a wallet of a raw address has.

    Raises:
        NotAWallet: it is the state of another address, or of a contract that is no known wallet.
    """
    if len(state_init) > MAX_STATE_INIT:
        raise NotAWallet("the state of a wallet is shorter")
    try:
        cell, flags, code, data = _read(state_init)
        if flags != _PLAIN:
            raise NotAWallet("the state of a wallet has code and data and nothing else")
        place = KEY_AT.get(code.hash.hex())
        if place is None:
            raise NotAWallet("this wallet is none of v3r1, v3r2, v4r2 and v5r1")
        rest = data.begin_parse()  # type: ignore[no-untyped-call]  # the library says no types
        rest.load_bits(place)
        key = bytes(rest.load_bytes(KEY_BYTES))
    except NotAWallet:
        raise
    except Exception as exc:
        raise NotAWallet("the state of the wallet cannot be read") from exc
    if ton.canonical_of(f"{address.split(':', maxsplit=1)[0]}:{cell.hash.hex()}") != address:
        raise NotAWallet("the state is of another wallet")
    return key


def _read(state_init: str) -> tuple[Cell, list[int], Cell, Cell]:
    cell = Cell.one_from_boc(base64.b64decode(state_init, validate=True))
    rest = cell.begin_parse()  # type: ignore[no-untyped-call]  # as above
    return cell, [rest.load_bit() for _ in _PLAIN], rest.load_ref(), rest.load_ref()


# -- messages that empty a wallet, unsigned ------------------------------------------------------------

TRANSFER = 0x0F8A7EA5
SIGNED_EXTERNAL = 0x7369676E
SEND_MESSAGE = 0x0EC3C86D
PAY_FEES_APART = 3  # and go on where an action fails, as every wallet sends
NOTICE_NANO = 1  # with it the recipient is told
V3, V4, V5 = "v3", "v4", "v5"
VERSION_OF = dict(zip(KEY_AT, (V3, V3, V4, V5), strict=True))


@dataclass(frozen=True, slots=True, kw_only=True)
class WalletState:
    """What a wallet that is deployed has to be asked by."""

    version: str
    wallet_id: int
    seqno: int


@dataclass(frozen=True, slots=True, kw_only=True)
class UnsignedMessage:
    """An external message without its signature, and what is to be signed."""

    boc: str
    to_sign: str  # the hash in hex
    signature: str  # where it goes in the body: at the `start` or the `end`


def jetton_transfer(
    *,
    wallet: str,
    state: WalletState,
    jetton_wallet: str,
    to: str,
    amount: int,
    attached: int,
    valid_until: int,
    query_id: int,
) -> UnsignedMessage:
    """Return the message that lets a wallet send jettons; addresses are raw, `attached` pays for the way."""
    call = (
        Builder()
        .store_uint(TRANSFER, 32)
        .store_uint(query_id, 64)
        .store_coins(amount)
        .store_address(Address(to))
        .store_address(Address(wallet))  # gets what is left of the fee
        .store_bit(0)
        .store_coins(NOTICE_NANO)
        .store_bit(0)
        .end_cell()
    )
    body = _body(state, _internal(jetton_wallet, attached, call), valid_until)
    external = Builder().store_uint(0b10, 2).store_uint(0, 2).store_address(Address(wallet)).store_coins(0)
    cell = external.store_bit(0).store_bit(1).store_ref(body).end_cell()
    return UnsignedMessage(
        boc=base64.b64encode(cell.to_boc()).decode(),
        to_sign=body.hash.hex(),
        signature="end" if state.version == V5 else "start",
    )


def _internal(to: str, value: int, body: Cell) -> Cell:
    message = Builder().store_uint(0b0110, 4).store_uint(0, 2).store_address(Address(to)).store_coins(value)
    return _ended(message.store_uint(0, 1 + 4 + 4 + 64 + 32).store_bit(0).store_bit(1).store_ref(body))


def _body(state: WalletState, message: Cell, valid_until: int) -> Cell:
    head = (state.wallet_id, valid_until, state.seqno)
    if state.version == V5:
        action = Builder().store_ref(Builder().end_cell()).store_uint(SEND_MESSAGE, 32).store_uint(PAY_FEES_APART, 8)
        listed = action.store_ref(message).end_cell()
        start = Builder().store_uint(SIGNED_EXTERNAL, 32)
        return _ended(_uints(start, head).store_bit(1).store_ref(listed).store_bit(0))
    start = _uints(Builder(), head)
    if state.version == V4:
        start = start.store_uint(0, 8)
    return _ended(start.store_uint(PAY_FEES_APART, 8).store_ref(message))


def _ended(builder: Builder) -> Cell:
    cell: Cell = builder.end_cell()
    return cell


def _uints(builder: Builder, numbers: tuple[int, ...]) -> Builder:
    for number in numbers:
        builder = builder.store_uint(number, 32)
    return builder


def address_cell(raw: str) -> str:
    """Return a cell that holds one address, as base64."""
    return base64.b64encode(Builder().store_address(Address(raw)).end_cell().to_boc()).decode()


def address_in(boc: str) -> str | None:
    """Read the address a cell starts with, in raw form; None when there is none."""
    try:
        found = Cell.one_from_boc(boc).begin_parse().load_address()  # type: ignore[no-untyped-call]  # as above
        return ton.canonical_of(f"{found.wc}:{found.hash_part.hex()}")
    except Exception:  # noqa: BLE001 - as above
        return None
