"""What size and form of `eth_getLogs` query one endpoint accepts, and what a refusal teaches of that."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Collection
from dataclasses import dataclass, field

from chains.errors import ChainError
from chains.evm.logs.block_range import BlockRangeLimiter
from chains.evm.logs.queries import LogQuery, QuerySizes
from chains.evm.rpc.client import RpcRefused
from chains.rpc.endpoint import Endpoint, Unserved
from chains.rpc.http_client import CutOff, Garbled, Overasked, Overpriced, TooLarge
from chains.rpc.jsonrpc_messages import NotAllowed
from chains.rpc.provider_errors import ErrorAdvice, ErrorKind
from chains.types import Rail

REST_S = 10.0  # an endpoint that refuses even the smallest query is not asked for logs that long
CROWDED_S = 600.0  # an address that got more logs than an answer holds is asked about by token that long
MAX_CROWDED = 1_000


class NeedsAddress(Unserved):
    """The endpoint refuses logs without `address`."""


class LogsRefused(Unserved):
    """The endpoint refuses even the smallest query for logs."""


class TooManyRows(Exception):
    """One block holds more logs than the endpoint puts into one answer."""


@dataclass(slots=True)
class LogQueryLimits:
    """What queries for logs one endpoint accepts, beside the limits that all kinds of calls share."""

    block_ranges: dict[Rail, BlockRangeLimiter]
    # By rail: an endpoint that refuses the logs of one rail may serve those of the other, which must go on.
    resting_until: dict[Rail, float] = field(default_factory=dict)
    refusals: dict[Rail, str] = field(default_factory=dict)  # of the smallest query, while it stands
    crowded: dict[str, float] = field(default_factory=dict)  # until when, by address
    scalar: bool = False  # takes a single value as such, and no list of one
    # As the ranges were before answers became too long.
    before_overflow: dict[Rail, BlockRangeLimiter] = field(default_factory=dict)

    @classmethod
    def limited(cls, longest: int | None) -> LogQueryLimits:
        """Begin with the registry's limit of blocks, if it has one."""
        return cls({rail: BlockRangeLimiter.limited(longest) for rail in Rail})

    def crowd(self, addresses: Collection[str], now: float) -> None:
        """Ask about these by token for a while: one block holds more logs of them than an answer."""
        for address in addresses:
            if len(self.crowded) < MAX_CROWDED:
                self.crowded[address] = now + CROWDED_S

    def crowded_at(self, now: float) -> frozenset[str]:
        """Return the addresses to be asked about by token."""
        if self.crowded:
            self.crowded = {address: until for address, until in self.crowded.items() if until > now}
        return frozenset(self.crowded)


class RefusalLearner:
    """Learns limits from the refusals of one page, and takes them back where size was not the reason."""

    def __init__(
        self, endpoint: Endpoint, query_limits: LogQueryLimits, rail: Rail, clock: Callable[[], float]
    ) -> None:
        self._query_limits = query_limits
        self._rail = rail
        self._block_range = block_range = query_limits.block_ranges[rail]
        self._limits = endpoint.limits
        self._clock = clock
        self._before = (block_range.copy(), self._limits.topics.learnt, self._limits.addresses.learnt)
        self._asked_twice = False  # the smallest query
        self._dimension = 0  # of the dimensions, when nobody knows which one was refused

    @property
    def sizes(self) -> QuerySizes:
        """The most to put into one query now."""
        return QuerySizes(self._limits.topics.size, self._limits.addresses.size, self._query_limits.scalar)

    def served(self, asked: Collection[LogQuery]) -> None:
        """Learn from a page that was answered in full."""
        topics = max((len(query.destinations) for query in asked), default=0)
        tokens = max((len(query.tokens) for query in asked if query.tokens is not None), default=0)
        self._limits.topics.served(topics)
        self._limits.addresses.served(tokens)
        self._query_limits.refusals.pop(self._rail, None)
        if any(query.destinations and query.tokens is None for query in asked):
            self._limits.addressless_logs.served()

    def refused(self, query: LogQuery, error: ChainError, blocks: int) -> None:
        """
        Return when a smaller query is worth asking at once.

        Raises:
            TooManyRows: not by fewer blocks, for there is only one.
            NeedsAddress: only with the addresses of contracts.
            LogsRefused: this was the smallest query there is.
            ChainError: the refusal was not about the query.
        """
        advice = _advice_of(error)
        match advice.kind:
            case ErrorKind.ROWS if blocks == 1:
                raise TooManyRows(str(error)) from error
            case ErrorKind.ROWS | ErrorKind.BLOCKS if blocks > 1:
                self._query_limits.before_overflow.setdefault(self._rail, self._block_range.copy())
                self._block_range.refused(blocks=blocks, advice=advice)
            case ErrorKind.TOPICS | ErrorKind.ADDRESSES:
                self._fewer_values(query, error, advice, blocks)
            case ErrorKind.ADDRESSLESS if query.destinations and query.tokens is None:
                self._limits.addressless_logs.refused()
                raise NeedsAddress(f"refuses logs without an address: {error}") from error
            case ErrorKind.ROWS | ErrorKind.BLOCKS | ErrorKind.ADDRESSLESS | ErrorKind.OTHER:
                self._anything_smaller(query, error, blocks)
            case _:
                raise error

    def crowded(self, addresses: Collection[str]) -> None:
        """Ask about these by token from now on, and about the others in as many blocks as before they came."""
        self._query_limits.crowd(addresses, self._clock())
        self._block_range.restore(self._query_limits.before_overflow.pop(self._rail, self._before[0]))

    def fewer_destinations(self, query: LogQuery) -> bool:
        """Ask about half as many destinations from now on; say whether that is possible."""
        if len(query.destinations) <= 1:
            return False
        self._limits.topics.refused(len(query.destinations))
        return True

    def full_block(self) -> None:
        """Go on with short ranges that grow at once: the next blocks may be as full, or empty."""
        self._block_range.restore(dataclasses.replace(self._block_range, size=1, growth_delay=1, quick=0))

    def _fewer_values(self, query: LogQuery, error: ChainError, advice: ErrorAdvice, blocks: int) -> None:
        """Learn about the position that was meant, or about the other one where this has a single value."""
        topics, addresses = len(query.destinations), len(query.tokens or ())
        about_topics = advice.kind is ErrorKind.TOPICS
        if topics > 1 and (about_topics or addresses <= 1):
            self._limits.topics.refused(topics, suggested=advice.suggested)
        elif addresses > 1:
            self._limits.addresses.refused(addresses, suggested=advice.suggested)
        else:
            self._anything_smaller(query, error, blocks)

    def _anything_smaller(self, query: LogQuery, error: ChainError, blocks: int) -> None:
        """Nobody knows all wordings of "too many": make each dimension smaller in turn."""
        topics, addresses = len(query.destinations), len(query.tokens or ())
        smaller: list[Callable[[], object]] = []
        if topics > 1:
            smaller.append(lambda: self._limits.topics.refused(topics))
        if blocks > 1:
            smaller.append(lambda: self._block_range.failed(blocks=blocks))
        if addresses > 1:
            smaller.append(lambda: self._limits.addresses.refused(addresses))
        if not smaller and isinstance(error, TooLarge):
            raise TooManyRows(str(error)) from error
        if not smaller and not self._asked_twice:
            # An error may be over at once, and there are nodes that take no list of one.
            self._asked_twice, self._query_limits.scalar = True, not self._query_limits.scalar
            return
        if not smaller:
            raise self.give_up(error) from error
        smaller[self._dimension % len(smaller)]()
        self._dimension += 1

    def needs_address(self, error: ChainError) -> NeedsAddress:
        """Learn that it was the lack of an address that was refused; return what to raise."""
        self._block_range.restore(self._before[0])
        _, self._limits.topics.learnt, self._limits.addresses.learnt = self._before
        self._query_limits.refusals.pop(self._rail, None)
        self._query_limits.resting_until.pop(self._rail, None)
        self._limits.addressless_logs.refused()
        return NeedsAddress(f"refuses logs without an address: {error}")

    def give_up(self, error: ChainError) -> ChainError:
        """Take back what was learnt, for size was not the reason; return what to raise."""
        self._query_limits.scalar = False
        self._block_range.restore(self._before[0])
        _, self._limits.topics.learnt, self._limits.addresses.learnt = self._before
        self._query_limits.refusals[self._rail] = str(error)
        self._query_limits.resting_until[self._rail] = self._clock() + REST_S
        if isinstance(error, RpcRefused | Garbled | TooLarge | Overasked | Overpriced | NotAllowed | CutOff):
            return LogsRefused(f"refuses eth_getLogs even for one block: {error}")
        return error


def _advice_of(error: ChainError) -> ErrorAdvice:
    match error:
        case RpcRefused():
            return error.advice
        case Garbled() | TooLarge() | Overasked() | Overpriced() | NotAllowed() | CutOff():
            return ErrorAdvice(ErrorKind.OTHER)
        case _:
            return ErrorAdvice(ErrorKind.UNSUPPORTED)
