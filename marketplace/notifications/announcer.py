"""Tells everybody of one role, a part of them at a time: what a request costs does not grow with how many there are."""

from __future__ import annotations

from kernel.tasks.periodic import PeriodicTask
from marketplace.store import announcements
from marketplace.unit_of_work import UnitOfWorkFactory

PART = 200  # people a transaction: a writer that holds the store for milliseconds
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
        """Tell one part; what is told and up to whom is one transaction, so that nobody is told twice."""
        async with self._units.begin(ONE_TELLS) as work:  # of several processes one at a time
            told = await announcements.oldest(work.tx)
            if told is None:
                return False
            people = await announcements.audience(work.tx, told, self._part)
            work.notify(
                people,
                told.category,
                told.type,
                told.title,
                about=told.related_id,
                url=told.action_url,
                at=told.created_at,
            )
            if len(people) < self._part:
                await announcements.end(work.tx, told.seq)
            else:
                await announcements.told_upto(work.tx, told.seq, people[-1])
        return True
