"""A second node of Tron: what it does not say as well is not believed of the first."""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial
from typing import NamedTuple

from chains.errors import ChainError
from chains.rpc.concurrency import gather_individually
from chains.rpc.endpoint import Endpoint
from chains.rpc.endpoint_pool import EndpointPool
from chains.tron.decode import Receipt
from chains.tron.receipt_verification import transfers_by_key, verify_transfer
from chains.tron.rpc.client import TronClient
from chains.types import EndpointReport, Verification, VerificationOutcome

METHOD = "gettransactioninfobyid"
NOT_YET = VerificationOutcome.NOT_YET
MAX_REASON_CHARS = 300


class _Told(NamedTuple):
    """The receipts of some transactions, and who showed them."""

    label: str
    receipts: dict[str, Receipt | ChainError | None]


class SecondSource:
    """Nodes of another operator than the first one's, of which only irreversible receipts are asked."""

    def __init__(self, pool: EndpointPool, client: TronClient) -> None:
        for endpoint in pool.endpoints:
            endpoint.label += " second"  # the first source may be another path of the same host
        self._pool = pool
        self._client = client
        self.problem: str | None = None  # of the last comparison, for an operator

    def reports(self) -> tuple[EndpointReport, ...]:
        """Return what is known of its endpoints."""
        return tuple(map(self._pool.report, self._pool.endpoints))

    async def compare(self, said: Sequence[Verification], first: str) -> list[Verification]:
        """
        Return what both sources say, in the order given; `first` names the one that said it.

        What they do not say alike is `NOT_YET`: nothing is confirmed by it, and nothing turned down.
        """
        self.problem = None
        hashes = list(dict.fromkeys(each.transfer.tx_hash for each in said if each.outcome is not NOT_YET))
        if not hashes:
            return list(said)
        try:
            told = await self._pool.call(METHOD, partial(self._ask, hashes=hashes))
        except ChainError as exc:
            return [self._undecided(each, f"the second source cannot be asked: {exc}") for each in said]
        credited = {tx_hash: transfers_by_key(receipt) for tx_hash, receipt in told.receipts.items()}
        found = []
        for each in said:
            if each.outcome is NOT_YET:
                found.append(each)
                continue
            tx_hash = each.transfer.tx_hash
            again = verify_transfer(each.transfer, told.receipts[tx_hash], credited[tx_hash])
            found.append(self._agreed(each, again, first, told.label))
        return found

    async def _ask(self, endpoint: Endpoint, *, hashes: Sequence[str]) -> _Told:
        ask, alive = partial(self._client.receipt, endpoint), partial(self._client.newest, endpoint)
        return _Told(
            endpoint.label, dict(zip(hashes, await gather_individually(hashes, ask, alive=alive), strict=True))
        )

    def _agreed(self, one: Verification, other: Verification, first: str, second: str) -> Verification:
        if other.outcome is NOT_YET:
            return self._undecided(one, f"{second}: {other.why}")
        if (one.outcome, one.credited, one.transfer) == (other.outcome, other.credited, other.transfer):
            return one
        why = f"{first} says {_shown(one)} and {second} says {_shown(other)}"
        return self._undecided(one, f"{why} of {one.transfer.tx_hash}")

    def _undecided(self, one: Verification, why: str) -> Verification:
        if one.outcome is NOT_YET:
            return one
        self.problem = self.problem or why[:MAX_REASON_CHARS]
        return Verification(one.transfer, NOT_YET, 0, why=why[:MAX_REASON_CHARS])


def _shown(seen: Verification) -> str:
    return f"{seen.outcome} ({seen.credited} from {seen.transfer.sender})"
