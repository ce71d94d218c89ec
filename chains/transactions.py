"""One transaction as the endpoints of a chain show it: who knows it, who lags, and who contradicts whom."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field
from typing import NamedTuple

from chains.errors import ChainError, ChainProtocolError, ChainUnavailable, TooManyTransfers
from chains.rpc.endpoint import Endpoint
from chains.rpc.endpoint_pool import EndpointPool, Failures, combined_error
from chains.types import Transaction

MAX_TRANSFERS = 5_000  # of one transaction: whoever sends it chooses how many there are
MAX_REASON_CHARS = 300


class CannotTell(NamedTuple):
    """Why an endpoint has neither shown a transaction that can be believed nor said that there is none."""

    why: str
    is_seen: bool  # it shows something of the transaction


# What one endpoint says; None where it is up to date and knows no such transaction.
Told = Transaction | CannotTell | None


async def read_transaction(
    pool: EndpointPool, method: str, ask: Callable[[Endpoint], Awaitable[Told]], *, quorum: int = 1
) -> Transaction | None:
    """
    Return a transaction as so many endpoints as must agree show it; None when they know none.

    Who is behind, or shows what cannot be read, has not said that there is none.

    Raises:
        TooManyTransfers: it holds more transfers than are told.
        ChainError: it is not known whether there is one.
    """
    heard = _Heard()
    for endpoint in pool.usable():
        try:
            told = await pool.call_one(endpoint, method, ask)
        except TooManyTransfers:
            raise
        except ChainError as exc:
            heard.failed.append((endpoint, exc))
            continue
        heard.take(endpoint, told)
        if len(heard.shown) == quorum:
            return min((each for _, each in heard.shown), key=_certainty)
    if heard.failed and not (heard.shown or heard.absent or heard.doubts):
        raise combined_error(heard.failed)
    is_seen = bool(heard.shown) or any(doubt.is_seen for _, doubt in heard.doubts)
    if is_seen or len(heard.absent) < quorum:
        raise ChainUnavailable(heard.sentence(quorum))
    return None


@dataclass(slots=True)
class _Heard:
    """What the endpoints asked so far say."""

    shown: list[tuple[Endpoint, Transaction]] = field(default_factory=list)
    absent: list[Endpoint] = field(default_factory=list)
    doubts: list[tuple[Endpoint, CannotTell]] = field(default_factory=list)
    failed: Failures = field(default_factory=list)

    def take(self, endpoint: Endpoint, told: Told) -> None:
        if told is None:
            self.absent.append(endpoint)
        elif isinstance(told, CannotTell):
            self.doubts.append((endpoint, told))
        else:
            check_length(len(told.transfers))
            self.shown.append((endpoint, told))
            first, expected = self.shown[0]
            if told.facts != expected.facts:
                raise ChainProtocolError(
                    f"{first.label} and {endpoint.label} contradict each other about the transaction"
                )

    def sentence(self, quorum: int) -> str:
        """Say who could not tell, and why."""
        said = [f"{quorum} endpoints must agree"] if quorum > 1 else []
        said += [f"{endpoint.label}: {doubt.why}" for endpoint, doubt in self.doubts]
        said += [f"{endpoint.label}: {error}" for endpoint, error in self.failed]
        said += [f"{endpoint.label} shows it" for endpoint, _ in self.shown]
        said += [f"{endpoint.label} does not know it" for endpoint in self.absent]
        return "; ".join(said)[:MAX_REASON_CHARS]


def check_length(transfers: int) -> None:
    """Refuse what is too long to be told whole: a list that is cut would hide a transfer."""
    if transfers > MAX_TRANSFERS:
        raise TooManyTransfers(f"the transaction moves tokens {transfers} times, and at most {MAX_TRANSFERS} are told")


def _certainty(told: Transaction) -> tuple[bool, int, int]:
    """Return how much an endpoint vouches for: of several that agree, the least is believed."""
    final = -1 if told.head.finalized is None else told.head.finalized
    return told.is_complete, told.head.position, final
