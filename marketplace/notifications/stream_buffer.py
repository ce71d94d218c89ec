"""What one open stream has still to tell: in memory, bounded, and honest about what it lost."""

from __future__ import annotations

from kernel.tasks.wakeup import Wakeup
from marketplace.model import Notification

ROOM = 256  # a reader who is further behind reads the store again


class StreamBuffer(Wakeup):
    """Filled by whoever commits; emptied by the one stream it belongs to."""

    def __init__(self, room: int = ROOM) -> None:
        super().__init__()
        self._room = room
        self._waiting: list[Notification] = []
        self._lost = False

    def put(self, note: Notification) -> None:
        """Keep a notification, in the order of the commits."""
        if len(self._waiting) >= self._room:
            self._waiting.clear()
            self._lost = True
        if not self._lost:
            self._waiting.append(note)
        self.wake()

    def empty(self) -> list[Notification] | None:
        """Return what came since the last time; None when it did not fit and has to be read from the store."""
        taken, lost = self._waiting, self._lost
        self._waiting, self._lost = [], False
        return None if lost else taken
