"""What the table of calls says of one call."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from aiohttp.typedefs import Handler
from pydantic import BaseModel

from kernel.web.openapi import JSON


@dataclass(frozen=True, slots=True)
class Route:
    """One call; `answers` are what `data` holds by status, several types where it is one of them."""

    method: str
    path: str
    handler: Handler
    answers: Mapping[int, Any]
    body: type[BaseModel] | None = None
    query: type[BaseModel] | None = None
    content: str = JSON
    enveloped: bool = True
    file: str | None = None  # what kind of file is sent in place of JSON
