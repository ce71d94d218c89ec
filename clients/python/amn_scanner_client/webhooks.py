"""Events, and how a webhook is known to be the scanner's."""

from __future__ import annotations

import hashlib
import re
import time
from collections.abc import Mapping
from typing import Any, TypeAlias

from protocol import codec
from protocol.events import BalanceEvent, IntentEvent
from webhooks.signing import check_secret, verify_amn, verify_standard

from .errors import InvalidWebhook, MalformedWebhook

MAX_NAME = 128
_EVENT_ID = re.compile(r"[\x21-\x7e]{1,200}")

Event: TypeAlias = IntentEvent | BalanceEvent


def verify_webhook(
    body: bytes, headers: Mapping[str, str], secret: str, *, now: int | None = None, tolerance_s: int = 300
) -> Event:
    """
    Return the event of a webhook that is really the scanner's; give the body as it came, unparsed.

    `now` in unix seconds, or else this machine's. `X-AMN-Signature` must be there and right; where
    `webhook-signature` is there too, it must be right and recent. The event id is the signed one: dedupe by it.

    Raises:
        InvalidWebhook: forged, altered or too old.
        MalformedWebhook: signed, and no event all the same; `names` says whose it would have been.
        ValueError: our own secret cannot be used.
    """
    check_secret(secret)  # an empty key would accept everybody's signature
    given = {name.lower(): value for name, value in headers.items()}
    if not verify_amn(body, given.get("x-amn-signature", ""), secret):
        raise InvalidWebhook("X-AMN-Signature is missing or wrong")
    moment = int(time.time()) if now is None else now
    timestamped = "webhook-signature" in given
    if timestamped and not verify_standard(given, body, secret, now=moment, tolerance_s=tolerance_s):
        raise InvalidWebhook("webhook-signature is wrong or too old")
    told = codec.as_object(body)
    if told is None:
        raise MalformedWebhook("the body is not a JSON object")
    # Without the second signature `webhook-id` is anybody's word: the body then has to name itself.
    own_id = given["webhook-id"] if timestamped else f"sha256:{hashlib.sha256(body).hexdigest()}"
    return _event(told | {"eventId": told.get("eventId") or own_id}, own_id)


def read_event(body: bytes, event_id: str) -> Event:
    """
    Read a webhook that was verified when it came.

    Raises:
        MalformedWebhook: it is no event.
    """
    told = codec.as_object(body)
    if told is None:
        raise MalformedWebhook("the body is not a JSON object")
    return _event(told | {"eventId": event_id}, event_id)


def _event(body: dict[str, Any], own_id: str) -> Event:
    told = body.get("eventType")
    names = tuple(body[name] for name in ("intentId", "watchId") if isinstance(body.get(name), str))
    try:
        if not isinstance(body["eventId"], str) or _EVENT_ID.fullmatch(body["eventId"]) is None:
            raise codec.Unreadable("eventId is no id")
        if "watchId" in body and told in (None, "balance_changed"):
            return codec.read(BalanceEvent, {"eventType": "balance_changed", **body})
        return codec.read(IntentEvent, {"eventType": f"payment.{body.get('status')}", **body})
    except codec.Unreadable as exc:
        kind = told if isinstance(told, str) and len(told) <= MAX_NAME else "unreadable"
        raise MalformedWebhook(str(exc), event_id=own_id, event_type=kind, names=names) from exc
