"""What is said over a socket for new heads: the two calls, and what answers them (pure)."""

from __future__ import annotations

from typing import Any, NamedTuple

import msgspec
import orjson

from chains.errors import ChainProtocolError, ChainUnavailable
from chains.rpc.quantities import quantity

CHAIN_ID, SUBSCRIBE = 1, 2
MAX_EXCERPT = 100


class Announced(NamedTuple):
    """A new block, as a socket tells of it."""

    subscription: object
    number: int


class Answered(NamedTuple):
    """The answer to one of our calls."""

    call: object
    result: object
    error: object


class _Message(msgspec.Struct):
    id: Any = None
    method: Any = None
    params: msgspec.Raw = msgspec.Raw(b"")
    result: Any = None
    error: Any = None


class _Header(msgspec.Struct):
    number: Any


class _Notice(msgspec.Struct):
    subscription: Any
    result: _Header


def question(call: int) -> str:
    """Return one of our two calls."""
    method, params = ("eth_chainId", []) if call == CHAIN_ID else ("eth_subscribe", ["newHeads"])
    return orjson.dumps({"jsonrpc": "2.0", "id": call, "method": method, "params": params}).decode()


def parse(text: str) -> Announced | Answered:
    """
    Return what a message says.

    Raises:
        ChainProtocolError: nothing we know.
    """
    try:
        message = msgspec.json.decode(text, type=_Message)
        if message.method is None:
            return Answered(message.id, message.result, message.error)
        notice = msgspec.json.decode(message.params, type=_Notice)
    except (msgspec.DecodeError, RecursionError, UnicodeError) as exc:
        raise ChainProtocolError(f"sent what announces no block ({type(exc).__name__})") from exc
    return Announced(notice.subscription, quantity(notice.result.number))


def result_of(answer: Answered) -> object:
    """
    Return what a call was answered with.

    Raises:
        ChainUnavailable: it was refused.
    """
    if answer.error is not None:
        raise ChainUnavailable(f"refused: {repr(answer.error)[:MAX_EXCERPT]}")
    return answer.result
