"""Looks at one endpoint of an EVM chain as an operator would: what it serves of all that the scanner asks for."""

from __future__ import annotations

import time
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from typing import Any

from addresses.evm import canonical
from chains.errors import ChainError, ChainUnavailable
from chains.evm.blocks import Block, block_call, parse_block
from chains.evm.events import TRANSFER_TOPIC
from chains.evm.fee_proxy import EVENT_TOPIC
from chains.evm.rpc.client import OtherChain, RpcClient
from chains.findings import NO_ANSWER, Finding, judge_head, judge_latency, ok, problem, skipped, warning
from chains.rpc.endpoint import Endpoint
from chains.rpc.jsonrpc_messages import Call
from config.catalog import Chain, Finality

BATCH = 20
USUAL_BATCH = 5  # fewer calls in one request make reading a page several times as slow
RANGES = (2_000, 500, 100, 20, 1)
USUAL_RANGE = 100
BLOCKS_LOOKED_AT = 10  # for one with a transaction
NOBODY = "0x" + "0" * 24 + "11" * 20  # as a topic: an address that is paid nothing


class EndpointDiagnosis:
    """Asks one endpoint, one question after the other; nothing is asked of one that serves another chain."""

    def __init__(
        self, chain: Chain, endpoint: Endpoint, client: RpcClient, *, named_in: str, wall: Callable[[], float]
    ) -> None:
        self._chain = chain
        self._endpoint = endpoint
        self._client = client
        self._wall = wall
        self._named_in = named_in

    async def findings(self) -> AsyncIterator[Finding]:
        """Yield what is found, the most important first."""
        try:
            await self._client.check_chain(self._endpoint)
        except ChainError as exc:
            yield self._unusable(exc)
            return
        yield ok("chain id", str(self._chain.chain_id))
        try:
            latency_s, head = await self._newest_block()
        except ChainError as exc:
            yield problem("head", "not read", f"It does not tell its newest block ({exc}): use another endpoint.")
            return
        yield judge_latency(latency_s)
        yield judge_head(f"block {head.number}", head.time, self._wall())
        looks: Sequence[tuple[str, Callable[[Block], Awaitable[Finding]]]] = (
            ("finalized", self._finalized),
            ("logs of the proxy", self._logs_with_address),
            ("logs of any token", self._logs_without_address),
            ("blocks a query", self._range),
            ("calls a batch", self._batch),
            ("receipts", self._receipts),
        )
        for what, look in looks:
            try:
                yield await look(head)
            except ChainError as exc:
                yield problem(what, NO_ANSWER, f"It did not answer ({exc}): look again, or use another endpoint.")

    def _unusable(self, error: ChainError) -> Finding:
        if isinstance(error, OtherChain):
            advice = f"{_sentence(error)}: put an endpoint of {self._chain.name} into {self._named_in}."
            return problem("chain id", "another chain", advice)
        kind = NO_ANSWER if isinstance(error, ChainUnavailable) else "refused"
        advice = f"It cannot be used ({error}): correct it in {self._named_in}, or take it out."
        return problem("chain id", kind, advice)

    async def _newest_block(self) -> tuple[float, Block]:
        began = time.perf_counter()
        block = parse_block(await self._ask(block_call("latest")))
        if block is None:
            raise ChainUnavailable("it has no latest block")
        return time.perf_counter() - began, block

    async def _finalized(self, head: Block) -> Finding:
        try:
            block = parse_block(await self._ask(block_call("finalized")))
        except ChainError:
            block = None
        if block is not None:
            return ok("finalized", f"block {block.number}, {head.number - block.number} behind")
        if self._chain.finality is Finality.DEPTH:
            return ok("finalized", "not served, and not needed")
        advice = (
            f"It does not know the finalized block, which this chain's payments wait for (finality"
            f" {self._chain.finality}): use another endpoint."
        )
        return problem("finalized", "not served", advice)

    async def _logs_with_address(self, head: Block) -> Finding:
        refusal = await self._refusal(
            head, blocks=1, address=canonical(self._chain.proxy_address), topics=[EVENT_TOPIC]
        )
        if refusal is None:
            return ok("logs of the proxy", "served")
        advice = (
            f"It refuses eth_getLogs even for one block ({refusal}): every block's receipts would have to be read."
            " Use an endpoint that serves logs."
        )
        return problem("logs of the proxy", "refused", advice)

    async def _logs_without_address(self, head: Block) -> Finding:
        refusal = await self._refusal(head, blocks=1, address=None, topics=[TRANSFER_TOPIC, None, NOBODY])
        if refusal is None:
            return ok("logs of any token", "served")
        advice = (
            f"It refuses eth_getLogs without an address ({refusal}): direct payments in tokens outside the registry are"
            " not seen. Use an endpoint that serves them where that matters."
        )
        return warning("logs of any token", "refused", advice)

    async def _range(self, head: Block) -> Finding:
        address, all_there_are = canonical(self._chain.proxy_address), head.number + 1
        for blocks in dict.fromkeys(min(size, all_there_are) for size in RANGES):
            if await self._refusal(head, blocks=blocks, address=address, topics=[EVENT_TOPIC]) is None:
                break
        else:
            return skipped("blocks a query", "no logs served")
        if blocks >= min(USUAL_RANGE, all_there_are):
            return ok("blocks a query", f"{blocks} or more")
        advice = (
            f"It serves the logs of only {blocks} block{'' if blocks == 1 else 's'} at once: after a pause it is"
            " long behind. Use an endpoint with a larger range beside it."
        )
        return warning("blocks a query", str(blocks), advice)

    async def _batch(self, head: Block) -> Finding:
        calls = [block_call(max(0, head.number - back)) for back in range(BATCH)]
        for answer in await self._client.batch(self._endpoint, calls):
            answer.get()
        learnt = self._endpoint.limits.report().batch
        if learnt is None or learnt >= USUAL_BATCH:
            return ok("calls a batch", f"{BATCH} or more" if learnt is None else str(learnt))
        advice = (
            f"It takes {learnt} of {BATCH} calls in one request: pages are read several times as slowly."
            " Use an endpoint that takes larger batches beside it."
        )
        return warning("calls a batch", str(learnt), advice)

    async def _receipts(self, head: Block) -> Finding:
        for number in range(head.number, max(-1, head.number - BLOCKS_LOOKED_AT), -1):
            block = await self._ask(block_call(number))
            hashes = block.get("transactions") if isinstance(block, dict) else None
            if isinstance(hashes, list) and hashes and isinstance(hashes[0], str):
                return await self._receipt(number, hashes[0])
        return skipped("receipts", f"no transaction in the newest {BLOCKS_LOOKED_AT} blocks")

    async def _receipt(self, number: int, tx_hash: str) -> Finding:
        receipt = await self._ask(("eth_getTransactionReceipt", [tx_hash]))
        if isinstance(receipt, dict):
            return ok("receipts", f"served for block {number}")
        advice = (
            f"It has no receipt of a transaction in its own block {number}: no payment can be confirmed from it."
            " Use another endpoint."
        )
        return problem("receipts", "missing", advice)

    async def _refusal(self, head: Block, *, blocks: int, address: str | None, topics: list[Any]) -> str | None:
        """Return why the logs of the newest blocks are refused; None when they are served."""
        asked: dict[str, Any] = {
            "fromBlock": hex(head.number - blocks + 1),
            "toBlock": hex(head.number),
            "topics": topics,
        }
        try:
            answer = await self._ask(("eth_getLogs", [asked if address is None else {**asked, "address": address}]))
        except ChainError as exc:
            return str(exc)
        return None if isinstance(answer, list) else "the answer is no list"

    async def _ask(self, call: Call) -> Any:
        (answer,) = await self._client.batch(self._endpoint, [call])
        return answer.get()


def _sentence(error: ChainError) -> str:
    """Return what is said of the endpoint, whose name stands beside it."""
    return f"It {str(error).partition(' ')[2]}"
