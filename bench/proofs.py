"""What proofs cost: a payment that is confirmed, a thousand blocks that are read, a block whose filter says perhaps."""

from __future__ import annotations

import time
from collections.abc import Awaitable, Callable
from typing import Any

from bench.table import TableRow
from chains.evm.logs.queries import LogFilter, LogSource
from chains.evm.proofs.prover import Prover
from chains.evm.proofs.withheld import WithheldCheck
from chains.rpc.endpoint_pool import EndpointPool
from chains.types import Cursor, Rail, ScanPage, Verification, VerificationOutcome
from config.catalog import Chain
from scanner.upkeep.metrics import ChainTelemetry, Metrics
from tests.chains.evm.proofs.chain import CHAIN, SHOP, Node, log, receipt

BLOCKS, RECEIPTS, ROUNDS, PAGE = 1_000, 200, 5, 50
NUMBER, DEPTH = 3, 12
PROXY = "0x" + "dd" * 20


def a_pool() -> EndpointPool:
    return EndpointPool(["http://node.test"], telemetry=ChainTelemetry(Metrics(), CHAIN))


def full(length: int) -> Node:
    """Return a chain with one full block, whose receipts hold a payment each."""
    return Node({NUMBER: [receipt(NUMBER, index, log(index + 1)) for index in range(RECEIPTS)]}, length=length)


async def best(work: Callable[[], Awaitable[Any]]) -> float:
    """Return the milliseconds of the best round: what else the machine did only slows."""
    found = []
    for _ in range(ROUNDS):
        started = time.perf_counter()
        await work()
        found.append((time.perf_counter() - started) * 1000)
    return min(found)


async def confirmed() -> tuple[float, list[list[str]]]:
    """Prove one payment in a full block, its headers included; return the time and what was asked."""
    node = full(NUMBER + DEPTH)
    chain = Chain.model_validate(
        {"chainId": CHAIN, "name": "bench", "proxyAddress": PROXY, "confirmationThreshold": DEPTH, "proof": "receipts"}
    )
    transfer = node.payment(NUMBER, RECEIPTS // 2, RECEIPTS // 2 + 1)

    async def prove() -> None:
        node.asked.clear()
        prover = Prover(node, a_pool(), chain)  # type: ignore[arg-type]  # the one method that is used
        said = Verification(transfer, VerificationOutcome.CREDITED, transfer.amount)
        (found,) = await prover.prove([said], node.head)
        assert found.proof is not None, found

    return await best(prove), node.asked


async def scanned(node: Node, log_filter: LogFilter, first: int, last: int) -> tuple[float, int]:
    """Check pages up to a block that are as they should be; return the time and the number of requests."""
    pool = a_pool()

    async def check() -> None:
        node.asked.clear()
        withheld = WithheldCheck(node, chain_id=CHAIN, proxy=PROXY)  # type: ignore[arg-type]
        for end in range(min(last, first + PAGE), last + 1, PAGE):
            moved = [node.payment(NUMBER, i, i + 1) for i in range(RECEIPTS)] if first < NUMBER <= end <= PAGE else []
            shown = moved if log_filter.rail is Rail.DIRECT else []
            page = ScanPage(shown, Cursor(end, node.blocks[end]["hash"]), time=0, rows_read=len(shown))
            after = Cursor(max(first, end - PAGE))
            checked = await withheld.check(pool.preferred, log_filter, LogSource.LOGS, page, after)
            assert checked.unread == (), checked.unread

    return await best(check), len(node.asked)


async def run() -> list[TableRow]:
    payment_ms, asked = await confirmed()
    headers_ms, requests = await scanned(Node({}, length=BLOCKS + 1), LogFilter(Rail.PROXY), 0, BLOCKS)
    block_ms, block_requests = await scanned(full(NUMBER + 1), LogFilter(Rail.DIRECT, [SHOP]), NUMBER - 1, NUMBER)
    receipts = sum("eth_getBlockReceipts" in request for request in asked)
    return [
        TableRow(f"proofs: one payment, among {RECEIPTS} receipts, {DEPTH} blocks deep", f"{payment_ms:.1f} ms",
            f"{receipts} request for receipts, {len(asked) - receipts} for headers", "", "≤ 1 request a block", receipts <= 1),
        TableRow(f"proofs: {BLOCKS:,} blocks read, no filter says perhaps", f"{headers_ms:.0f} ms in {requests} requests", "", "", "", None),
        TableRow(f"proofs: a block whose filter says perhaps, {RECEIPTS} receipts", f"{block_ms:.1f} ms in {block_requests} requests",
            "", "", "", None),
    ]  # fmt: skip
