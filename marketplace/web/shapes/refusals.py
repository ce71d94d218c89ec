"""What is answered when something is refused."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Annotated, Any

from msgspec import Meta

from marketplace.errors import CODES
from protocol.wire import Wire


class Error(Wire):
    code: Annotated[str, Meta(extra_json_schema={"enum": sorted(CODES)})]
    message: str
    details: Mapping[str, Any]


class Refusal(Wire):
    success: Annotated[bool, Meta(extra_json_schema={"enum": [False]})]
    error: Error
