"""
What a backend may ask for: checked for form at the edge, described as it is checked, read by the use cases as it is.

A field is spelt here, in the model's row, in the table and in the answer of `protocol`; nothing else names it that
does not do something with it.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from datetime import UTC, datetime
from typing import Annotated, Any, Self

from pydantic import (
    AfterValidator,
    BaseModel,
    BeforeValidator,
    ConfigDict,
    Field,
    PlainSerializer,
    WithJsonSchema,
    model_validator,
)
from pydantic.alias_generators import to_camel

from config.settings import is_http_url
from kernel.web.ids import NAME
from kernel.web.ids import check_name as check_id
from protocol.words import EventType, Rail
from scanner.model import OPT_IN_EVENTS

TokenNames = Sequence[tuple[str, str]]  # (field of the request, what it says), at least one

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


def _base_units(value: Any) -> int:
    """Amounts travel as text: a JSON number loses digits on the way through most languages."""
    if not isinstance(value, str) or DIGITS.fullmatch(value) is None:
        raise ValueError("must be a base-10 integer string of at most 78 digits, in the token's smallest unit")
    if (units := int(value)) > MAX_UINT256:
        raise ValueError("must fit 256 bits")
    return units


def _positive(value: int) -> int:
    if value == 0:
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
AmountField = {"type": "string", "pattern": "^[0-9]{1,78}$", "examples": ["12500000000000000000"]}
BaseUnits = Annotated[int, BeforeValidator(_base_units), PlainSerializer(str), WithJsonSchema(AmountField)]
Amount = Annotated[BaseUnits, AfterValidator(_positive)]
TimeField = {"type": "string", "format": "date-time"}
Moment = Annotated[int, BeforeValidator(_moment), WithJsonSchema(TimeField)]
Address = Annotated[str, Field(min_length=1, max_length=128)]
ChainId = Annotated[int, Field(strict=True, ge=1, le=MAX_CHAIN_ID)]
Confirmations = Annotated[int, Field(strict=True, ge=1, le=100_000)]
CallbackUrl = Annotated[str, Field(min_length=1, max_length=2048)]
CallbackSecret = Annotated[str, Field(min_length=1, max_length=1024, repr=False)]


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


def _web_url(value: str) -> str:
    if not is_http_url(value):
        raise ValueError("must be an http(s) URL")
    return value


LanguageField = {"type": "string", "pattern": "^[A-Za-z]{2,3}(-[A-Za-z0-9]{1,8}){0,3}$"}
Language = Annotated[str, Field(pattern=r"\A[A-Za-z]{2,3}(?:-[A-Za-z0-9]{1,8}){0,3}\Z"), WithJsonSchema(LanguageField)]
RedirectUrl = Annotated[str, Field(max_length=2_000), AfterValidator(_web_url)]


class CheckoutPage(Body):
    """What the payment page shows beside the payment, and where it leads afterwards."""

    title: Annotated[str, Field(min_length=1, max_length=100)] | None = None
    description: Annotated[str, Field(min_length=1, max_length=500)] | None = None
    redirect_url: RedirectUrl | None = None
    locale: Language | None = None


class CreateIntent(NamesToken):
    """Register a payment to wait for."""

    intent_id: Id
    destination: Address
    amount: Amount
    callback_url: CallbackUrl
    callback_secret: CallbackSecret
    rail: Rail | None = None
    confirmations: Confirmations | None = None
    confirmations_required: Confirmations | None = None
    expires_at: Moment | None = None
    fee_amount: BaseUnits | None = None
    fee_address: Address | None = None
    events: Annotated[list[Annotated[EventType, AfterValidator(_opt_in)]], Field(max_length=16)] | None = None
    checkout: CheckoutPage | None = None

    @model_validator(mode="after")
    def _one_depth(self) -> Self:
        given = {self.confirmations, self.confirmations_required} - {None}
        if len(given) > 1:
            raise ValueError("confirmations and confirmationsRequired name different numbers")
        return self

    @property
    def depth(self) -> int | None:
        """How deep a payment has to lie, by whichever of its two names; None: as the chain has it."""
        return self.confirmations or self.confirmations_required

    def shown(self) -> dict[str, str] | None:
        """Return what the payment page shows beside the payment; None where nothing was said."""
        said = self.checkout.model_dump(by_alias=True, exclude_none=True) if self.checkout is not None else None
        return said or None


class CheckBalance(NamesToken):
    """Read a balance now."""

    address: Address
    # Deep enough that a reorganisation does not undo it, instead of the newest block.
    confirmed: Annotated[bool, Field(strict=True)] = False


class CreateWatch(NamesToken):
    """Watch a balance."""

    watch_id: Id | None = None
    address: Address
    callback_url: CallbackUrl
    callback_secret: CallbackSecret
    baseline_balance: BaseUnits | None = None
