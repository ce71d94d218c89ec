"""What came of asking for a payment's proof: facts, without the libraries that proofs need."""

from __future__ import annotations

from dataclasses import dataclass
from typing import NamedTuple, Protocol

from marketplace.catalog import Chain
from marketplace.model import Payment
from marketplace.payments.observation import PaymentObservation
from marketplace.risk.policy import Review
from marketplace.store.inbox import Credit


class ProvenPlace(NamedTuple):
    """Where a transfer is in its chain, by hashes and not by anybody's word."""

    block_hash: str
    transaction_index: int
    log_position: int


@dataclass(frozen=True, slots=True)
class Proven:
    """What pays the price is in blocks of our own node's chain; `unproven` came beside it, as far as is told."""

    places: tuple[ProvenPlace, ...]
    unproven: tuple[Credit, ...] = ()


@dataclass(frozen=True, slots=True)
class NotProven:
    """It is held; `may_change`: asking again later may end otherwise."""

    review: Review
    may_change: bool


class ProofCheck(Protocol):
    """Checks payments by their blocks."""

    async def check(self, payment: Payment, chain: Chain, observed: PaymentObservation) -> Proven | NotProven:
        """Say whether all that was seen of a payment is proven."""
