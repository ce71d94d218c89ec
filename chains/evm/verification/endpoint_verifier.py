"""What one endpoint says of transfers, in batches that tie head, finality, blocks and receipts together."""

from __future__ import annotations

import asyncio
from collections import OrderedDict
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, NamedTuple

from chains.errors import ChainError
from chains.evm.blocks import Block, block_call, parse_block
from chains.evm.fee_proxy import EVENT_TOPIC
from chains.evm.logs.log_decoder import LogDecoder
from chains.evm.rpc.client import RawResult, RpcClient
from chains.evm.verification.decisions import (
    LOG_NOT_SHOWN,
    all_undecided,
    decide_with_receipt,
    decide_without_receipt,
    log_query_of,
    read_block,
    split_by_receipts,
    transactions_of,
    why_unfit,
)
from chains.evm.verification.receipts import UNREADABLE, Receipt, receipt_call, receipt_or_why, transfers_in
from chains.rpc.endpoint import Endpoint
from chains.rpc.http_client import TimedOut, TooLarge
from chains.rpc.jsonrpc_messages import Call
from chains.types import Head, Targets, Transfer, Verification, VerificationOutcome
from config.catalog import Chain, Finality

if TYPE_CHECKING:
    from chains.evm.proofs.prover import Prover

METHOD = "eth_getTransactionReceipt"  # how verification is called in metrics
ITEMS_PER_SLICE = 500  # before other tasks run
MAX_LOG_QUERIES = 10  # a look, about receipts that do not show what the logs did
LARGE_RECEIPT_LOGS = 200  # logs
MAX_BLOCK_NUMBER = 2**63
MAX_CACHED_LOGS = 40_000  # of large receipts, while they are looked at from one head


@dataclass(slots=True)
class EndpointVerification:
    """What one endpoint says of some transfers, by their places; `unfit` says why it can judge none."""

    found: dict[int, Verification] = field(default_factory=dict)
    unusable: str | None = None
    cannot_tell_final: bool = False  # it cannot tell what is final


class _Answers(NamedTuple):
    head: RawResult
    final: RawResult | None
    blocks: Mapping[int, RawResult]
    receipts: Mapping[str, RawResult]


class EndpointVerifier:
    """Asks one endpoint about transfers, and reads each receipt once."""

    def __init__(self, client: RpcClient, chain: Chain, *, prover: Prover | None = None) -> None:
        self._client = client
        self._prover = prover
        self._chain_id = chain.chain_id
        self._proxy = chain.proxy_address.lower()
        self._needs_final = chain.finality is not Finality.DEPTH
        self._head: Head | None = None
        self._large: OrderedDict[tuple[Endpoint, str, str | None], Receipt] = OrderedDict()
        self._most_receipts: dict[Endpoint, int] = {}  # in one batch, where an endpoint could not bear more

    def start(self, head: Head) -> None:
        """Forget what was read for an earlier head."""
        if head != self._head:
            self._large.clear()
        self._head = head

    async def verify(
        self, endpoint: Endpoint, *, transfers: Mapping[int, Transfer], head: Head
    ) -> EndpointVerification:
        """
        Say what this endpoint shows of each transfer.

        It must hold the head itself, and what it calls final decides where finality counts: depth counted on one
        endpoint and a block shown by another confirmed a payment on a fork.

        Raises:
            ChainError: it did not answer, or refuses.
        """
        answer = EndpointVerification()
        parts = [dict(transfers)]
        while parts:
            part, *rest = split_by_receipts(parts.pop(0), self._most_receipts.get(endpoint))
            parts = [*rest, *parts]
            answers = await self._ask(endpoint, part, head)
            if answers is None:
                smaller = split_by_receipts(part, self._most_receipts[endpoint])
                parts = [*smaller, *parts] if len(smaller) > 1 else parts
                answer.found |= {} if len(smaller) > 1 else all_undecided(part, "its receipt is too large to be read")
                continue
            unfit = why_unfit(answers.head, answers.final, head)
            if unfit is not None:
                return EndpointVerification(unusable=unfit.why, cannot_tell_final=unfit.cannot_tell_final)
            answer.found |= await self._judged(endpoint, part, answers, head)
        return answer

    async def holds(self, endpoint: Endpoint, *, transfers: Mapping[int, Transfer], head: Head) -> list[int]:
        """Return the places of transfers whose very block this endpoint, as high as the head, has at its height."""
        numbers = sorted({transfer.block_number for transfer in transfers.values()})
        calls = [block_call(head.position), *map(block_call, numbers)]
        top, *answers = await self._client.batch(endpoint, calls)
        if parse_block(top.get(), head.position) is None:
            return []
        blocks = dict(zip(numbers, answers, strict=True))
        return [
            place
            for place, transfer in transfers.items()
            if isinstance(block := read_block(blocks[transfer.block_number], transfer.block_number), Block)
            and block.hash == transfer.block_hash
        ]

    async def inspect(self, endpoint: Endpoint, *, tx_hash: str, targets: Targets) -> list[Transfer] | str | None:
        """
        Return what one transaction moved that could concern us; None when it is not there, or why it is unreadable.

        Raises:
            ChainError: it did not answer, or refuses.
        """
        (answer,) = await self._client.batch(endpoint, [receipt_call(tx_hash)])
        receipt = await receipt_or_why(answer, tx_hash=tx_hash, proxy=self._proxy)
        if not isinstance(receipt, Receipt):
            return receipt
        if not receipt.succeeded:
            return []
        unread = receipt.unread or next((receipt.unread_of[t] for t in targets.tokens & receipt.unread_of.keys()), None)
        if unread is not None or receipt.block_number is None:
            return "its receipt names no block" if unread is None else f"{UNREADABLE}: {unread}"
        (answer,) = await self._client.batch(endpoint, [block_call(receipt.block_number)])
        block = read_block(answer, receipt.block_number)
        if not isinstance(block, Block):
            return block
        if block.hash != receipt.block_hash:
            return "its receipt is not in the block it names"
        if self._prover is not None:
            receipt = await self._prover.receipt(endpoint, receipt)
        return transfers_in(
            receipt,
            block,
            chain_id=self._chain_id,
            destinations=targets.destinations,
            beneficiaries=targets.beneficiaries,
        )

    # --- one batch -------------------------------------------------------------------------------

    async def _ask(self, endpoint: Endpoint, transfers: Mapping[int, Transfer], head: Head) -> _Answers | None:
        """Ask everything in one batch; None when the answer is more than is read, which the limit has noted."""
        hashes, numbers = transactions_of(transfers), list(dict.fromkeys(t.block_number for t in transfers.values()))
        unread = {t.tx_hash for t in transfers.values() if (endpoint, t.tx_hash, t.block_hash) not in self._large}
        wanted = [tx_hash for tx_hash in hashes if tx_hash in unread]
        calls: list[Call] = [block_call(head.position), *map(block_call, numbers), *map(receipt_call, wanted)]
        calls += [block_call("finalized")] if self._needs_final else []
        try:
            answers = await self._client.batch(endpoint, calls)
        except (TooLarge, TimedOut) as exc:
            # A stranger's large receipts, asked for together, were never read: ask for fewer at once.
            self._most_receipts[endpoint] = max(1, len(hashes) // 2)
            if isinstance(exc, TimedOut):
                raise
            return None
        if endpoint in self._most_receipts:
            self._most_receipts[endpoint] += 1
        final = answers.pop() if self._needs_final else None
        blocks = dict(zip(numbers, answers[1:], strict=False))
        return _Answers(answers[0], final, blocks, dict(zip(wanted, answers[1 + len(numbers) :], strict=True)))

    async def _judged(
        self, endpoint: Endpoint, transfers: Mapping[int, Transfer], answers: _Answers, head: Head
    ) -> dict[int, Verification]:
        blocks = {number: read_block(answer, number) for number, answer in answers.blocks.items()}
        final = None if answers.final is None else read_block(answers.final, None)
        limit = min(final.number, head.position) if isinstance(final, Block) else None
        receipts: dict[str, Receipt | str | None] = {}
        found: dict[int, Verification] = {}
        for place, transfer in transfers.items():
            if len(found) % ITEMS_PER_SLICE == 0:
                await asyncio.sleep(0)
            early = decide_without_receipt(transfer, blocks[transfer.block_number], limit)
            if early is not None:
                found[place] = early
                continue
            if transfer.tx_hash not in receipts:
                receipts[transfer.tx_hash] = await self._receipt(endpoint, transfer, answers)
            found[place] = decide_with_receipt(transfer, receipts[transfer.tx_hash], blocks[transfer.block_number])
        return found | await self._not_shown(
            endpoint, {p: transfers[p] for p, v in found.items() if v.why == LOG_NOT_SHOWN}
        )

    async def _receipt(self, endpoint: Endpoint, transfer: Transfer, answers: _Answers) -> Receipt | str | None:
        """Read a receipt; a large one is remembered, as one transaction may pay very many intents."""
        known = self._large.get((endpoint, transfer.tx_hash, transfer.block_hash))
        if known is not None or transfer.tx_hash not in answers.receipts:
            return known
        answer = answers.receipts[transfer.tx_hash]
        receipt = await receipt_or_why(answer, tx_hash=transfer.tx_hash, proxy=self._proxy)
        if isinstance(receipt, Receipt) and LARGE_RECEIPT_LOGS <= receipt.size <= MAX_CACHED_LOGS:
            self._large[endpoint, receipt.tx_hash, receipt.block_hash] = receipt
            while sum(each.size for each in self._large.values()) > MAX_CACHED_LOGS:
                self._large.popitem(last=False)
        return receipt

    async def _not_shown(self, endpoint: Endpoint, transfers: Mapping[int, Transfer]) -> dict[int, Verification]:
        """
        Ask for the logs of the block itself about what the receipts do not show.

        Neither there nor in the receipt: the token moved nothing. Only there: the endpoint contradicts itself.
        """
        if not transfers:
            return {}
        wanted = {place: log_query_of(transfer, self._proxy) for place, transfer in transfers.items()}
        queries = list(dict.fromkeys(wanted.values()))[:MAX_LOG_QUERIES]
        calls: list[Call] = [
            ("eth_getLogs", ({"blockHash": block, "address": address, "topics": [topic]},))
            for block, address, topic in queries
        ]
        try:
            answers = dict(zip(queries, await self._client.batch(endpoint, calls), strict=True))
        except ChainError:
            return {}  # what it could tell it has told: nothing more is proven
        keys: dict[tuple[str, str, str], set[tuple[str, str]] | None] = {}
        for query, answer in answers.items():
            keys[query] = await self._logged(answer, query)
        return {
            place: Verification(transfer, VerificationOutcome.NO_TRANSFER_LOG, 0)
            for place, transfer in transfers.items()
            if (logged := keys.get(wanted[place])) is not None and (transfer.tx_hash, transfer.event_key) not in logged
        }

    async def _logged(self, answer: RawResult, query: tuple[str, str, str]) -> set[tuple[str, str]] | None:
        """Return the keys of a block's logs; None when they cannot be read."""
        decoder = LogDecoder(chain_id=self._chain_id, proxy=self._proxy, first=0, last=MAX_BLOCK_NUMBER)
        try:
            rows = answer.logs()
            for start in range(0, len(rows), ITEMS_PER_SLICE):
                await asyncio.sleep(0)
                part = rows[start : start + ITEMS_PER_SLICE]
                (decoder.feed if query[2] == EVENT_TOPIC else decoder.feed_credits)(part)
        except ChainError:
            return None  # it cannot tell: the transfer stays as it is, with the reason it has
        return {(transfer.tx_hash, transfer.event_key) for transfer in decoder.transfers}
