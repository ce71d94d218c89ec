"""Sends what people want to be told elsewhere as well, until it is taken; a message may come twice, none is lost."""

from __future__ import annotations

import logging
from collections.abc import Mapping
from typing import Protocol

from kernel.tasks.periodic import PeriodicTask
from marketplace.model import Channel
from marketplace.store import messages
from marketplace.store.messages import Message
from marketplace.unit_of_work import UnitOfWorkFactory, new_id

log = logging.getLogger(__name__)

BATCH = 5  # each may take as long as a sender waits
CLAIM_MS = 180_000
LOOK_S = 2.0
FIRST_PAUSE_S = 10.0
LONGEST_PAUSE_S = 3600.0
MOST_ATTEMPTS = 12  # over about four hours


class TryLater(Exception):
    """It was not taken this time; `after_s` when the other side says how long to wait."""

    def __init__(self, said: str, after_s: float | None = None) -> None:
        super().__init__(said)
        self.after_s = after_s


class Undeliverable(Exception):
    """It will never be taken there."""


class Sender(Protocol):
    """One channel."""

    async def send(self, address: str, title: str) -> None:
        """
        Hand a message over.

        Raises:
            TryLater: not now.
            Undeliverable: never there.
        """


class Courier:
    """Sends messages of every channel that is configured, oldest first."""

    def __init__(self, units: UnitOfWorkFactory, senders: Mapping[Channel, Sender]) -> None:
        self._units = units
        self._senders = senders
        units.channels = frozenset(senders)

    async def run(self) -> None:
        """Send whatever there is, for ever."""
        chore = PeriodicTask("messages", self.once)
        while True:
            await chore.once()
            await self._units.messages.wait(LOOK_S)

    async def once(self) -> None:
        """Send everything that is due."""
        while found := await self._claim():
            for message in found:
                await self._send(message)

    async def _claim(self) -> list[Message]:
        async with self._units.begin(None) as work:
            return await messages.claim(work.tx, new_id(), work.now, work.now + CLAIM_MS, BATCH)

    async def _send(self, message: Message) -> None:
        async with self._units.db.read() as tx:
            address = await messages.address_of(tx, message)
        sender = self._senders.get(message.channel)
        try:
            if address is None or sender is None:
                raise Undeliverable("there is no way to reach them any more")
            await _hand_over(sender, address, message)
        except Undeliverable as exc:
            await self._give_up(message, str(exc))
        except TryLater as exc:
            if message.attempts + 1 >= MOST_ATTEMPTS:
                await self._give_up(message, f"{MOST_ATTEMPTS} times: {exc}")
            else:
                await self._postpone(message, exc)
        else:
            async with self._units.begin(None) as work:
                await messages.finish(work.tx, message, work.now)

    async def _give_up(self, message: Message, why: str) -> None:
        log.warning("[messages] %s over %s was given up: %s", message.notification_id, message.channel, why)
        async with self._units.begin(None) as work:
            await messages.finish(work.tx, message, work.now, why)

    async def _postpone(self, message: Message, exc: TryLater) -> None:
        pause_s = min(LONGEST_PAUSE_S, max(FIRST_PAUSE_S * 2**message.attempts, exc.after_s or 0))
        log.info("[messages] %s over %s waits: %s", message.notification_id, message.channel, exc)
        async with self._units.begin(None) as work:
            await messages.postpone(work.tx, message, work.now + int(pause_s * 1000), str(exc))


async def _hand_over(sender: Sender, address: str, message: Message) -> None:
    """Hand a message over; one that cannot be is counted, and would else come first again for ever."""
    try:
        await sender.send(address, message.title)
    except (TryLater, Undeliverable):
        raise
    except Exception as exc:
        log.exception("[messages] %s over %s cannot be sent", message.notification_id, message.channel)
        raise TryLater(f"it cannot be sent ({type(exc).__name__})") from exc


def one_line(text: str, most: int) -> str:
    """Return a title on one line: strangers chose a part of it."""
    return " ".join(text.split())[:most]
