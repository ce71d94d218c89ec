"""The first state of a TON wallet, which its address is the hash of: what key it has."""

from __future__ import annotations

import base64

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
