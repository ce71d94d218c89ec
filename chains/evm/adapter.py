"""What an EVM chain can tell us (chains.base.ChainAdapter), over any number of endpoints."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import asynccontextmanager
from typing import Any

import aiohttp

from chains.base import Telemetry
from chains.endpoints import Endpoint, EndpointPool
from chains.errors import ChainMisconfigured, ChainProtocolError, ChainUnavailable, InvalidTxHash
from chains.evm import address, proxy
from chains.evm.client import AnswerTooLarge, Call, EndpointTimeout, JsonRpc, expect
from chains.evm.decode import Paid, block_hash, number, paid_in, proxy_transfers
from chains.evm.faults import Fault, FaultKind, diagnose
from chains.evm.ranges import RangeMemory
from chains.types import (
    Checkout,
    Cursor,
    Fork,
    Head,
    Outcome,
    Rail,
    ScanPage,
    Targets,
    TokenMeta,
    Transfer,
    Verification,
)
from config.catalog import Chain, Finality

FIRST_RUN_BLOCKS = 10
BATCH = 50  # calls in one request
SLICE = 1_000  # rows decoded before the event loop gets its turn


class EvmAdapter:
    """One EVM chain."""

    rails = (Rail.PROXY,)

    def __init__(self, chain: Chain, session: aiohttp.ClientSession, *, timeout_s: float, telemetry: Telemetry) -> None:
        self._chain = chain
        self._proxy = chain.proxy_address.lower()
        self._pool = EndpointPool(chain.rpc_urls, telemetry=telemetry)
        self._rpc = {
            endpoint.label: JsonRpc(session, endpoint, telemetry, timeout_s=timeout_s)
            for endpoint in self._pool.endpoints
        }
        self._ranges = {endpoint.label: RangeMemory(chain.max_log_range) for endpoint in self._pool.endpoints}
        self._tokens: dict[str, TokenMeta] = {}

    # --- pure ------------------------------------------------------------------------------------

    def parse_address(self, text: str) -> str:
        return address.parse(text)

    def show_address(self, canonical: str) -> str:
        return address.show(canonical)

    def checkout(
        self,
        rail: Rail,
        *,
        token: str,
        destination: str,
        amount: int,
        reference: str,
        fee_amount: int,
        fee_address: str,
    ) -> Checkout:
        data = proxy.calldata(
            token=token,
            destination=destination,
            amount=amount,
            reference=reference,
            fee_amount=fee_amount,
            fee_address=fee_address,
        )
        return Checkout(payment_uri=None, calldata=data)

    @property
    def endpoint(self) -> str:
        return self._pool.preferred.label

    def first_cursor(self, head: Head) -> Cursor:
        return Cursor(max(0, head.position - FIRST_RUN_BLOCKS))

    # --- the node --------------------------------------------------------------------------------

    async def _identified(self, endpoint: Endpoint) -> JsonRpc:
        """Return an endpoint's RPC once it was seen to serve this very chain."""
        rpc = self._rpc[endpoint.label]
        if not endpoint.checked:
            (answer,) = await rpc.batch([("eth_chainId", [])])
            served = number(expect(answer))
            if served != self._chain.chain_id:
                raise ChainMisconfigured(f"serves chain {served}, not {self._chain.chain_id}")
            endpoint.checked = True
        return rpc

    async def head(self) -> Head:
        return await self._pool.run("x", self._head)

    async def _head(self, endpoint: Endpoint) -> Head:
        rpc = await self._identified(endpoint)
        calls: list[Call] = [("eth_getBlockByNumber", ["latest", False])]
        if self._chain.finality is not Finality.DEPTH:
            calls.append(("eth_getBlockByNumber", ["finalized", False]))
        answers = await rpc.batch(calls)
        latest = _block(expect(answers[0]))
        finalized = None
        if len(answers) > 1:
            block = expect(answers[1])
            finalized = None if block is None else number(block["number"])
        return Head(number(latest["number"]), block_hash(latest["hash"]), number(latest["timestamp"]), finalized)

    async def scan(self, targets: Targets, after: Cursor, head: Head, *, reread: int = 0) -> ScanPage | Fork:
        return await self._pool.run("x", lambda endpoint: self._scan(endpoint, after, head, reread))

    async def _scan(self, endpoint: Endpoint, after: Cursor, head: Head, reread: int) -> ScanPage | Fork:
        rpc = await self._identified(endpoint)
        if head.position <= after.position:
            return await self._unmoved(rpc, after)
        ranges = self._ranges[endpoint.label]
        while True:
            span = ranges.span
            last = min(head.position, after.position + span)
            first = max(0, last - span + 1, after.position + 1 - reread)
            started = time.monotonic()
            try:
                answers = await rpc.batch(self._page_calls(after, first, last))
            except (AnswerTooLarge, EndpointTimeout):
                if not ranges.refused(None):
                    raise
                continue
            if self._anchor_moved(after, answers):
                return Fork(after)
            rows = answers[1]
            if isinstance(rows, Fault) and diagnose(rows).kind is FaultKind.RANGE:
                if not ranges.refused(diagnose(rows).span):
                    # Not even one block: this endpoint serves no logs, whatever else it serves.
                    raise ChainMisconfigured(f"serves no logs: {rows.message}")
                continue
            block = _block(expect(answers[2]))
            rows = expect(rows)
            if not isinstance(rows, list):
                raise ChainProtocolError("eth_getLogs did not answer with a list")
            ranges.served(asked=last - first + 1, rows=len(rows), seconds=time.monotonic() - started)
            return await self._page(rows, first, last, block)

    async def _unmoved(self, rpc: JsonRpc, after: Cursor) -> ScanPage | Fork:
        """Nothing new: only ask whether what we read is still what the chain holds."""
        answers = await rpc.batch([("eth_getBlockByNumber", [hex(after.position), False])])
        if self._anchor_moved(after, answers):
            return Fork(after)
        return ScanPage([], after, number(_block(expect(answers[0]))["timestamp"]), 0)

    def _page_calls(self, after: Cursor, first: int, last: int) -> list[Call]:
        """
        One batch to one endpoint: is the block below still there, the logs, is the block above there.

        An endpoint that has not seen the last block would answer the logs it has without a word.
        """
        query = {
            "address": self._proxy,
            "topics": [proxy.EVENT_TOPIC],
            "fromBlock": hex(first),
            "toBlock": hex(last),
        }
        return [
            ("eth_getBlockByNumber", [hex(after.position), False]),
            ("eth_getLogs", [query]),
            ("eth_getBlockByNumber", [hex(last), False]),
        ]

    @staticmethod
    def _anchor_moved(after: Cursor, answers: Sequence[Any]) -> bool:
        if after.anchor is None:
            return False
        return block_hash(_block(expect(answers[0]))["hash"]) != after.anchor

    async def _page(self, rows: list[Any], first: int, last: int, block: Mapping[str, Any]) -> ScanPage:
        if number(block["number"]) != last:
            raise ChainProtocolError("the node answered another block than the one asked for")
        last_hash = block_hash(block["hash"])
        found: list[Transfer] = []
        for start in range(0, len(rows), SLICE):
            found += proxy_transfers(
                rows[start : start + SLICE],
                chain_id=self._chain.chain_id,
                proxy=self._proxy,
                first=first,
                last=last,
                last_hash=last_hash,
            )
            await asyncio.sleep(0)
        return ScanPage(found, Cursor(last, last_hash), number(block["timestamp"]), len(rows))

    async def latest_canonical(self, anchors: Sequence[Cursor]) -> Cursor | None:
        return await self._pool.run("x", lambda endpoint: self._latest_canonical(endpoint, anchors))

    async def _latest_canonical(self, endpoint: Endpoint, anchors: Sequence[Cursor]) -> Cursor | None:
        rpc = await self._identified(endpoint)
        unseen = False
        contradicted = False
        for start in range(0, len(anchors), BATCH):
            chunk = anchors[start : start + BATCH]
            answers = await rpc.batch([("eth_getBlockByNumber", [hex(anchor.position), False]) for anchor in chunk])
            for anchor, answer in zip(chunk, answers, strict=True):
                block = expect(answer)
                if block is None:
                    unseen = True  # no contradiction: this node has not got that far
                elif block_hash(block["hash"]) != anchor.anchor:
                    contradicted = True
                elif unseen and not contradicted:
                    raise ChainUnavailable("the node is behind the blocks we have read")
                else:
                    return anchor
        if unseen and not contradicted:
            raise ChainUnavailable("the node has none of the blocks we have read")
        return None

    async def verify(self, transfers: Sequence[Transfer]) -> list[Verification]:
        found: list[Verification] = []
        for start in range(0, len(transfers), BATCH // 2):
            part = transfers[start : start + BATCH // 2]
            found += await self._pool.run("x", lambda endpoint, part=part: self._verify(endpoint, part))  # type: ignore[misc]
        return found

    async def _verify(self, endpoint: Endpoint, transfers: Sequence[Transfer]) -> list[Verification]:
        rpc = await self._identified(endpoint)
        heights = list(dict.fromkeys(t.block_number for t in transfers))
        hashes = list(dict.fromkeys(t.tx_hash for t in transfers))
        answers = await rpc.batch(
            [("eth_getBlockByNumber", [hex(height), False]) for height in heights]
            + [("eth_getTransactionReceipt", [tx]) for tx in hashes]
        )
        blocks = dict(zip(heights, (_block(expect(a)) for a in answers[: len(heights)]), strict=True))
        receipts = dict(zip(hashes, (expect(a) for a in answers[len(heights) :]), strict=True))
        return [self._look(t, blocks[t.block_number], receipts[t.tx_hash]) for t in transfers]

    def _look(self, transfer: Transfer, block: Mapping[str, Any], receipt: Any) -> Verification:
        """Judge one transfer by its block and its receipt, both from one endpoint."""
        if block_hash(block["hash"]) != transfer.block_hash:
            return Verification(transfer, Outcome.GONE, 0)
        if receipt is None or receipt.get("blockHash") != transfer.block_hash:
            raise ChainProtocolError("the receipt contradicts the block")
        when = number(block["timestamp"])
        if receipt.get("status") != "0x1":
            return Verification(transfer._replace(block_time=when), Outcome.REVERTED, 0)
        for paid in self._paid(receipt, when):
            if paid.transfer.event_key == transfer.event_key:
                same = paid.transfer._replace(sender=None) == transfer._replace(sender=None, block_time=when)
                if not same:
                    raise ChainProtocolError("the receipt contradicts the log")
                return Verification(paid.transfer, paid.outcome, paid.credited)
        return Verification(transfer, Outcome.GONE, 0)

    def _paid(self, receipt: Mapping[str, Any], block_time: int | None) -> list[Paid]:
        return paid_in(receipt, chain_id=self._chain.chain_id, proxy=self._proxy, block_time=block_time)

    async def inspect(self, tx_hash: str) -> list[Transfer]:
        canonical = tx_hash.lower()
        try:
            block_hash(canonical)
        except ChainProtocolError as exc:
            raise InvalidTxHash("must be 0x + 64 hex digits") from exc
        return await self._pool.run("x", lambda endpoint: self._inspect(endpoint, canonical))

    async def _inspect(self, endpoint: Endpoint, tx_hash: str) -> list[Transfer]:
        rpc = await self._identified(endpoint)
        (answer,) = await rpc.batch([("eth_getTransactionReceipt", [tx_hash])])
        receipt = expect(answer)
        if receipt is None or receipt.get("blockHash") is None or receipt.get("status") != "0x1":
            return []
        return [paid.transfer._replace(sender=None) for paid in self._paid(receipt, None)]

    async def token(self, address: str) -> TokenMeta | None:
        known = self._tokens.get(address)
        if known is None:
            known = await self._pool.run("x", lambda endpoint: self._token(endpoint, address))
            if known is not None:
                self._tokens[address] = known
        return known

    async def _token(self, endpoint: Endpoint, address: str) -> TokenMeta | None:
        return await (await self._identified(endpoint)).decode_token(address)

    async def self_test(self) -> list[str]:
        return await self._pool.run("x", self._self_test)

    async def _self_test(self, endpoint: Endpoint) -> list[str]:
        rpc = await self._identified(endpoint)
        (answer,) = await rpc.batch([("eth_getCode", [self._proxy, "latest"])])
        if expect(answer) in ("0x", None):
            return [f"proxyAddress {self._chain.proxy_address}: no contract is deployed there"]
        return []


def _block(answer: Any) -> Mapping[str, Any]:
    """Return a block that must be there: a node without it is behind."""
    if answer is None:
        raise ChainUnavailable("the node has not seen that block yet")
    if not isinstance(answer, dict):
        raise ChainProtocolError("a block is not an object")
    return answer


@asynccontextmanager
async def open_adapter(chain: Chain, *, timeout_s: float, telemetry: Telemetry) -> AsyncIterator[EvmAdapter]:
    """Open the adapter; endpoints are first spoken to when they are first needed."""
    session = aiohttp.ClientSession(trust_env=False, cookie_jar=aiohttp.DummyCookieJar())
    try:
        yield EvmAdapter(chain, session, timeout_s=timeout_s, telemetry=telemetry)
    finally:
        await session.close()
