"""What bodies and queries look like: checked at the edge, and described as they are checked."""

from __future__ import annotations

import re
from datetime import UTC, datetime
from typing import Annotated, Any, Self

from pydantic import AfterValidator, BaseModel, BeforeValidator, ConfigDict, Field, WithJsonSchema, model_validator
from pydantic.alias_generators import to_camel

from chains.types import Rail
from kernel.web.ids import NAME
from kernel.web.ids import check_name as check_id
from scanner.balances import BalanceRequest
from scanner.model import OPT_IN_EVENTS, EventType, IntentStatus, Reason
from scanner.registration.tokens import TokenNames
from scanner.registration.watches import WatchRequest
from scanner.services import IntentRequest

ID_PATTERN = f"^{NAME}$"  # as the description says it: `$` of ECMA-262 is the very end
MAX_CHAIN_ID = 2**53 - 1  # what every JSON reader holds exactly
DIGITS = re.compile(r"[0-9]{1,78}")
MAX_UINT256 = 2**256 - 1
MAX_TIME = 64
NOT_A_TIME = "must be an RFC 3339 time with an offset, such as 2026-01-31T12:00:00Z"


def unix_ms(moment: datetime) -> int:
    """Return unix milliseconds, exactly."""
    whole = moment.astimezone(UTC)
    seconds = int((whole.replace(microsecond=0) - datetime(1970, 1, 1, tzinfo=UTC)).total_seconds())
    return seconds * 1000 + whole.microsecond // 1000


def _base_units(value: Any) -> Any:
    """Amounts travel as text: a JSON number loses digits on the way through most languages."""
    if not isinstance(value, str) or DIGITS.fullmatch(value) is None:
        raise ValueError("must be a base-10 integer string of at most 78 digits, in the token's smallest unit")
    return value


def _fits(value: str) -> str:
    if int(value) > MAX_UINT256:
        raise ValueError("must fit 256 bits")
    return value


def _positive(value: str) -> str:
    if int(value) == 0:
        raise ValueError("must be greater than zero")
    return value


def _moment(value: Any) -> Any:
    """Return unix milliseconds of an RFC 3339 time, which has an offset."""
    if value is None:
        return None
    try:
        if isinstance(value, str) and len(value) <= MAX_TIME:
            moment = datetime.fromisoformat(value)
            if moment.tzinfo is not None:
                return unix_ms(moment)
    except (ValueError, OverflowError) as exc:
        raise ValueError(NOT_A_TIME) from exc
    raise ValueError(NOT_A_TIME)


def _opt_in(value: EventType) -> EventType:
    if value not in OPT_IN_EVENTS:
        raise ValueError(f"{value} is always sent and cannot be chosen")
    return value


Id = Annotated[str, AfterValidator(check_id), WithJsonSchema({"type": "string", "pattern": ID_PATTERN})]
AmountField = {"pattern": "^[0-9]{1,78}$", "examples": ["12500000000000000000"]}
BaseUnits = Annotated[str, BeforeValidator(_base_units), AfterValidator(_fits), Field(json_schema_extra=AmountField)]
Amount = Annotated[BaseUnits, AfterValidator(_positive)]
TimeField = {"type": "string", "format": "date-time"}
Moment = Annotated[int, BeforeValidator(_moment), WithJsonSchema(TimeField)]
Address = Annotated[str, Field(min_length=1, max_length=128)]
ChainId = Annotated[int, Field(strict=True, ge=1, le=MAX_CHAIN_ID)]
Confirmations = Annotated[int, Field(strict=True, ge=1, le=100_000)]


class Body(BaseModel):
    """A request body: unknown fields are refused, since a misspelt one would change what is paid."""

    model_config = ConfigDict(extra="forbid", alias_generator=to_camel, frozen=True, regex_engine="python-re")


class NamesToken(Body):
    """A body that names a token, in at least one of three ways; several name the same one."""

    chain_id: ChainId
    token_address: Address | None = None
    token: Address | None = None
    token_symbol: Address | None = None

    @model_validator(mode="after")
    def _one_token(self) -> Self:
        if not self.token_names():
            raise ValueError("tokenAddress or token is required")
        return self

    def token_names(self) -> TokenNames:
        """Return which fields name the token, and what they say."""
        names = (("tokenAddress", self.token_address), ("token", self.token), ("tokenSymbol", self.token_symbol))
        return tuple((name, value) for name, value in names if value is not None)


class CreateIntent(NamesToken):
    """Register a payment to wait for."""

    intent_id: Id
    destination: Address
    amount: Amount
    callback_url: Annotated[str, Field(min_length=1, max_length=2048)]
    callback_secret: Annotated[str, Field(min_length=1, max_length=1024)]
    rail: Rail | None = None
    confirmations: Confirmations | None = None
    confirmations_required: Confirmations | None = None
    expires_at: Moment | None = None
    fee_amount: BaseUnits | None = None
    fee_address: Address | None = None
    events: Annotated[list[Annotated[EventType, AfterValidator(_opt_in)]], Field(max_length=16)] | None = None

    @model_validator(mode="after")
    def _one_depth(self) -> Self:
        given = {self.confirmations, self.confirmations_required} - {None}
        if len(given) > 1:
            raise ValueError("confirmations and confirmationsRequired name different numbers")
        return self

    def request(self) -> IntentRequest:
        """Return the use case's input."""
        return IntentRequest(
            intent_id=self.intent_id,
            chain_id=self.chain_id,
            token=self.token_names(),
            destination=self.destination,
            amount=int(self.amount),
            callback_url=self.callback_url,
            callback_secret=self.callback_secret,
            rail=self.rail,
            confirmations=self.confirmations or self.confirmations_required,
            expires_at=self.expires_at,
            fee_amount=int(self.fee_amount or 0),
            fee_address=self.fee_address,
            events=tuple(self.events or ()),
        )


class CheckBalance(NamesToken):
    """Read a balance now."""

    address: Address
    confirmed: Annotated[bool, Field(strict=True)] = False

    def request(self) -> BalanceRequest:
        """Return the use case's input."""
        return BalanceRequest(self.chain_id, self.address, self.token_names(), self.confirmed)


class CreateWatch(NamesToken):
    """Watch a balance."""

    watch_id: Id | None = None
    address: Address
    callback_url: Annotated[str, Field(min_length=1, max_length=2048)]
    callback_secret: Annotated[str, Field(min_length=1, max_length=1024)]
    baseline_balance: BaseUnits | None = None

    def request(self) -> WatchRequest:
        """Return the use case's input."""
        return WatchRequest(
            watch_id=self.watch_id,
            chain_id=self.chain_id,
            address=self.address,
            token=self.token_names(),
            callback_url=self.callback_url,
            callback_secret=self.callback_secret,
            baseline_balance=None if self.baseline_balance is None else int(self.baseline_balance),
        )


class RotateSecret(Body):
    """Sign everything registered so far with a callback URL with another secret."""

    callback_url: Annotated[str, Field(min_length=1, max_length=2048)]
    callback_secret: Annotated[str, Field(min_length=1, max_length=1024)]
    overlap_hours: Annotated[int, Field(strict=True, ge=0, le=720)] = 24


class Recheck(Body):
    """Look now, optionally at one transaction."""

    tx_hash: Annotated[str, Field(min_length=1, max_length=128)] | None = None


class Query(BaseModel):
    """A query string: unknown parameters are refused."""

    model_config = ConfigDict(extra="forbid", alias_generator=to_camel, frozen=True, regex_engine="python-re")

    cursor: Annotated[str, Field(min_length=1, max_length=300)] | None = None
    limit: Annotated[int, Field(ge=1, le=500)] = 100


class ListTransfers(Query):
    """Which transfers of an intent to list."""


class ListIntents(Query):
    """Which intents to list."""

    chain_id: Annotated[int, Field(ge=1, le=MAX_CHAIN_ID)] | None = None
    status: IntentStatus | None = None


class ListUnmatched(Query):
    """Which unmatched transfers to list."""

    chain_id: Annotated[int, Field(ge=1, le=MAX_CHAIN_ID)] | None = None
    reason: Reason | None = None
