"""Listening to notifications live, over Server-Sent Events, for everybody of a level."""

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

from devnet.runner.facts import Fault, Finding, Note
from devnet.runner.person import PAUSE_S, UNAUTHORIZED, Person

SILENCE_S = 45.0  # three heartbeats missed: the stream is dead
OK = 200


class Ears:
    """What one person is told, live."""

    def __init__(self, person: Person, hall: Hall, since: str) -> None:
        self.person = person
        self.since = since  # what is not newer is no business of this level's; empty: everything is
        self.heard: list[Note] = []
        self._hall = hall
        self._changed = asyncio.Condition()
        self._last_id = "0"  # from the beginning: nothing that came before the stream was open is lost

    async def listen(self) -> None:
        """Follow the stream for ever; where it breaks, go on after what was heard last."""
        while True:
            try:
                await self._connect()
            except (aiohttp.ClientError, TimeoutError) as exc:
                if not self.person.line.patience_s:
                    fault = Finding(Fault.NOT_TOLD, f"the stream of {self.person.email} broke: {exc!r}")
                    self.person.line.journal.findings.append(fault)
            await asyncio.sleep(PAUSE_S)

    async def _connect(self) -> None:
        line = self.person.line
        headers = {"Authorization": f"Bearer {self.person.token}", "Last-Event-ID": self._last_id}
        timeout = aiohttp.ClientTimeout(total=None, sock_read=SILENCE_S)
        async with line.session.get(f"{line.url}/api/events", headers=headers, timeout=timeout) as response:
            if response.status == UNAUTHORIZED:
                await self.person.login()
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
        arrived, told = time.time(), orjson.loads(event["data"])
        self._last_id = event["id"]
        if told["createdAt"] <= self.since:
            return
        latency_s = max(0.0, arrived - datetime.fromisoformat(told["createdAt"]).timestamp())
        note = note_of(self.person, told)
        journal = self.person.line.journal
        journal.live_s.append(latency_s)
        journal.keep("events", OK, "", event["data"].encode())
        self._hall.by_subject[note.type, note.about].add(note.user_id)
        async with self._changed:
            self.heard.append(note)
            self._changed.notify_all()

    async def hear(self, kind: str, about: str, timeout_s: float) -> bool:
        """Wait until something was heard; False when it was not in time."""
        try:
            async with asyncio.timeout(timeout_s), self._changed:
                await self._changed.wait_for(lambda: self.person.user_id in self._hall.by_subject[kind, about])
        except TimeoutError:
            return False
        return True


def note_of(person: Person, note: dict[str, Any]) -> Note:
    """Read a notification."""
    return Note(note["id"], person.user_id, note["type"], note["relatedId"] or "")


class Hall:
    """Everybody who listens. Open with `open_hall`."""

    def __init__(self, group: asyncio.TaskGroup) -> None:
        self.ears: dict[str, Ears] = {}
        self.sellers: set[str] = set()
        self.by_subject: defaultdict[tuple[str, str], set[str]] = defaultdict(set)  # type and about: who heard it
        self._group = group
        self.tasks: list[asyncio.Task[None]] = []

    def listen(self, person: Person, *, since: str = "") -> Ears:
        """Listen for a person, to what is newer than `since` (an RFC 3339 time)."""
        ears = self.ears[person.user_id] = Ears(person, self, since)
        self.tasks.append(self._group.create_task(ears.listen(), name=f"ears of {person.email}"))
        return ears


@asynccontextmanager
async def open_hall() -> AsyncIterator[Hall]:
    """Let people listen until the block ends."""
    async with asyncio.TaskGroup() as group:
        hall = Hall(group)
        try:
            yield hall
        finally:
            for task in hall.tasks:
                task.cancel()
