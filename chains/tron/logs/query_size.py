"""How many blocks and destinations one question for logs asks about, and what its refusals teach (pure)."""

from __future__ import annotations

from chains.rpc.endpoint import Endpoint
from chains.tron.rpc.provider_errors import ErrorKind

MAX_BLOCKS = 5_000  # blocks of one query
MAX_DESTINATIONS = 1_000


class QuerySize:
    """The blocks and destinations of one question, and what its refusals teach."""

    def __init__(self, endpoint: Endpoint) -> None:
        self._limits = endpoint.limits
        self.span = min(MAX_BLOCKS, self._limits.blocks.size)
        self.width = min(MAX_DESTINATIONS, self._limits.topics.size)
        self._blocks: int | None = None  # the smallest refused
        self._topics: int | None = None

    def refused(self, kind: ErrorKind, blocks: int, topics: int, allowed: int | None) -> bool:
        """Make the next question smaller; say whether it can be."""
        times = 8 if kind is ErrorKind.OTHER else 2  # whatever it means: a few questions find out
        by_topics = kind is ErrorKind.TOPICS or kind is ErrorKind.OTHER or blocks == 1
        if by_topics and topics > 1 and kind is not ErrorKind.RANGE:
            self._topics, self.width = topics, _fewer(topics, allowed if kind is ErrorKind.TOPICS else None, times)
            return True
        if kind is ErrorKind.TOPICS or blocks == 1:
            return False
        if kind is ErrorKind.OTHER:
            self._topics = None  # one destination was refused as well: it was not about their number
        self._blocks, self.span = blocks, _fewer(blocks, allowed if kind is ErrorKind.RANGE else None, times)
        return True

    def served(self, blocks: int, topics: int) -> None:
        """Keep what was learnt: only now it was about the size."""
        if self._blocks is not None:
            self._limits.blocks.refused(self._blocks, suggested=self.span)
        if self._topics is not None:
            self._limits.topics.refused(self._topics, suggested=self.width)
        self._limits.blocks.served(blocks)
        self._limits.topics.served(topics)


def _fewer(asked: int, allowed: int | None, times: int) -> int:
    return allowed if allowed is not None and 0 < allowed < asked else max(1, asked // times)
