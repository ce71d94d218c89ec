"""Proves verified transfers: the block's receipts hash to the root in a header that the head itself names."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

import msgspec

from chains.errors import ChainError, ChainProtocolError
from chains.evm.blocks import Block
from chains.evm.proofs.headers import HeaderChain
from chains.evm.proofs.proven_receipts import METHOD, read_proven
from chains.evm.rpc.client import RpcClient
from chains.evm.verification.receipts import Receipt, read_receipt, verify_transfer
from chains.rpc.endpoint import Endpoint
from chains.rpc.endpoint_pool import EndpointPool
from chains.types import Head, Transfer, TransferProof, Verification, VerificationOutcome
from config.catalog import Chain

MAX_REASON_CHARS = 300


class Prover:
    """Puts what endpoints said of transfers to the proof, block by block."""

    def __init__(self, client: RpcClient, pool: EndpointPool, chain: Chain) -> None:
        self._client = client
        self._pool = pool
        self._proxy = chain.proxy_address.lower()
        self._headers = HeaderChain(client)
        self.problem: str | None = None  # why something cannot be proven, for an operator

    def start(self) -> None:
        """Forget what could not be proven for an earlier head."""
        self.problem = None

    async def prove(self, said: Sequence[Verification], head: Head) -> list[Verification]:
        """
        Return what the blocks themselves show of transfers, in the order given.

        What no endpoint can prove is `NOT_YET`: it is asked again later.
        """
        found = list(said)
        blocks: dict[tuple[int, str], list[int]] = {}
        for place, each in enumerate(said):
            if each.outcome is not VerificationOutcome.NOT_YET:
                at = each.transfer.block_number, each.transfer.block_hash or ""
                blocks.setdefault(at, []).append(place)
        for (number, block_hash), places in blocks.items():
            proven = await self._block(number, block_hash, [said[place] for place in places], head)
            for place, verification in zip(places, proven, strict=True):
                found[place] = verification
        return found

    async def _block(
        self, number: int, block_hash: str, said: Sequence[Verification], head: Head
    ) -> list[Verification]:
        """Ask one endpoint after the other for what proves a block."""
        reasons: list[str] = []

        async def ask(endpoint: Endpoint) -> list[Verification]:
            return await self._proven(endpoint, number, block_hash, said, head)

        for endpoint in self._usable(reasons):
            try:
                return await self._pool.call_one(endpoint, METHOD, ask)
            except ChainError as exc:
                reasons.append(f"{endpoint.label}: {exc}")
        why = f"block {number} is not proven: {'; '.join(reasons)}"[:MAX_REASON_CHARS]
        self.problem = self.problem or why
        return [Verification(each.transfer, VerificationOutcome.NOT_YET, 0, why=why) for each in said]

    async def receipt(self, endpoint: Endpoint, told: Receipt) -> Receipt:
        """
        Return what the receipts that hash to a block show of a transaction, whatever the endpoint told of it alone.

        Raises:
            ChainError: it cannot be proven.
        """
        if told.block_number is None or told.block_hash is None:
            raise ChainProtocolError("its receipt names no block")
        proven = await read_proven(self._client, endpoint, told.block_number, told.block_hash, {told.tx_hash})
        index = proven.places.get(told.tx_hash)
        receipt = None if index is None else await self._receipt(proven.told[index], told.tx_hash)
        if receipt is None:
            raise ChainProtocolError(f"block {told.block_number} holds no transaction {told.tx_hash}")
        return receipt

    def _usable(self, reasons: list[str]) -> list[Endpoint]:
        try:
            return self._pool.usable()
        except ChainError as exc:  # one block that cannot be proven must not take the others' verdicts with it
            reasons.append(str(exc))
            return []

    async def _proven(
        self, endpoint: Endpoint, number: int, block_hash: str, said: Sequence[Verification], head: Head
    ) -> list[Verification]:
        linked = await self._headers.hash_at(endpoint, number, head)
        if linked is None:
            why = f"the headers between block {number} and the head are still being read"
            return [Verification(each.transfer, VerificationOutcome.NOT_YET, 0, why=why) for each in said]
        if linked == block_hash:
            return await self._shown(endpoint, number, block_hash, [each.transfer for each in said])
        if all(each.outcome is VerificationOutcome.GONE for each in said):
            return list(said)  # the head comes from another block at this height
        raise ChainProtocolError(f"block {block_hash} is not block {number} of the chain that ends in the head")

    async def _shown(
        self, endpoint: Endpoint, number: int, block_hash: str, transfers: Sequence[Transfer]
    ) -> list[Verification]:
        """Return what the receipts that hash to a block show of transfers."""
        proven = await read_proven(self._client, endpoint, number, block_hash, {t.tx_hash for t in transfers})
        # Each receipt is read once: whoever sends a transaction chooses how many transfers it holds.
        receipts: dict[str, Receipt | None] = {}
        proofs: dict[str, TransferProof] = {}
        found = []
        for transfer in transfers:
            tx_hash = transfer.tx_hash
            if tx_hash not in receipts:
                index = proven.places.get(tx_hash)
                if index is None:
                    raise ChainProtocolError(f"block {number} holds no transaction {tx_hash}")
                receipts[tx_hash] = await self._receipt(proven.told[index], tx_hash)
                nodes = tuple(proven.tree.nodes[index])
                receipt = proven.encoded[index]
                proofs[tx_hash] = TransferProof(number, block_hash, proven.header, index, receipt, nodes, 0)
            found.append(_verified(transfer, receipts[tx_hash], proven.block, proofs[tx_hash]))
        return found

    async def _receipt(self, told: Mapping[str, Any], tx_hash: str) -> Receipt | None:
        return await read_receipt(msgspec.Raw(msgspec.json.encode(told)), tx_hash=tx_hash, proxy=self._proxy)


def _verified(transfer: Transfer, receipt: Receipt | None, block: Block, proof: TransferProof) -> Verification:
    """Judge a transfer anew, by the receipt that is in the block."""
    seen = None if receipt is None else verify_transfer(transfer, receipt, block)
    if seen is None:
        return Verification(transfer, VerificationOutcome.NO_TRANSFER_LOG, 0)
    if seen.log_position is None:
        return seen
    return replace(seen, proof=proof._replace(log_position=seen.log_position))
