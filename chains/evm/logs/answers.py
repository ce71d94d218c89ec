"""What an answer to `eth_getLogs` means: its logs, or why there are none (pure)."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

from chains.errors import ChainError, ChainProtocolError
from chains.evm.blocks import not_held, parse_block
from chains.evm.rpc.client import RawResult, RpcRefused
from chains.evm.rpc.structs import Log, MalformedLog
from chains.rpc.http_client import CutOff, Garbled, Overasked, Overpriced, TooLarge
from chains.rpc.jsonrpc_messages import NotAllowed
from chains.rpc.provider_errors import ErrorKind
from chains.types import Cursor

SIZE_KINDS = {
    ErrorKind.BLOCKS,
    ErrorKind.ROWS,
    ErrorKind.TOPICS,
    ErrorKind.ADDRESSES,
    ErrorKind.ADDRESSLESS,
    ErrorKind.OTHER,
}


class LogAnswer(NamedTuple):
    """The logs of one answer, those of them that are malformed apart; or why there are none."""

    error: ChainError | None
    rows: Sequence[Log] = ()
    malformed: Sequence[MalformedLog] = ()


def read_log_answer(answer: RawResult) -> LogAnswer:
    """Read an answer; what is no list of logs is a refusal: some say null to a question that is too large."""
    if answer.error is not None:
        return LogAnswer(answer.error)
    try:
        return LogAnswer(None, *answer.log_rows())
    except ChainProtocolError as exc:
        return LogAnswer(Garbled(str(exc)))


def is_beyond_head(error: ChainError | None) -> bool:
    """Say whether the query reaches blocks whose logs the node does not serve yet."""
    return isinstance(error, RpcRefused) and error.advice.kind is ErrorKind.HEAD


def is_about_size(error: Exception | None) -> bool:
    """Say whether a refusal may be about how much was asked for, in whatever words."""
    if isinstance(error, Garbled | TooLarge | Overasked | Overpriced | NotAllowed | CutOff):
        return True
    return isinstance(error, RpcRefused) and error.advice.kind in SIZE_KINDS


def is_full(answer: RawResult) -> bool:
    """
    Say whether an answer was refused for its length.

    Raises:
        ChainError: it was refused for another reason.
    """
    if answer.error is None:
        return False
    if is_about_size(answer.error):
        return True
    raise answer.error


def is_reorganised(answer: RawResult, after: Cursor) -> bool:
    """
    Say whether the block at the cursor is another one than was read.

    Raises:
        ChainUnavailable: the node does not hold it yet, which is never a fork.
    """
    block = parse_block(answer.get(), after.position)
    if block is None:
        raise not_held(after.position)
    return block.hash != after.block_hash
