"""Notifications as a page that polls the list sees them, and the assertion that somebody was told."""

from __future__ import annotations

import asyncio
import time

from devnet.runner.ears import Ears, note_of
from devnet.runner.facts import FlowFailed, Note
from devnet.runner.person import Person

POLL_S = 0.5
PASS_S = 10.0
FAIL_S = 30.0
PAGE = 100
FIRST = 20  # a page as people see it: what was just told stands at its top


async def listed(person: Person, since: str = "") -> list[Note]:
    """Read everything a person was told after `since` (an RFC 3339 time)."""
    found: dict[str, Note] = {}  # pages shift while new ones come
    page = 1
    while True:
        data = await person.ok("list notifications", "GET", f"/api/notifications?limit={PAGE}&page={page}")
        fresh = [note for note in data["notifications"] if note["createdAt"] > since]
        found |= {note["id"]: note_of(person, note) for note in fresh}
        if page * PAGE >= data["total"] or len(fresh) < len(data["notifications"]):
            return list(found.values())
        page += 1


async def told(ears: Ears, kind: str, about: str) -> bool:
    """
    Assert that somebody is told: poll the list every 500 ms, and have heard it live as well.

    Returns False when it took more than 10 s.

    Raises:
        FlowFailed: after 30 s (and as long as a service may be away), or when it was not heard live by then.
    """
    person, began = ears.person, time.monotonic()
    fail_s = FAIL_S + person.line.patience_s
    limit = FIRST
    while not await _in_list(person, kind, about, limit):
        limit = PAGE
        if time.monotonic() - began > fail_s:
            raise FlowFailed(f"{person.email} was not told {kind} in {fail_s:.0f} s")
        await asyncio.sleep(POLL_S)
    took_s = time.monotonic() - began
    person.line.journal.listed_s.append(took_s)
    if not await ears.hear(kind, about, max(POLL_S, fail_s - took_s)):
        raise FlowFailed(f"{person.email} did not hear {kind} live in {fail_s:.0f} s")
    return time.monotonic() - began <= PASS_S


async def newest(person: Person) -> str:
    """Return when a person was last told anything; empty for never."""
    found = (await person.ok("list notifications", "GET", "/api/notifications?limit=1"))["notifications"]
    return str(found[0]["createdAt"]) if found else ""


async def _in_list(person: Person, kind: str, about: str, limit: int) -> bool:
    data = await person.ok("list notifications", "GET", f"/api/notifications?limit={limit}")
    return any((note["type"], note["relatedId"]) == (kind, about) for note in data["notifications"])
