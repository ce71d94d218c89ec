"""How often one client may ask, as operators say it."""

from __future__ import annotations

import re
from collections.abc import Mapping

from kernel.web.rate_limiter import Limit

QUARTER_HOUR_S = 900
_ENTRY = re.compile(r"([a-z]+)=(?:(off)|([0-9]{1,9})/([0-9]{1,6}))")


DEFAULTS: Mapping[str, Limit] = {
    "login": Limit(10, QUARTER_HOUR_S),
    "payment": Limit(30, QUARTER_HOUR_S),
    "all": Limit(100, QUARTER_HOUR_S),
    # Of one account, whoever asks (`lockout`): from addresses nobody signed in from, and codes of second factors.
    "account": Limit(20, QUARTER_HOUR_S),
    "codes": Limit(5, QUARTER_HOUR_S),
}


def parse_limits(text: str | None) -> dict[str, Limit]:
    """
    Read `MARKETPLACE_RATE_LIMITS`: `login=10/900,payment=30/900,account=20/900` (count/seconds), or `all=off`.

    What is not named keeps its default; what is off is missing from the answer.

    Raises:
        ValueError: says which part cannot be read.
    """
    limits = dict(DEFAULTS)
    named: set[str] = set()
    for part in filter(None, (piece.strip() for piece in (text or "").split(","))):
        name, limit = _entry(part)
        if name in named:
            raise ValueError(f"{name} is given twice")
        named.add(name)
        if limit is None:
            del limits[name]
        else:
            limits[name] = limit
    return limits


def _entry(part: str) -> tuple[str, Limit | None]:
    match = _ENTRY.fullmatch(part)
    if match is None or match[1] not in DEFAULTS:
        raise ValueError(f"{part!r} is not one of {', '.join(DEFAULTS)}, followed by =count/seconds or =off")
    if match[2]:
        return match[1], None
    limit = Limit(int(match[3]), int(match[4]))
    if not limit.count or not limit.per_s:
        raise ValueError(f"{part!r}: count and seconds are at least 1")
    return match[1], limit
