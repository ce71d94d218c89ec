"""What one endpoint says of a transaction: its receipt, tied to its block and to the head by their hashes."""

from __future__ import annotations

from typing import TYPE_CHECKING

from chains.evm.blocks import Block, block_call
from chains.evm.rpc.client import RawResult, RpcClient
from chains.evm.verification.decisions import read_block, why_unfit
from chains.evm.verification.receipts import UNREADABLE, Receipt, movements_in, receipt_call, receipt_or_why
from chains.rpc.endpoint import Endpoint
from chains.rpc.http_client import TooLarge
from chains.rpc.jsonrpc_messages import Call
from chains.transactions import CannotTell, Told
from chains.types import Head, Transaction
from config.catalog import Chain, Finality

if TYPE_CHECKING:
    from chains.evm.proofs.prover import Prover


class TransactionReader:
    """Asks one endpoint at a time, and believes it only on the chain of the head."""

    def __init__(self, client: RpcClient, chain: Chain, *, prover: Prover | None = None) -> None:
        self._client = client
        self._prover = prover
        self._chain_id = chain.chain_id
        self._proxy = chain.proxy_address.lower()
        self._needs_final = chain.finality is not Finality.DEPTH

    async def read(self, endpoint: Endpoint, *, tx_hash: str, head: Head) -> Told:
        """
        Return what an endpoint shows of a transaction; None when it is up to date and has none, or why it cannot tell.

        Raises:
            ChainError: it did not answer, or refuses.
        """
        calls: list[Call] = [block_call(head.position), receipt_call(tx_hash)]
        calls += [block_call("finalized")] if self._needs_final else []
        try:
            top, answer, *rest = await self._client.batch(endpoint, calls)
        except TooLarge:
            return CannotTell("its receipt is too large to be read", is_seen=True)
        final = rest[0] if rest else None
        receipt = await receipt_or_why(answer, tx_hash=tx_hash, proxy=self._proxy)
        unfit = why_unfit(top, final, head)
        if isinstance(receipt, str):
            return CannotTell(receipt, is_seen=answer.error is None)
        if unfit is not None:
            return CannotTell(unfit.why, is_seen=receipt is not None)
        return None if receipt is None else await self._tied(endpoint, receipt, _with_final(head, final))

    async def _tied(self, endpoint: Endpoint, receipt: Receipt, head: Head) -> Told:
        """Return what a receipt shows, if the block that it names holds it."""
        # Which of the logs is missing is not known: a list without it would hide a transfer.
        unread = receipt.unread or next(iter(receipt.unread_of.values()), None)
        if unread is not None or receipt.block_number is None:
            why = "its receipt names no block" if unread is None else f"{UNREADABLE}: {unread}"
            return CannotTell(why, is_seen=True)
        (answer,) = await self._client.batch(endpoint, [block_call(receipt.block_number)])
        block = read_block(answer, receipt.block_number)
        if not isinstance(block, Block):
            return CannotTell(block, is_seen=True)
        if block.hash != receipt.block_hash:
            return CannotTell("its receipt is not in the block it names", is_seen=True)
        if self._prover is not None:
            receipt = await self._prover.receipt(endpoint, receipt)
        moved = movements_in(receipt, block, chain_id=self._chain_id) if receipt.succeeded else ()
        return Transaction(
            receipt.tx_hash, receipt.succeeded, block.number, block.hash, moved, head, block_time=block.time
        )


def _with_final(head: Head, final: RawResult | None) -> Head:
    """Return a head with what the same endpoint calls final, never above the head itself."""
    block = None if final is None else read_block(final, None)
    return head._replace(finalized=min(block.number, head.position) if isinstance(block, Block) else None)
