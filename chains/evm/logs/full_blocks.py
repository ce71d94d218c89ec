"""A block whose logs do not come in one answer: read from its receipts, and the addresses that fill it found."""

from __future__ import annotations

from chains.evm.blocks import block_call
from chains.evm.logs.answers import LogAnswer, is_full, is_reorganised
from chains.evm.logs.block_receipts import BlockReceiptsReader
from chains.evm.logs.page_decoder import decode_page
from chains.evm.logs.queries import (
    LogFilter,
    LogQuery,
    halves,
    log_matcher,
    transfers_to,
)
from chains.evm.rpc.client import RpcClient
from chains.rpc.endpoint import Endpoint
from chains.rpc.http_client import Garbled, TooLarge
from chains.rpc.jsonrpc_messages import NotAllowed
from chains.types import Cursor, Fork, ScanPage

MAX_SPLITS = 64  # questions to find the addresses that the answer for one block cannot hold


class FullBlockReader:
    """Reads one block by its receipts, and finds whose logs are too many for an answer."""

    def __init__(self, client: RpcClient, *, chain_id: int, proxy: str) -> None:
        self._client = client
        self._receipts = BlockReceiptsReader(client)
        self._chain_id = chain_id
        self._proxy = proxy

    async def read(self, endpoint: Endpoint, log_filter: LogFilter, after: Cursor) -> ScanPage | Fork:
        """
        Read the block after a cursor from its receipts, as a page of its own.

        Raises:
            ChainUnavailable: the endpoint does not hold the block yet.
            Unserved: it does not show the receipts of the block.
        """
        number = after.position + 1
        if after.block_hash is not None:
            (below,) = await self._client.batch(endpoint, [block_call(after.position)])
            if is_reorganised(below, after):
                return Fork(after)
        block, rows, malformed = await self._receipts.read(endpoint, number, log_matcher(log_filter, self._proxy))
        return await decode_page(
            log_filter, [LogAnswer(None, rows, malformed)], block, number, chain_id=self._chain_id, proxy=self._proxy
        )

    async def crowded_destinations(self, endpoint: Endpoint, query: LogQuery, *, block: int) -> set[str] | None:
        """Return the addresses whose logs of one block do not fit into an answer; None where that takes too long."""
        if len(query.destinations) == 1:
            return set(query.destinations)
        groups, found, asked = halves(query.destinations), set[str](), 0
        while groups:
            asked += len(groups)
            if asked > MAX_SPLITS:
                return None
            calls = [transfers_to(group, None, block, block).call for group in groups]
            try:
                answers = await self._client.batch(endpoint, calls)
            except (TooLarge, NotAllowed, Garbled):
                return None
            full = [group for group, answer in zip(groups, answers, strict=True) if is_full(answer)]
            found |= {group[0] for group in full if len(group) == 1}
            groups = [half for group in full if len(group) > 1 for half in halves(group)]
        return found
