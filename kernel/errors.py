"""What an operator has to know: a setting or the store is not as it must be."""

from __future__ import annotations


class ConfigError(Exception):
    """An operator must change something; the message is one line and names what."""

    def __init__(self, message: str) -> None:
        super().__init__(" ".join(message.splitlines()))  # a path may hold line breaks


class StoreError(Exception):
    """The store cannot be used as it is; the message says what to do."""


class WrongKey(StoreError):
    """No key at hand opens what is sealed in the store."""


class Collision(StoreError):
    """Somebody else wrote the same at the same time: nothing was changed, and trying again helps."""


class StoreBusy(StoreError):
    """Another process holds the store's write lock for longer than anybody waits: trying again helps."""


class UnknownOutcome(StoreError):
    """The connection was lost while a transaction was committed: it may be stored or not."""
