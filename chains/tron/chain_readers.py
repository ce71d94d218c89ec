"""The readers of one chain, which share what they remember of its blocks and receipts."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from chains.rpc.endpoint_pool import EndpointPool
from chains.tron.blocks import BlockTimeIndex
from chains.tron.logs.reader import LogReader
from chains.tron.receipts import ReceiptReader
from chains.tron.retained_history import RetainedHistory
from chains.tron.rpc.client import TronClient
from chains.tron.scan.account_scanner import AccountScanner
from chains.tron.scan.block_scanner import BlockScanner
from chains.tron.scan.page_reader import PageReader
from chains.tron.scan.transfer_scan import TransferScan


@dataclass(frozen=True, slots=True)
class ChainReaders:
    """What reads one chain through one client."""

    client: TronClient
    blocks: BlockTimeIndex
    receipts: ReceiptReader
    retained: RetainedHistory
    logs: LogReader
    block_scanner: BlockScanner
    account_scanner: AccountScanner
    pages: PageReader

    @classmethod
    def of(
        cls, client: TronClient, *, pool: EndpointPool, busy_contract: str, chain_id: int, clock: Callable[[], float]
    ) -> ChainReaders:
        """Wire them up; `pulse` is a contract that is used all the time."""
        blocks, receipts = BlockTimeIndex(client, clock=clock), ReceiptReader(client)
        retained = RetainedHistory(blocks, receipts, clock=clock)
        logs = LogReader(client, blocks=blocks, receipts=receipts, clock=clock)
        block_scanner = BlockScanner(blocks=blocks, receipts=receipts)
        account_scanner = AccountScanner(
            client, blocks=blocks, receipts=receipts, block_scanner=block_scanner, busy_contract=busy_contract
        )
        scan = TransferScan(
            blocks=blocks, retained=retained, logs=logs, block_scanner=block_scanner, account_scanner=account_scanner
        )
        pages = PageReader(scan, receipts=receipts, blocks=blocks, chain_id=chain_id, pool=pool)
        return cls(client, blocks, receipts, retained, logs, block_scanner, account_scanner, pages)
