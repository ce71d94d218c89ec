"""The kinds of fields bodies are made of, each with the sentence that explains it."""

from __future__ import annotations

import re
from datetime import UTC, datetime
from typing import Annotated, Any

from pydantic import AfterValidator, BeforeValidator, Field

from kernel.web.links import is_web_link
from marketplace.identity.spelling import IS_EMAIL, MAX_EMAIL
from marketplace.payments.money import NotAnAmount, TooPrecise, to_base_units
from marketplace.web.bodies import Line

FRACTION = 18  # digits a price may have: as many as any token here
MAX_TIME = 64
_CURRENCY = re.compile(r"[A-Z]{3,10}")
_NOT_A_TIME = "must be an RFC 3339 time with an offset, such as 2026-01-31T12:00:00Z"


def units(amount: str) -> int:
    """Return a price as an integer, to compare it with another."""
    return to_base_units(amount, FRACTION)


def _money(value: Any) -> Any:
    """Amounts travel as text: a JSON number loses digits on the way through most languages."""
    try:
        positive = isinstance(value, str) and units(value) > 0
    except (NotAnAmount, TooPrecise) as exc:
        raise ValueError(str(exc)) from exc
    if not positive:
        raise ValueError('must be a decimal string greater than zero, such as "12.50"')
    return value


def _currency(value: str) -> str:
    if _CURRENCY.fullmatch(value.upper()) is None:
        raise ValueError("must be 3 to 10 letters, such as USDT")
    return value.upper()


def _link(value: str) -> str:
    if not is_web_link(value):
        raise ValueError("must be an http or https link")
    return value


def _moment(value: Any) -> Any:
    """Return unix milliseconds of an RFC 3339 time."""
    if value is None:
        return None
    try:
        if isinstance(value, str) and len(value) <= MAX_TIME:
            moment = datetime.fromisoformat(value)
            if moment.tzinfo is not None:
                return int((moment - datetime(1970, 1, 1, tzinfo=UTC)).total_seconds()) * 1000
    except (ValueError, OverflowError) as exc:
        raise ValueError(_NOT_A_TIME) from exc
    raise ValueError(_NOT_A_TIME)


Money = Annotated[str, Field(max_length=100), BeforeValidator(_money)]
Currency = Annotated[Line, AfterValidator(_currency)]
Link = Annotated[Line, Field(max_length=2048), AfterValidator(_link)]
Moment = Annotated[int, BeforeValidator(_moment)]
Email = Annotated[Line, Field(max_length=MAX_EMAIL), IS_EMAIL]
Address = Annotated[Line, Field(min_length=1, max_length=128)]
ChainId = Annotated[int, Field(strict=True, ge=1, le=2**53 - 1)]
