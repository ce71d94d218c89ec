"""What shape of `eth_getLogs` one endpoint takes, and what a refusal teaches of it."""

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

REST_S = 10.0  # an endpoint that refuses even the smallest question is not asked for logs that long
CROWDED_S = 600.0  # an address that got more logs than an answer holds is asked about by token that long
MAX_CROWDED = 1_000


class NeedsAddress(Unserved):
    """The endpoint refuses logs without `address`."""


class LogsRefused(Unserved):
    """The endpoint refuses even the smallest question for logs."""


class TooManyRows(Exception):
    """One block holds more logs than the endpoint puts into one answer."""


@dataclass(slots=True)
class LogQueryLimits:
    """What one endpoint was seen to take, beside its memory that other questions share."""

    spans: dict[Rail, BlockRangeLimiter]
    # By rail: whoever refuses one rail's logs may serve the other's, and must not keep it from being asked.
    resting_until: dict[Rail, float] = field(default_factory=dict)
    refusal: dict[Rail, str] = field(default_factory=dict)  # of the smallest question, while it stands
    crowded: dict[str, float] = field(default_factory=dict)  # until when, by address
    plain: bool = False  # takes a single value as such, and no list of one
    before_overflow: dict[Rail, BlockRangeLimiter] = field(
        default_factory=dict
    )  # as it was before answers became too long

    @classmethod
    def limited(cls, longest: int | None) -> LogQueryLimits:
        """Begin with the registry's limit of blocks, if it has one."""
        return cls({rail: BlockRangeLimiter.limited(longest) for rail in Rail})

    def crowd(self, addresses: Collection[str], now: float) -> None:
        """Ask about these by token for a while: they get more logs in one block than an answer holds."""
        for address in addresses:
            if len(self.crowded) < MAX_CROWDED:
                self.crowded[address] = now + CROWDED_S

    def crowded_at(self, now: float) -> frozenset[str]:
        """Return the addresses to be asked about by token."""
        if self.crowded:
            self.crowded = {address: until for address, until in self.crowded.items() if until > now}
        return frozenset(self.crowded)


class RefusalLearner:
    """Learns from the refusals of one page; what was not about the shape is taken back."""

    def __init__(self, endpoint: Endpoint, shape: LogQueryLimits, rail: Rail, clock: Callable[[], float]) -> None:
        self._shape = shape
        self._rail = rail
        self._span = span = shape.spans[rail]
        self._limits = endpoint.limits
        self._clock = clock
        self._before = (span.copy(), self._limits.topics.learnt, self._limits.addresses.learnt)
        self._asked_twice = False  # the smallest question
        self._turn = 0  # of the dimensions, when nobody knows which one was refused

    @property
    def sizes(self) -> QuerySizes:
        """The most to put into one question now."""
        return QuerySizes(self._limits.topics.size, self._limits.addresses.size, self._shape.plain)

    def served(self, asked: Collection[LogQuery]) -> None:
        """Learn from a page that was answered in full."""
        topics = max((len(question.destinations) for question in asked), default=0)
        tokens = max((len(question.tokens) for question in asked if question.tokens is not None), default=0)
        self._limits.topics.served(topics)
        self._limits.addresses.served(tokens)
        self._shape.refusal.pop(self._rail, None)
        if any(question.destinations and question.tokens is None for question in asked):
            self._limits.addressless_logs.served()

    def refused(self, question: LogQuery, error: ChainError, blocks: int) -> None:
        """
        Return when a smaller question is worth asking at once.

        Raises:
            TooManyRows: not by fewer blocks, for there is only one.
            NeedsAddress: only with the addresses of contracts.
            LogsRefused: this was the smallest question there is.
            ChainError: the refusal was not about the question.
        """
        advice = _advice_of(error)
        match advice.kind:
            case ErrorKind.ROWS if blocks == 1:
                raise TooManyRows(str(error)) from error
            case ErrorKind.ROWS | ErrorKind.BLOCKS if blocks > 1:
                self._shape.before_overflow.setdefault(self._rail, self._span.copy())
                self._span.refused(blocks=blocks, advice=advice)
            case ErrorKind.TOPICS | ErrorKind.ADDRESSES:
                self._fewer_values(question, error, advice, blocks)
            case ErrorKind.ADDRESSLESS if question.destinations and question.tokens is None:
                self._limits.addressless_logs.refused()
                raise NeedsAddress(f"refuses logs without an address: {error}") from error
            case ErrorKind.ROWS | ErrorKind.BLOCKS | ErrorKind.ADDRESSLESS | ErrorKind.OTHER:
                self._anything_smaller(question, error, blocks)
            case _:
                raise error

    def crowded(self, addresses: Collection[str]) -> None:
        """Ask about these by token from now on, and about the others in as many blocks as before they came."""
        self._shape.crowd(addresses, self._clock())
        self._span.restore(self._shape.before_overflow.pop(self._rail, self._before[0]))

    def fewer_destinations(self, question: LogQuery) -> bool:
        """Ask about half as many destinations from now on; say whether that is possible."""
        if len(question.destinations) <= 1:
            return False
        self._limits.topics.refused(len(question.destinations))
        return True

    def full_block(self) -> None:
        """Go on with short ranges that grow at once: the next blocks may be as full, or empty."""
        self._span.restore(dataclasses.replace(self._span, size=1, growth_delay=1, quick=0))

    def _fewer_values(self, question: LogQuery, error: ChainError, advice: ErrorAdvice, blocks: int) -> None:
        """Learn about the position that was meant, or about the other one where this has a single value."""
        topics, addresses = len(question.destinations), len(question.tokens or ())
        about_topics = advice.kind is ErrorKind.TOPICS
        if topics > 1 and (about_topics or addresses <= 1):
            self._limits.topics.refused(topics, suggested=advice.suggested)
        elif addresses > 1:
            self._limits.addresses.refused(addresses, suggested=advice.suggested)
        else:
            self._anything_smaller(question, error, blocks)

    def _anything_smaller(self, question: LogQuery, error: ChainError, blocks: int) -> None:
        """Nobody knows all wordings of "too many": make each dimension smaller in turn."""
        topics, addresses = len(question.destinations), len(question.tokens or ())
        smaller: list[Callable[[], object]] = []
        if topics > 1:
            smaller.append(lambda: self._limits.topics.refused(topics))
        if blocks > 1:
            smaller.append(lambda: self._span.failed(blocks=blocks))
        if addresses > 1:
            smaller.append(lambda: self._limits.addresses.refused(addresses))
        if not smaller and isinstance(error, TooLarge):
            raise TooManyRows(str(error)) from error
        if not smaller and not self._asked_twice:
            # An error may be over at once, and there are nodes that take no list of one.
            self._asked_twice, self._shape.plain = True, not self._shape.plain
            return
        if not smaller:
            raise self.give_up(error) from error
        smaller[self._turn % len(smaller)]()
        self._turn += 1

    def needs_address(self, error: ChainError) -> NeedsAddress:
        """Learn that it was the lack of an address that was refused; return what to raise."""
        self._span.restore(self._before[0])
        _, self._limits.topics.learnt, self._limits.addresses.learnt = self._before
        self._shape.refusal.pop(self._rail, None)
        self._shape.resting_until.pop(self._rail, None)
        self._limits.addressless_logs.refused()
        return NeedsAddress(f"refuses logs without an address: {error}")

    def give_up(self, error: ChainError) -> ChainError:
        """Take back what was learnt, for it was not about the shape; return what to raise."""
        self._shape.plain = False
        self._span.restore(self._before[0])
        _, self._limits.topics.learnt, self._limits.addresses.learnt = self._before
        self._shape.refusal[self._rail] = str(error)
        self._shape.resting_until[self._rail] = self._clock() + REST_S
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
