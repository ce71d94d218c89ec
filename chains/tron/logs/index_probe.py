"""A transfer that is known to be there, which every request for logs asks for: without it nothing is believed."""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple

from chains.errors import ChainUnavailable
from chains.rpc.endpoint import Endpoint, Unserved
from chains.rpc.jsonrpc_messages import RpcResult
from chains.tron.address import topic
from chains.tron.decode import parse_log_hint
from chains.tron.logs.queries import query, rows_of
from chains.tron.receipts import ReceiptReader
from chains.tron.rpc.client import TronClient

PROBE_BLOCKS = 3  # looked through for a transfer to ask for
PROBE_S = 3_600.0  # then another transfer is asked for


class IndexUnavailable(ChainUnavailable):
    """JSON-RPC of this endpoint cannot be used now: look another way."""


class IndexProbe(NamedTuple):
    """A transfer known from a receipt, which the same request asks for by the same kind of filter."""

    block: int
    topic: str
    tx_hash: str
    taken_at: float


class ProbeMissed(IndexUnavailable):
    """The node does not find a transfer that is there."""

    def __init__(self, probe: IndexProbe) -> None:
        super().__init__(f"it does not find a transfer of block {probe.block} that is there")
        self.probe = probe


class _Known(NamedTuple):
    """A transfer that is known to be in a block."""

    topic: str
    tx_hash: str


class ProbeFinder:
    """Finds transfers to ask for near the blocks that are read."""

    def __init__(self, client: TronClient, *, receipts: ReceiptReader, clock: Callable[[], float]) -> None:
        self._client = client
        self._receipts = receipts
        self._clock = clock

    async def find(self, endpoint: Endpoint, kept: IndexProbe | None, first: int, last: int) -> IndexProbe | None:
        """
        Return a transfer to ask for, the `kept` one or another, at or below the blocks to read.

        An index may begin somewhere above. None when there is no transfer near them: a quiet chain once kept
        everything from being read or expired.
        """
        now = self._clock()
        if kept is not None and kept.block < first + PROBE_BLOCKS and now - kept.taken_at < PROBE_S:
            return kept
        missing = False
        for number in range(first, min(last, first + PROBE_BLOCKS - 1) + 1):
            try:
                known = await self._known_transfer(endpoint, number)
            except IndexUnavailable:
                missing = True
                continue
            if known is not None:
                return IndexProbe(number, known.topic, known.tx_hash, now)
        if missing:
            raise IndexUnavailable("no transfer near the blocks to read that could prove the node's index")
        return None

    async def _known_transfer(self, endpoint: Endpoint, number: int) -> _Known | None:
        """
        Return a transfer of one block, from its receipts or, where those are not served, its unfiltered logs.

        Raises:
            IndexUnavailable: the receipts are not there yet.
        """
        try:
            receipts = await self._receipts.block(endpoint, number)
        except Unserved:
            (answer,) = await self._client.rpc(endpoint, [query(None, number, number)])
            for row in rows_of(answer):
                to = [plain for text in row.get("topics", ())[2:3] if (plain := str(text).removeprefix("0x").lower())]
                if (hint := parse_log_hint(row, set(to))) is not None and hint.block == number:
                    return _Known(to[0], hint.tx_hash)
            return None
        if receipts is None:
            raise IndexUnavailable(f"the node has not got the receipts of block {number} yet")
        paid = next((receipt for receipt in receipts if receipt.succeeded), None)
        return None if paid is None else _Known(topic(paid.transfers[0].destination), paid.tx_hash)

    async def has_dropped(self, endpoint: Endpoint, probe: IndexProbe) -> bool:
        """Say whether the node no longer holds the transfer: then it proves nothing of its index."""
        return await self._client.receipt(endpoint, probe.tx_hash) is None


def check_probe(probe: IndexProbe, probed: RpcResult) -> None:
    """Raise `ProbeMissed` unless an answer shows the transfer it was asked for."""
    rows = probed.get()
    hints = [parse_log_hint(row, {probe.topic}) for row in rows] if isinstance(rows, list) else []
    if (probe.tx_hash, probe.block) not in {(hint.tx_hash, hint.block) for hint in hints if hint is not None}:
        raise ProbeMissed(probe)
