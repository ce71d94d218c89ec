"""What another node of Tron shows of transfers that were verified: their irreversible receipts."""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial

from chains.rpc.concurrency import gather_individually
from chains.rpc.endpoint import Endpoint
from chains.tron.receipt_verification import transfers_by_key, verify_transfer
from chains.tron.rpc.client import TronClient
from chains.types import Verification

METHOD = "gettransactioninfobyid"


async def verify_again(client: TronClient, endpoint: Endpoint, said: Sequence[Verification]) -> list[Verification]:
    """Verify transfers by the receipts that one node shows; raises a `ChainError` when it shows none at all."""
    hashes = list(dict.fromkeys(each.transfer.tx_hash for each in said))
    ask, alive = partial(client.receipt, endpoint), partial(client.newest, endpoint)
    receipts = dict(zip(hashes, await gather_individually(hashes, ask, alive=alive), strict=True))
    credited = {tx_hash: transfers_by_key(receipt) for tx_hash, receipt in receipts.items()}
    return [
        verify_transfer(each.transfer, receipts[each.transfer.tx_hash], credited[each.transfer.tx_hash])
        for each in said
    ]
