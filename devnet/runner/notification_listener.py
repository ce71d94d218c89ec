"""Listening to notifications live, over Server-Sent Events, for every user of a level."""

from __future__ import annotations

import asyncio
import time
from collections import defaultdict
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from datetime import datetime
from typing import Any

import aiohttp
import orjson

from devnet.runner.facts import Finding, FindingKind, Notification
from devnet.runner.http_client import PAUSE_S, UNAUTHORIZED
from devnet.runner.user import User

SILENCE_S = 45.0  # three heartbeats missed: the stream is dead
OK = 200


class NotificationListener:
    """Receives the notifications of one user, live."""

    def __init__(self, user: User, listeners: Listeners, since: str) -> None:
        self.user = user
        self.since = since  # what is not newer is no business of this level's; empty: everything is
        self.received: list[Notification] = []
        self._listeners = listeners
        self._changed = asyncio.Condition()
        self._last_id = "0"  # from the beginning: nothing sent before the stream was open is lost

    async def listen(self) -> None:
        """Follow the stream for ever; where it breaks, go on after what was received last."""
        while True:
            try:
                await self._connect()
            except (aiohttp.ClientError, TimeoutError) as exc:
                if not self.user.http.max_downtime_s:
                    finding = Finding(FindingKind.NOT_NOTIFIED, f"the stream of {self.user.email} broke: {exc!r}")
                    self.user.http.journal.findings.append(finding)
            await asyncio.sleep(PAUSE_S)

    async def _connect(self) -> None:
        http = self.user.http
        headers = {"Authorization": f"Bearer {self.user.token}", "Last-Event-ID": self._last_id}
        timeout = aiohttp.ClientTimeout(total=None, sock_read=SILENCE_S)
        async with http.session.get(f"{http.url}/api/events", headers=headers, timeout=timeout) as response:
            if response.status == UNAUTHORIZED:
                await self.user.login()
            elif response.status == OK:
                await self._follow(response)
            else:
                raise aiohttp.ClientError(f"the stream answers {response.status}")

    async def _follow(self, response: aiohttp.ClientResponse) -> None:
        event: dict[str, str] = {}
        async for raw in response.content:
            line = raw.decode().rstrip("\n")
            if line:
                name, _, value = line.partition(": ")
                event[name] = value
            elif "data" in event:
                await self._take(event)
                event = {}

    async def _take(self, event: dict[str, str]) -> None:
        arrived, data = time.time(), orjson.loads(event["data"])
        self._last_id = event["id"]
        if data["createdAt"] <= self.since:
            return
        latency_s = max(0.0, arrived - datetime.fromisoformat(data["createdAt"]).timestamp())
        note = notification_of(self.user, data)
        journal = self.user.http.journal
        journal.live_s.append(latency_s)
        journal.keep("events", OK, "", event["data"].encode())
        self._listeners.by_subject[note.type, note.about].add(note.user_id)
        async with self._changed:
            self.received.append(note)
            self._changed.notify_all()

    async def wait_for(self, kind: str, about: str, timeout_s: float) -> bool:
        """Wait for a notification; False when it was not in time."""
        try:
            async with asyncio.timeout(timeout_s), self._changed:
                await self._changed.wait_for(lambda: self.user.user_id in self._listeners.by_subject[kind, about])
        except TimeoutError:
            return False
        return True


def notification_of(user: User, note: dict[str, Any]) -> Notification:
    """Read a notification."""
    return Notification(note["id"], user.user_id, note["type"], note["relatedId"] or "")


class Listeners:
    """The listeners of a level. Open with `open_listeners`."""

    def __init__(self, group: asyncio.TaskGroup) -> None:
        self.by_user: dict[str, NotificationListener] = {}
        self.sellers: set[str] = set()
        self.by_subject: defaultdict[tuple[str, str], set[str]] = defaultdict(set)  # type and about: who received it
        self._group = group
        self.tasks: list[asyncio.Task[None]] = []

    def listen(self, user: User, *, since: str = "") -> NotificationListener:
        """Listen for a user, to what is newer than `since` (an RFC 3339 time)."""
        listener = self.by_user[user.user_id] = NotificationListener(user, self, since)
        self.tasks.append(self._group.create_task(listener.listen(), name=f"listener of {user.email}"))
        return listener


@asynccontextmanager
async def open_listeners() -> AsyncIterator[Listeners]:
    """Let users listen until the block ends."""
    async with asyncio.TaskGroup() as group:
        listeners = Listeners(group)
        try:
            yield listeners
        finally:
            for task in listeners.tasks:
                task.cancel()
