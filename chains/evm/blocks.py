"""A block header: how it is asked for, and how it is read (pure)."""

from __future__ import annotations

from typing import NamedTuple

from chains.errors import ChainProtocolError, ChainUnavailable
from chains.evm.values import excerpt, hash_text
from chains.rpc.jsonrpc_messages import Call
from chains.rpc.quantities import MAX_TIMESTAMP, quantity


class Block(NamedTuple):
    """What is read of a block."""

    number: int
    hash: str
    time: int  # unix seconds


def parse_block(raw: object, number: int | None = None) -> Block | None:
    """
    Read a block header; None when the node does not hold it.

    Raises:
        ChainProtocolError: malformed, not sealed, or not the block `number` that was asked for.
    """
    if raw is None:
        return None
    if not isinstance(raw, dict):
        raise ChainProtocolError(f"not a block: {excerpt(raw)}")
    block = Block(quantity(raw.get("number")), hash_text(raw.get("hash")), quantity(raw.get("timestamp")))
    if block.time > MAX_TIMESTAMP:
        raise ChainProtocolError(f"block {block.number} has no time that a calendar can tell")
    if number is not None and block.number != number:
        raise ChainProtocolError(f"asked for block {number}, got block {block.number}")
    return block


def parse_code(raw: object) -> str:
    """
    Read the code deployed at an address, 0x where there is none.

    Raises:
        ChainProtocolError: this is no code, and says nothing of there being any.
    """
    if not isinstance(raw, str) or not raw.startswith("0x"):
        raise ChainProtocolError(f"eth_getCode did not answer with code: {excerpt(raw)}")
    return raw


def block_call(block: int | str) -> Call:
    """Return the call for a block, by number or by tag, with the hashes of its transactions."""
    return "eth_getBlockByNumber", (hex(block) if isinstance(block, int) else block, False)


def not_held(number: int) -> ChainUnavailable:
    """Return the error of a node that lags: it does not hold a block that another node has shown."""
    return ChainUnavailable(f"the node does not hold block {number} yet")
