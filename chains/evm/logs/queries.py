"""Which logs one rail looks for, and the `eth_getLogs` queries that cover a range of blocks (pure)."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from enum import Enum
from typing import Any, NamedTuple

from chains.evm.blocks import block_call
from chains.evm.events import TRANSFER_TOPIC, is_proxy_event
from chains.evm.fee_proxy import EVENT_TOPIC
from chains.rpc.jsonrpc_messages import Call
from chains.types import Cursor, Rail

LOGS_METHOD = "eth_getLogs"

_TRANSFER_TOPICS = 3


class LogSource(Enum):
    """How logs are read; each later way shows less, or costs more."""

    LOGS = "logs"
    BY_TOKEN = "by token"  # noqa: S105 - for endpoints that refuse logs without `address`
    RECEIPTS = "receipts"  # for endpoints that refuse logs altogether: one block a page


class LogFilter(NamedTuple):
    """The logs one rail looks for."""

    rail: Rail
    destinations: Sequence[str] = ()
    tokens: Sequence[str] = ()  # whose transfers are asked for where an address is needed
    named: bool = False  # only the logs of `tokens` count


class QuerySizes(NamedTuple):
    """The most values to put into one query."""

    topics: int
    addresses: int
    scalar: bool = False  # a single value as such, and not as a list of one: there are nodes that take no lists


class LogQuery(NamedTuple):
    """One `eth_getLogs`."""

    call: Call
    destinations: Sequence[str] = ()
    tokens: Sequence[str] | None = None  # None: of every contract, or of the proxy


def plan_queries(
    log_filter: LogFilter,
    source: LogSource,
    *,
    proxy: str,
    first: int,
    last: int,
    sizes: QuerySizes,
    crowded: frozenset[str],
) -> list[LogQuery]:
    """
    Return the queries that cover some blocks of a rail.

    Crowded destinations are asked about by token: logs of worthless contracts would fill the answers.
    """
    if log_filter.rail is Rail.PROXY:
        return [LogQuery(_logs_call(first, last, [EVENT_TOPIC], proxy))]
    normal, crowded_destinations = log_filter.destinations, []
    if crowded and log_filter.tokens:
        normal = [address for address in log_filter.destinations if address not in crowded]
        crowded_destinations = [address for address in log_filter.destinations if address in crowded]
    named = list(_chunks(log_filter.tokens, sizes.addresses))
    every = source is LogSource.LOGS and not log_filter.named
    tokens_of_normal: list[Sequence[str] | None] = [None] if every else [*named]
    batches = [(batch, tokens) for batch in _chunks(normal, sizes.topics) for tokens in tokens_of_normal]
    batches += [(batch, tokens) for batch in _chunks(crowded_destinations, sizes.topics) for tokens in named]
    return [transfers_to(batch, tokens, first, last, scalar=sizes.scalar) for batch, tokens in batches]


def transfers_to(
    destinations: Sequence[str], tokens: Sequence[str] | None, first: int, last: int, *, scalar: bool = False
) -> LogQuery:
    """Return the query for transfers into some addresses, of some tokens or of all."""
    topics = [TRANSFER_TOPIC, None, _one_or_list([topic_of(address) for address in destinations], scalar=scalar)]
    address = None if tokens is None else _one_or_list(tokens, scalar=scalar)
    return LogQuery(_logs_call(first, last, topics, address), destinations, tokens)


def _one_or_list(values: Sequence[str], *, scalar: bool) -> str | list[str]:
    return values[0] if scalar and len(values) == 1 else list(values)


def topic_of(address: str) -> str:
    """Return an address as the topic of an indexed parameter: left-padded to 32 bytes."""
    return f"0x{address[2:]:0>64}"


def _logs_call(first: int, last: int, topics: list[Any], address: str | list[str] | None) -> Call:
    named = {} if address is None else {"address": address}
    return LOGS_METHOD, ({**named, "topics": topics, "fromBlock": hex(first), "toBlock": hex(last)},)


def _chunks(values: Sequence[str], size: int) -> Iterator[Sequence[str]]:
    for start in range(0, len(values), size):
        yield values[start : start + size]


def halves(values: Sequence[str]) -> list[Sequence[str]]:
    """Return a sequence of two or more cut in two."""
    middle = len(values) // 2
    return [values[:middle], values[middle:]]


def log_matcher(log_filter: LogFilter, proxy: str) -> Callable[[str, Sequence[str]], bool]:
    """Return what tells a log, by address and topics, that the rail would have asked for from any other."""
    if log_filter.rail is Rail.PROXY:
        return lambda address, topics: is_proxy_event(address, topics, proxy)
    ours = frozenset(map(topic_of, log_filter.destinations))

    def pays(_: str, topics: Sequence[str]) -> bool:
        return len(topics) == _TRANSFER_TOPICS and topics[0].lower() == TRANSFER_TOPIC and topics[2].lower() in ours

    return pays


def block_window(after: int, head: int, span: int, reread: int) -> tuple[int, int]:
    """Return the first and last block to ask for: at least one new block, whatever is read again."""
    first = max(0, after + 1 - min(reread, span // 2))
    return first, min(head, first + span - 1)


def merge_pages(pages: Sequence[Sequence[Call]]) -> tuple[list[Call], list[list[int]]]:
    """Return the calls of several pages, each once and as `page_calls` orders them, and the places of each page's."""
    calls: list[Call] = []
    places: list[list[int]] = [[] for _ in pages]
    for turn in range(3):
        first = len(calls)  # no turn takes the answer of another: a block below asked for before the logs tells less
        for page, mine in zip(pages, places, strict=True):
            for call in [call for at, call in enumerate(page) if _turn(at, call) == turn]:
                if call not in calls[first:]:
                    calls.append(call)
                mine.append(calls.index(call, first))
    return calls, places


def _turn(place: int, call: Call) -> int:
    """Return 0 for the block at the end of a page, 1 for its logs and 2 for the block below it."""
    if place == 0:
        return 0
    return 1 if call[0] == LOGS_METHOD else 2


def page_calls(after: Cursor, queries: Sequence[LogQuery], last: int) -> list[Call]:
    """Return the calls of one page: its last block, its logs, and the block at the cursor where its hash is known."""
    # In the same request: an endpoint that lacks the last block answers a gap without an error.
    calls: list[Call] = [block_call(last), *(query.call for query in queries)]
    if after.block_hash is not None:
        # Last: a reorganisation before it shows here; one after it shows at the next poll, in the block above.
        calls.append(block_call(after.position))
    return calls
