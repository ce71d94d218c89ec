"""What an index means by an answer that is none: its statuses and words (pure)."""

from __future__ import annotations

import re

from chains.errors import ChainError, ChainMisconfigured, ChainProtocolError
from chains.rpc.endpoint import Unserved
from chains.rpc.http_client import OK, TOO_MANY_REQUESTS
from chains.ton.toncenter.address_batches import AsksTooMuch
from chains.ton.values import Json

NOT_FOUND = 404

# Every status that was seen to mean "ask for less": a proxy's, the service's own, and its database's time-out.
_ASKS_TOO_MUCH = {400, 402, 413, 414, 422, 429, 431}
_WRONG = {401, 403}
_NOT_SERVED = {NOT_FOUND, 405, 410, 501}
_REDIRECTS = range(300, 400)
_SERVER_ERRORS = range(500, 600)
_RATE_WORDS = re.compile(
    r"rate.?limit|too many requests|too often|frequency|quota|daily (?:usage|limit|request)", re.IGNORECASE
)
_MAY_BE_A_RATE = {402, 403, 503}  # some say with these, in words, that they are asked too often
_ROW_LIMIT = re.compile(r"\blimit\b.{0,80}?(\d+)(?:\D+(\d+))?", re.IGNORECASE)


def status_of(status: int, answer: Json | None) -> int:
    """Return the status an answer really has: some refusals come with 200 and the real one inside."""
    if status != OK or answer is None or not (answer.get("ok") is False or "error" in answer):
        return status
    code = answer.get("code")
    return code if isinstance(code, int) else 500


def is_rate(status: int, said: str, *, named: bool) -> bool:
    """
    Say whether we ask too often; `named` when it is said for how long to wait.

    A service that counts addresses or rows answers 429 as well: what does not speak of a rate is asked for less.
    """
    rate = _RATE_WORDS.search(said) is not None
    if status == TOO_MANY_REQUESTS:
        return named or not said or rate
    return status in _MAY_BE_A_RATE and rate


def error_of(route: str, status: int, said: str) -> ChainError:
    """Return what any other refusal means."""
    if status in _ASKS_TOO_MUCH or (status in _SERVER_ERRORS and status not in _NOT_SERVED):
        return AsksTooMuch(f"HTTP {status}{said}")
    if status in _NOT_SERVED:
        return Unserved(f"{route} is not served, HTTP {status}{said}: check the URL and its key")
    if status in _WRONG or status in _REDIRECTS:
        return ChainMisconfigured(f"HTTP {status}{said}: check the URL and its key")
    return ChainProtocolError(f"HTTP {status}{said}")


def rows_named(said: str, asked: int) -> int | None:
    """Return how many rows a refusal says it would show; None when it names no such number."""
    named = _ROW_LIMIT.search(said)
    fitting = [int(number) for number in (named.groups() if named else ()) if number and 0 < int(number) < asked]
    return max(fitting, default=None)
