"""
Sign and verify webhooks. Standard library only, so that a receiver can import it.

Two header sets travel with each delivery (docs/events.md): `X-AMN-Signature`, the hex HMAC-SHA256
of the raw body, and the Standard Webhooks trio, which also signs the event id and the time.
Source: https://github.com/standard-webhooks/standard-webhooks, spec/standard-webhooks.md
"""

from __future__ import annotations

import base64
import hmac
import re
from collections.abc import Mapping

PREFIX = "whsec_"
MAX_SECRET = 1024
_STAMP = re.compile(r"[0-9]{1,12}")
_UNUSABLE = re.compile(r"[\x00-\x1f\x7f-\x9f\ud800-\udfff]")


def sign_amn(body: bytes, secret: str) -> str:
    """Return the hex HMAC-SHA256 of the raw body, keyed with the secret's UTF-8 bytes."""
    return hmac.digest(secret.encode(), body, "sha256").hex()


def verify_amn(body: bytes, signature_hex: str, secret: str) -> bool:
    """Say whether `X-AMN-Signature` belongs to this body; compared in constant time."""
    given = signature_hex.strip().lower().encode("utf-8", "replace")
    return hmac.compare_digest(given, sign_amn(body, secret).encode())


def sign_standard(event_id: str, timestamp: int, body: bytes, secret: str) -> str:
    """Return `v1,<base64>` over `id.timestamp.body`; `timestamp` in unix seconds."""
    # A header may carry any bytes, which servers hand over as lone surrogates: no reason to fail.
    signed = f"{event_id}.{timestamp}.".encode("utf-8", "surrogatepass") + body
    return f"v1,{base64.b64encode(hmac.digest(_key(secret), signed, 'sha256')).decode()}"


def verify_standard(headers: Mapping[str, str], body: bytes, secret: str, *, now: int, tolerance_s: int = 300) -> bool:
    """
    Say whether one of the signatures in `webhook-signature` is right and the time is close to `now`.

    Header names in any letter case; malformed headers are a plain False.

    Raises:
        ValueError: our own secret is unusable (see `check_secret`).
    """
    given = {name.lower(): value for name, value in headers.items()}
    event_id = given.get("webhook-id", "")
    stamp = given.get("webhook-timestamp", "")
    if not event_id or _STAMP.fullmatch(stamp) is None:
        return False
    if abs(now - int(stamp)) > tolerance_s:
        return False
    expected = sign_standard(event_id, int(stamp), body, secret).encode()
    candidates = given.get("webhook-signature", "").split(" ")
    return any(hmac.compare_digest(c.encode("utf-8", "replace"), expected) for c in candidates)


def headers_for(
    *,
    event_id: str,
    event_type: str,
    delivery_id: str,
    body: bytes,
    secret: str,
    timestamp: int,
    former: str | None = None,
) -> dict[str, str]:
    """
    Return the headers of one attempt; `event_id` stays the same over retries, `timestamp` is the attempt's.

    `former` holds the secret before this one, while a receiver changes over: its signatures come as well.
    """
    headers = {
        "Content-Type": "application/json",
        "X-AMN-Signature": sign_amn(body, secret),
        "X-AMN-Event-Type": event_type,
        "X-AMN-Delivery-ID": delivery_id,
        "webhook-id": event_id,
        "webhook-timestamp": str(timestamp),
        "webhook-signature": sign_standard(event_id, timestamp, body, secret),
    }
    if former is not None:
        headers["X-AMN-Signature-Former"] = sign_amn(body, former)
        headers["webhook-signature"] += f" {sign_standard(event_id, timestamp, body, former)}"
    return headers


def check_secret(secret: str) -> None:
    """Raise ValueError with a sentence when a secret cannot be used to sign."""
    if not secret:
        raise ValueError("must not be empty")
    if len(secret) > MAX_SECRET:
        raise ValueError(f"must be at most {MAX_SECRET} characters")
    if _UNUSABLE.search(secret):
        raise ValueError("must not contain control characters or lone surrogates")
    if secret.startswith(PREFIX):
        try:
            key = _key(secret)
        except ValueError as exc:
            raise ValueError("after whsec_ must come base64") from exc
        if not key:
            raise ValueError("after whsec_ must come at least one byte of base64")


def _key(secret: str) -> bytes:
    if secret.startswith(PREFIX):
        return base64.b64decode(secret.removeprefix(PREFIX), validate=True)
    return secret.encode()
