"""
What can go wrong with a chain, named by what the caller should do.

ChainError
├── ChainUnavailable      try again later (or elsewhere)
│   └── LogsBehind        everything below is read; what is newer is not served yet
├── ChainProtocolError    this endpoint's answer makes no sense: try another endpoint
│   └── ProvenLie         it contradicts what hashes prove: leave this endpoint alone for long
├── ChainMisconfigured    an operator must change something
├── InvalidAddress        the caller sent something that is no address of this chain
├── InvalidTxHash         the caller sent something that is no transaction hash of this chain
└── TooManyTransfers      the caller asked for a transaction that is too long to be told whole
"""

from __future__ import annotations


class ChainError(Exception):
    """Base class of everything a chain adapter raises."""


class ChainUnavailable(ChainError):
    """
    The same call may succeed later.

    Attributes:
        retry_after: seconds the endpoint asked us to wait, if it said so.
    """

    def __init__(self, message: str, *, retry_after: float | None = None) -> None:
        super().__init__(message)
        self.retry_after = retry_after


class LogsBehind(ChainUnavailable):
    """
    The logs of the newest blocks are not served yet, and everything below them was read.

    Attributes:
        time: unix seconds of the newest block that was read; None where it is not known.
    """

    def __init__(self, message: str, *, time: int | None) -> None:
        super().__init__(message)
        self.time = time


class ChainProtocolError(ChainError):
    """The endpoint answered something a correct node would not answer."""


class ProvenLie(ChainProtocolError):
    """The endpoint answered what the chain's own hashes disprove."""


class ChainMisconfigured(ChainError):
    """The endpoint or the registry is wrong: no retry will help until an operator acts."""


class InvalidAddress(ChainError, ValueError):
    """The text is not an address of this chain."""


class InvalidTxHash(ChainError, ValueError):
    """The text is not a transaction hash of this chain."""


class TooManyTransfers(ChainError):
    """The transaction holds more transfers than are told of one."""
