"""Notifications as a page that polls the list sees them, and the wait for one of them."""

from __future__ import annotations

import asyncio
import time

from devnet.runner.facts import FlowFailed, Notification
from devnet.runner.notification_listener import NotificationListener, notification_of
from devnet.runner.user import User

POLL_S = 0.5
PASS_S = 10.0
FAIL_S = 30.0
PAGE = 100
FIRST = 20  # a page as people see it: the newest stand at its top


async def all_notifications(user: User, since: str = "") -> list[Notification]:
    """Read every notification of a user after `since` (an RFC 3339 time)."""
    found: dict[str, Notification] = {}  # pages shift while new ones come
    page = 1
    while True:
        data = await user.ok("list notifications", "GET", f"/api/notifications?limit={PAGE}&page={page}")
        fresh = [note for note in data["notifications"] if note["createdAt"] > since]
        found |= {note["id"]: notification_of(user, note) for note in fresh}
        if page * PAGE >= data["total"] or len(fresh) < len(data["notifications"]):
            return list(found.values())
        page += 1


async def is_notified(listener: NotificationListener, kind: str, about: str) -> bool:
    """
    Wait for a notification: poll the list every 500 ms, and expect it on the live stream as well.

    Returns False when it took more than 10 s.

    Raises:
        FlowFailed: after 30 s (and as long as a service may be down), or when the live stream lacks it by then.
    """
    user, began = listener.user, time.monotonic()
    fail_s = FAIL_S + user.http.max_downtime_s
    limit = FIRST
    while not await _in_list(user, kind, about, limit):
        limit = PAGE
        if time.monotonic() - began > fail_s:
            raise FlowFailed(f"{user.email} was not notified of {kind} in {fail_s:.0f} s")
        await asyncio.sleep(POLL_S)
    took_s = time.monotonic() - began
    user.http.journal.listed_s.append(took_s)
    if not await listener.wait_for(kind, about, max(POLL_S, fail_s - took_s)):
        raise FlowFailed(f"{user.email} did not receive {kind} live in {fail_s:.0f} s")
    return time.monotonic() - began <= PASS_S


async def latest_notification_at(user: User) -> str:
    """Return when a user was last notified; empty for never."""
    found = (await user.ok("list notifications", "GET", "/api/notifications?limit=1"))["notifications"]
    return str(found[0]["createdAt"]) if found else ""


async def _in_list(user: User, kind: str, about: str, limit: int) -> bool:
    data = await user.ok("list notifications", "GET", f"/api/notifications?limit={limit}")
    return any((note["type"], note["relatedId"]) == (kind, about) for note in data["notifications"])
