"""Verification by as many endpoints as must agree: each transfer is decided by itself."""

from __future__ import annotations

import logging
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from functools import partial
from typing import TYPE_CHECKING

from chains.errors import ChainError, ChainUnavailable
from chains.evm.rpc.client import RpcClient
from chains.evm.verification.endpoint_verifier import METHOD, EndpointVerification, EndpointVerifier
from chains.rpc.endpoint import Endpoint
from chains.rpc.endpoint_pool import EndpointPool, Failures, combined_error
from chains.types import Head, Targets, Transfer, Verification, VerificationOutcome
from config.catalog import Chain

if TYPE_CHECKING:
    from chains.evm.proofs.prover import Prover

log = logging.getLogger(__name__)

MAX_CALLS = 48  # blocks and receipts in one batch, besides the head and the finalized block
MAX_REASON_CHARS = 300  # characters

Place = int  # of a transfer among those asked about
Votes = list[tuple[Endpoint, Verification]]


@dataclass(slots=True)
class _VerificationRound:
    """What the endpoints asked so far say of one group of transfers."""

    group: dict[Place, Transfer]
    quorum: int
    waiting: dict[Place, Transfer] = field(init=False)
    votes: dict[Place, Votes] = field(init=False)
    reasons: dict[Place, list[str]] = field(init=False)  # why an endpoint could not judge a transfer
    unusable: dict[str, EndpointVerification] = field(default_factory=dict)  # endpoints that cannot judge any, by label
    failed: Failures = field(default_factory=list)
    usable_endpoints: int = 0

    def __post_init__(self) -> None:
        self.waiting = dict(self.group)
        self.votes = {place: [] for place in self.group}
        self.reasons = {place: [] for place in self.group}

    def take(self, endpoint: Endpoint, answer: EndpointVerification) -> None:
        """Count one endpoint's answer; transfers it decides are not asked about again."""
        if answer.unusable is not None:
            self.unusable[endpoint.label] = answer
            return
        self.usable_endpoints += 1
        for place, verification in answer.found.items():
            if verification.outcome is VerificationOutcome.NOT_YET:
                self.reasons[place] += [] if verification.why is None else [f"{endpoint.label}: {verification.why}"]
                continue
            votes = self.votes[place]
            votes.append((endpoint, verification))
            if len(votes) == self.quorum or votes[0][1] != verification:
                del self.waiting[place]

    def decided(self) -> dict[Place, Verification]:
        """Return what so many endpoints as must agree say alike; `NOT_YET` and why of the rest."""
        return {place: self._decide(place, transfer) for place, transfer in self.group.items()}

    def _decide(self, place: Place, transfer: Transfer) -> Verification:
        votes, reasons = self.votes[place], self.reasons[place]
        others = [f"{label}: {answer.unusable}" for label, answer in self.unusable.items()]
        others += [f"{endpoint.label}: {error}" for endpoint, error in self.failed]
        if votes and votes[0][1] != votes[-1][1]:
            return not_yet(transfer, f"{votes[0][0].label} and {votes[-1][0].label} contradict each other")
        if len(votes) == self.quorum:
            return votes[0][1]
        if self.quorum > 1:
            lacking = f"only {len(votes)} of the {self.quorum} endpoints that must agree could judge it"
            return not_yet(transfer, "; ".join([lacking, *reasons, *others]))
        return not_yet(transfer, "; ".join(reasons + (others if reasons or not self.usable_endpoints else [])) or None)


class Verifier:
    """Verifies transfers, each by itself: one that cannot be judged affects neither its neighbours nor the endpoint."""

    def __init__(self, client: RpcClient, pool: EndpointPool, chain: Chain, *, prover: Prover | None = None) -> None:
        self._pool = pool
        self._quorum = chain.rpc_quorum
        self._endpoint_verifier = EndpointVerifier(client, chain, prover=prover)
        self._prover = prover
        self._no_final: str | None = None
        self._disproved: str | None = None

    @property
    def problems(self) -> list[str]:
        """Why what is deep is not confirmed, and who said what is not so, for an operator."""
        unproven = None if self._prover is None else self._prover.problem
        return [problem for problem in (self._no_final, unproven, self._disproved) if problem is not None]

    async def verify(self, transfers: Sequence[Transfer], head: Head) -> list[Verification]:
        """
        Verify transfers on the chain that ends in `head`; answers in the order asked.

        Raises:
            ChainError: no endpoint answered at all.
        """
        self._endpoint_verifier.start(head)
        self._disproved = None
        if self._prover is not None:
            self._prover.start()
        found: dict[Place, Verification] = {}
        # By transaction: each receipt is read once, whatever the number of transfers in it and whom they pay.
        in_order = sorted(enumerate(transfers), key=lambda each: (each[1].block_number, each[1].tx_hash))
        for group in _groups(in_order):
            found |= await self._group(group, head)
        return [found[place] for place in range(len(transfers))]

    async def inspect(self, tx_hash: str, targets: Targets) -> list[Transfer]:
        """
        Return one transaction's proxy events and transfers into ours; empty when no endpoint holds it, or it failed.

        Raises:
            ChainError: no endpoint could tell.
        """
        reasons: list[str] = []
        failed: Failures = []
        absent = False
        for endpoint in self._pool.usable():
            try:
                found_here = await self._pool.call_one(
                    endpoint, METHOD, partial(self._endpoint_verifier.inspect, tx_hash=tx_hash, targets=targets)
                )
            except ChainError as exc:
                failed.append((endpoint, exc))
                continue
            if isinstance(found_here, list):
                return found_here
            absent = absent or found_here is None
            reasons += [] if found_here is None else [f"{endpoint.label}: {found_here}"]
        if reasons:
            raise ChainUnavailable("; ".join(reasons)[:MAX_REASON_CHARS])
        if absent:
            return []
        raise combined_error(failed)

    async def _group(self, group: dict[Place, Transfer], head: Head) -> dict[Place, Verification]:
        """Ask one endpoint after the other until so many as must agree have judged each transfer."""
        asked = _VerificationRound(group, self._quorum)
        for endpoint in self._pool.usable():
            ask = partial(self._endpoint_verifier.verify, transfers=dict(asked.waiting), head=head)
            try:
                asked.take(endpoint, await self._pool.call_one(endpoint, METHOD, ask))
            except ChainError as exc:
                asked.failed.append((endpoint, exc))
            if not asked.waiting:
                break
        self._note(asked)
        if asked.failed and not asked.usable_endpoints and not asked.unusable:
            raise combined_error(asked.failed)
        found = await self._contradicted(asked, head)
        return found if self._prover is None else await self._proven(self._prover, found, asked, head)

    async def _proven(
        self, prover: Prover, found: dict[Place, Verification], asked: _VerificationRound, head: Head
    ) -> dict[Place, Verification]:
        """Return what the blocks themselves show; who said otherwise is named."""
        said = list(found.values())
        proven = dict(zip(found, await prover.prove(said, head), strict=True))
        for place, verification in proven.items():
            if verification.outcome in {VerificationOutcome.NOT_YET, found[place].outcome}:
                continue
            liars = ", ".join(endpoint.label for endpoint, _ in asked.votes[place])
            tx_hash = verification.transfer.tx_hash
            self._disproved = f"{liars}: what it says of transaction {tx_hash} is disproved by the block's own receipts"
            log.warning("[chain] %s", self._disproved)
        return proven

    def _note(self, asked: _VerificationRound) -> None:
        """Remember whether any endpoint could tell what is final."""
        cannot_tell_final = [label for label, answer in asked.unusable.items() if answer.cannot_tell_final]
        if asked.usable_endpoints:
            self._no_final = None
        elif cannot_tell_final:
            self._no_final = (
                f"no endpoint can tell which block is finalized: nothing is confirmed ({', '.join(cannot_tell_final)})"
            )

    async def _contradicted(self, asked: _VerificationRound, head: Head) -> dict[Place, Verification]:
        """
        Return the verifications; a transfer whose block another endpoint still holds is not gone.

        Only another block of the chain itself takes a payment back, not the fork of the endpoint asked first.
        """
        found = asked.decided()
        gone = {
            place: asked.group[place]
            for place, verification in found.items()
            if verification.outcome is VerificationOutcome.GONE
        }
        if not gone:
            return found
        judges = {endpoint for votes in asked.votes.values() for endpoint, _ in votes}
        for endpoint in [each for each in self._pool.usable() if each not in judges]:
            try:
                held = await self._pool.call_one(
                    endpoint, METHOD, partial(self._endpoint_verifier.holds, transfers=gone, head=head)
                )
            except ChainError:
                continue  # who does not answer contradicts nobody
            for place in held:
                first = asked.votes[place][0][0].label
                number = gone[place].block_number
                found[place] = not_yet(gone[place], f"{first} and {endpoint.label} hold different blocks {number}")
        return found


def not_yet(transfer: Transfer, why: str | None) -> Verification:
    """Return a verification that changes nothing: the transfer is verified again later."""
    return Verification(transfer, VerificationOutcome.NOT_YET, 0, why=why and why[:MAX_REASON_CHARS])


def _groups(transfers: Iterable[tuple[Place, Transfer]]) -> Iterator[dict[Place, Transfer]]:
    """Cut transfers, sorted by transaction, so that the receipts and blocks of one group fit into one batch."""
    group: dict[Place, Transfer] = {}
    calls: set[str | int] = set()
    for place, transfer in transfers:
        more: set[str | int] = {transfer.tx_hash, transfer.block_number}
        if len(calls | more) > MAX_CALLS:
            yield group
            group, calls = {}, set()
        group[place] = transfer
        calls |= more
    if group:
        yield group
