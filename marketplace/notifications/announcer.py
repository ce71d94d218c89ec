"""Tells everybody of one role, a part of them at a time: what a request costs does not grow with how many there are."""

from __future__ import annotations

from kernel.tasks.periodic import PeriodicTask
from marketplace.store import announcements
from marketplace.unit_of_work import UnitOfWorkFactory

PART = 500  # people a transaction: a writer that holds the store for ten milliseconds
MOST = 100  # announcements a transaction
LOOK_S = 5.0  # what a process left behind is told by the others
ONE_TELLS = "announcements"


class Announcer:
    """Hands out what was announced, oldest first."""

    def __init__(self, units: UnitOfWorkFactory, *, part: int = PART) -> None:
        self._units = units
        self._part = part

    async def run(self) -> None:
        """Hand out whatever there is, for ever."""
        chore = PeriodicTask("announcements", self.once)
        while True:
            await chore.once()
            await self._units.announcements.wait(LOOK_S)

    async def once(self) -> None:
        """Hand out everything there is."""
        while await self._tell():
            pass

    async def _tell(self) -> bool:
        """
        Tell one part, of as many announcements as it takes; say whether there may be more.

        What is told and up to whom is one transaction, so that nobody is told twice. Other writers wait between two
        parts: one announcement each would let thirty requests at once wait for one another.
        """
        async with self._units.begin(ONE_TELLS) as work:  # of several processes one at a time
            left = self._part
            for _ in range(MOST):
                told = await announcements.oldest(work.tx)
                if told is None:
                    return False
                people = await announcements.audience(work.tx, told, left)
                url, at = told.action_url, told.created_at
                work.notify(people, told.category, told.type, told.title, about=told.related_id, url=url, at=at)
                if len(people) == left:
                    await announcements.told_upto(work.tx, told.seq, people[-1])
                    break
                await announcements.end(work.tx, told.seq)
                left -= len(people)
        return True
