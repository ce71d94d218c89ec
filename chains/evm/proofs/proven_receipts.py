"""The receipts of one block as an endpoint shows them, proven by the root in the block's own header."""

from __future__ import annotations

import asyncio
from collections.abc import Collection, Mapping, Sequence
from typing import Any, NamedTuple

from chains.errors import ChainProtocolError, ProvenLie
from chains.evm.blocks import Block, block_call, parse_block
from chains.evm.logs.block_receipts import MAX_TRANSACTIONS, RECEIPTS_PER_BATCH, cannot_show_all
from chains.evm.proofs.encoding import encoded_header, encoded_receipt
from chains.evm.proofs.headers import header_of
from chains.evm.proofs.receipt_tree import ReceiptTree, receipt_tree
from chains.evm.rpc.client import RpcClient
from chains.evm.values import hash_text
from chains.rpc.endpoint import Endpoint, Unserved

METHOD = "eth_getBlockReceipts"
RECEIPTS_PER_SLICE = 50  # encoded, then others run


class ProvenBlock(NamedTuple):
    """A block, its header in RLP, and its receipts: as they were told, and as the tree of them holds them."""

    block: Block
    header: bytes
    told: Sequence[Mapping[str, Any]]
    encoded: Sequence[bytes]
    places: Mapping[str, int]  # of the transactions that were asked for and are in it
    tree: ReceiptTree  # with the ways to those


async def read_proven(
    client: RpcClient, endpoint: Endpoint, number: int, block_hash: str, tx_hashes: Collection[str] = ()
) -> ProvenBlock:
    """
    Return the receipts of the block of this hash.

    Raises:
        ProvenLie: they are not those of the block.
        ChainProtocolError: the endpoint shows another block, or what cannot be read.
        Unserved: it does not show them, or not in a form whose encoding is known.
    """
    raw, told = await _read(client, endpoint, number)
    header = encoded_header(raw, block_hash)
    block = parse_block(raw, number)
    if block is None:
        raise ChainProtocolError(f"block {number} is unreadable")
    encoded = await _encoded(told)
    places = {hash_text(each.get("transactionHash")): index for index, each in enumerate(told)}
    wanted = {tx_hash: places[tx_hash] for tx_hash in tx_hashes if tx_hash in places}
    tree = await receipt_tree(encoded, set(wanted.values()))
    if "0x" + tree.root.hex() != hash_text(raw.get("receiptsRoot")):
        if any(str(each.get("blockHash")).lower() != block_hash for each in told):
            raise ChainProtocolError(f"the receipts it shows are of another block than {block_hash}")
        raise ProvenLie(f"the receipts it shows are not those of block {number}")
    return ProvenBlock(block, header, told, encoded, wanted, tree)


async def _read(client: RpcClient, endpoint: Endpoint, number: int) -> tuple[dict[str, Any], list[Mapping[str, Any]]]:
    """Return a block and its receipts in order, in one request where the endpoint serves that."""
    capability = endpoint.limits.block_receipts
    if capability.should_try:
        calls = [block_call(number), (METHOD, (hex(number),))]
        block, answer = await client.batch(endpoint, calls)
        raw = header_of(block.get(), number)
        if not cannot_show_all(answer):
            capability.served()
            return raw, _receipts_of(answer.get(), number)
        capability.refused()
    (block,) = await client.batch(endpoint, [block_call(number)])
    raw = header_of(block.get(), number)
    hashes = raw.get("transactions")
    if not isinstance(hashes, list) or len(hashes) > MAX_TRANSACTIONS:
        raise Unserved(f"shows block {number} without a list of its transactions")
    found: list[Any] = []
    for start in range(0, len(hashes), RECEIPTS_PER_BATCH):
        part = hashes[start : start + RECEIPTS_PER_BATCH]
        answers = await client.batch(endpoint, [("eth_getTransactionReceipt", (each,)) for each in part])
        found += [answer.get() for answer in answers]
    return raw, _receipts_of(found, number)


async def _encoded(told: Sequence[Mapping[str, Any]]) -> list[bytes]:
    """Return receipts as the root covers them, and let others run in between."""
    encoded = []
    for place, each in enumerate(told):
        if place % RECEIPTS_PER_SLICE == 0:
            await asyncio.sleep(0)
        encoded.append(encoded_receipt(each))
    return encoded


def _receipts_of(answer: object, number: int) -> list[Mapping[str, Any]]:
    if not isinstance(answer, list) or len(answer) > MAX_TRANSACTIONS:
        raise ChainProtocolError(f"the receipts of block {number} are no list")
    if not all(isinstance(each, dict) for each in answer):
        raise ChainProtocolError(f"the receipts of block {number} hold what is none")
    return answer
