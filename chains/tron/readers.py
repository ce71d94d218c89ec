"""The readers of one chain, which share what they remember of its blocks and receipts."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from chains.rpc.endpoint_pool import EndpointPool
from chains.tron.blocks import BlockTimeIndex
from chains.tron.by_accounts import AccountReader
from chains.tron.by_blocks import BlockReader
from chains.tron.client import TronClient
from chains.tron.held import HeldBlocks
from chains.tron.logs import LogReader
from chains.tron.page import PageReader
from chains.tron.receipts import ReceiptReader
from chains.tron.scan import TransferScan


@dataclass(frozen=True, slots=True)
class Readers:
    """What reads one chain through one client."""

    client: TronClient
    blocks: BlockTimeIndex
    receipts: ReceiptReader
    held: HeldBlocks
    logs: LogReader
    by_blocks: BlockReader
    by_accounts: AccountReader
    pages: PageReader

    @classmethod
    def of(
        cls, client: TronClient, *, pool: EndpointPool, pulse: str, chain_id: int, clock: Callable[[], float]
    ) -> Readers:
        """Wire them up; `pulse` is a contract that is used all the time."""
        blocks, receipts = BlockTimeIndex(client, clock=clock), ReceiptReader(client)
        held = HeldBlocks(blocks, receipts, clock=clock)
        logs = LogReader(client, blocks=blocks, receipts=receipts, clock=clock)
        by_blocks = BlockReader(blocks=blocks, receipts=receipts)
        by_accounts = AccountReader(client, blocks=blocks, receipts=receipts, by_blocks=by_blocks, pulse=pulse)
        scan = TransferScan(blocks=blocks, held=held, logs=logs, by_blocks=by_blocks, by_accounts=by_accounts)
        pages = PageReader(scan, receipts=receipts, blocks=blocks, chain_id=chain_id, pool=pool)
        return cls(client, blocks, receipts, held, logs, by_blocks, by_accounts, pages)
