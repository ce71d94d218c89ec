"""All logs of one block, from its receipts: the way past an answer that may hold fewer logs than one block has."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Sequence
from typing import Any

from addresses.keccak import keccak
from chains.errors import ChainError, ChainProtocolError
from chains.evm.blocks import Block, block_call, not_held, parse_block
from chains.evm.events import is_well_formed
from chains.evm.rpc.client import RawResult, RpcClient, RpcRefused
from chains.evm.rpc.structs import (
    BlockReceipt,
    Log,
    MalformedLog,
    parse_block_receipt,
    parse_block_receipts,
    parse_receipt_log_rows,
)
from chains.rpc.endpoint import Endpoint, Unserved
from chains.rpc.http_client import TooLarge
from chains.rpc.jsonrpc_messages import Call
from chains.rpc.provider_errors import ErrorKind

RECEIPTS_PER_BATCH = 50
LOGS_PER_SLICE = 1_000  # then others run
MAX_TRANSACTIONS = 20_000  # in one block
MAX_MISSING = 5  # receipts of a block, and never more than there are others: else it shows no receipts
EMPTY_TRANSACTIONS_ROOT = "0x" + keccak(b"\x80").hex()  # of the tree of no transactions


class BlockReceiptsReader:
    """Reads the receipts of one block, in one call where the endpoint serves that."""

    def __init__(self, client: RpcClient) -> None:
        self._client = client

    async def read(
        self, endpoint: Endpoint, number: int, ours: Callable[[str, Sequence[str]], bool]
    ) -> tuple[Block, list[Log], list[MalformedLog]]:
        """
        Return a block, the logs in it that `ours` picks by their address and topics, and what cannot be read.

        Raises:
            ChainUnavailable: the endpoint does not hold the block yet.
            ChainProtocolError: its receipts and its block do not agree.
            Unserved: it does not show all receipts of the block, in either way.
        """
        (answer,) = await self._client.batch(endpoint, [block_call(number)])
        raw = answer.get()
        block = parse_block(raw, number)
        if block is None:
            raise not_held(number)
        hashes = _transactions(raw, number)
        if not hashes and raw.get("transactionsRoot") != EMPTY_TRANSACTIONS_ROOT:
            # Whoever does not list transactions hides them; an empty block proves itself (Yellow Paper, 4.4).
            raise Unserved(f"shows block {number} without its transactions")
        receipts = await self._receipts(endpoint, block, hashes)
        # Some nodes leave transactions of the system itself out of a block's receipts.
        receipts += await self._one_by_one(endpoint, _missing(hashes, receipts))
        missing = _missing(hashes, receipts)
        if len(missing) > min(MAX_MISSING, len(receipts)):
            raise Unserved(f"lacks {len(missing)} receipts of block {number}, such as that of {min(missing)}")
        if any(receipt.blockHash.lower() != block.hash for receipt in receipts):
            raise ChainProtocolError(f"the receipts of block {number} are not of the block the node holds")
        rows, malformed = await _logs(block, receipts, ours)
        # One receipt that a node lacks for good once kept the whole chain at its block.
        lacking = [MalformedLog(None, None, tx_hash, number, "its receipt is not shown") for tx_hash in missing]
        return block, rows, malformed + lacking

    async def _receipts(self, endpoint: Endpoint, block: Block, hashes: Sequence[str]) -> list[BlockReceipt]:
        if not hashes:
            return []
        capability = endpoint.limits.block_receipts
        if capability.should_try:
            (answer,) = await self._client.batch(endpoint, [("eth_getBlockReceipts", (hex(block.number),))])
            if not cannot_show_all(answer):
                await asyncio.sleep(0)
                receipts = parse_block_receipts(answer.value())
                capability.served()
                return receipts
            capability.refused()
        return await self._one_by_one(endpoint, hashes)

    async def _one_by_one(self, endpoint: Endpoint, hashes: Sequence[str]) -> list[BlockReceipt]:
        found: list[BlockReceipt] = []
        for start in range(0, len(hashes), RECEIPTS_PER_BATCH):
            calls: list[Call] = [
                ("eth_getTransactionReceipt", (tx_hash,)) for tx_hash in hashes[start : start + RECEIPTS_PER_BATCH]
            ]
            answers = await self._client.batch(endpoint, calls)
            found += filter(None, map(_receipt, answers))
        return found


def _receipt(answer: RawResult) -> BlockReceipt | None:
    """Return one receipt; None where it is not shown, or not in a way that can be read."""
    busy = isinstance(answer.error, RpcRefused) and answer.error.advice.kind is ErrorKind.RATE
    if answer.error is not None and busy:
        raise answer.error
    try:
        return parse_block_receipt(answer.value())
    except ChainError:
        return None


def cannot_show_all(answer: RawResult) -> bool:
    """Say whether the endpoint will not answer with all receipts of a block, or of this one."""
    error = answer.error
    too_large = {ErrorKind.ROWS, ErrorKind.BLOCKS, ErrorKind.OTHER}
    refused = isinstance(error, RpcRefused) and error.advice.kind in too_large
    return refused or isinstance(error, Unserved | TooLarge)


def _transactions(raw: Any, number: int) -> list[str]:
    listed = raw.get("transactions")
    if not isinstance(listed, list) or len(listed) > MAX_TRANSACTIONS:
        raise Unserved(f"shows block {number} without a list of its transactions")
    hashes = [one.get("hash") if isinstance(one, dict) else one for one in listed]
    if not all(isinstance(one, str) for one in hashes):
        raise ChainProtocolError(f"block {number} lists what is no transaction")
    return [str(one).lower() for one in hashes]


def _missing(hashes: Sequence[str], receipts: Sequence[BlockReceipt]) -> list[str]:
    shown = {receipt.transactionHash.lower() for receipt in receipts}
    return [tx_hash for tx_hash in hashes if tx_hash not in shown]


async def _logs(
    block: Block, receipts: Sequence[BlockReceipt], ours: Callable[[str, Sequence[str]], bool]
) -> tuple[list[Log], list[MalformedLog]]:
    """Pick logs receipt by receipt, and let others run in between; they are numbered as they stand in the block."""
    found: list[Log] = []
    malformed: list[MalformedLog] = []
    count, stop = 0, LOGS_PER_SLICE
    for receipt in receipts:
        try:
            logs, unparsed = parse_receipt_log_rows(receipt, block.number)
        except ChainProtocolError as exc:
            logs, unparsed = [], [MalformedLog(None, None, receipt.transactionHash, block.number, str(exc))]
        malformed += unparsed
        for log in logs:
            if ours(log.address, log.topics) or not is_well_formed(log.address, log.topics, log.data):
                place = (hex(block.number), block.hash, receipt.transactionHash, hex(count))
                found.append(Log(log.address, log.topics, log.data, *place))
            count += 1
            if count >= stop:
                stop = count + LOGS_PER_SLICE
                await asyncio.sleep(0)
    return found, malformed
