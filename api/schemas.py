"""What the other bodies and the queries look like: checked at the edge, and described as they are checked."""

from __future__ import annotations

from typing import Annotated

from pydantic import AfterValidator, BaseModel, ConfigDict, Field
from pydantic.alias_generators import to_camel

from protocol.words import Rail
from scanner.model import DeliveryStatus, EventType, IntentStatus, Reason
from scanner.registration.requests import MAX_CHAIN_ID, Body, CallbackSecret, CallbackUrl, ChainId, Moment
from scanner.store.intent_search import IntentFilter
from scanner.store.samples import KEPT_HOURS


def _said(value: str) -> str:
    if not value.strip():
        raise ValueError("must say what was done")
    return value.strip()


TxHash = Annotated[str, Field(min_length=1, max_length=128)]
MAX_NOTE = 1000
MAX_RECEIVER = 300
Note = Annotated[str, Field(min_length=1, max_length=MAX_NOTE, pattern=r"\S"), AfterValidator(_said)]


class RotateSecret(Body):
    """Sign everything registered so far with a callback URL with another secret."""

    callback_url: CallbackUrl
    callback_secret: CallbackSecret
    overlap_hours: Annotated[int, Field(strict=True, ge=0, le=720)] = 24


class TestWebhook(Body):
    """Send a made-up event to a receiver, now."""

    callback_url: CallbackUrl
    callback_secret: CallbackSecret
    event_type: EventType = EventType.CONFIRMED


class HandleUnmatched(Body):
    """Note that somebody saw to a transfer that settled nothing."""

    note: Note


class Recheck(Body):
    """Look now, optionally at one transaction."""

    tx_hash: TxHash | None = None


class InspectTransaction(Body):
    """Look at a transaction now, whomever it concerns."""

    chain_id: ChainId
    tx_hash: TxHash


class Query(BaseModel):
    """A query string: unknown parameters are refused."""

    model_config = ConfigDict(extra="forbid", alias_generator=to_camel, frozen=True, regex_engine="python-re")

    cursor: Annotated[str, Field(min_length=1, max_length=300)] | None = None
    limit: Annotated[int, Field(ge=1, le=500)] = 100


class ListTransfers(Query):
    """Which transfers of an intent to list."""


class ListIntents(Query):
    """Which intents to list."""

    q: Annotated[str, Field(min_length=1, max_length=200)] | None = None
    chain_id: Annotated[int, Field(ge=1, le=MAX_CHAIN_ID)] | None = None
    status: IntentStatus | None = None
    rail: Rail | None = None
    created_from: Moment | None = None
    created_to: Moment | None = None

    def wanted(self) -> IntentFilter:
        """Return the filter that is asked for."""
        return IntentFilter(
            status=self.status,
            chain_id=self.chain_id,
            rail=self.rail,
            created_from=self.created_from,
            created_to=self.created_to,
        )


class ListUnmatched(Query):
    """Which unmatched transfers to list."""

    chain_id: Annotated[int, Field(ge=1, le=MAX_CHAIN_ID)] | None = None
    reason: Reason | None = None


class ListWebhooks(Query):
    """Which webhooks to list; `receiver` is `host:port`."""

    status: DeliveryStatus | None = None
    receiver: Annotated[str, Field(min_length=1, max_length=MAX_RECEIVER)] | None = None


class ShowStats(BaseModel):
    """Of which chain, and how many hours."""

    model_config = Query.model_config

    chain_id: Annotated[int, Field(ge=1, le=MAX_CHAIN_ID)]
    hours: Annotated[int, Field(ge=1, le=KEPT_HOURS)] = 24
